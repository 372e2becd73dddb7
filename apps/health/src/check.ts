/** A check as the checker runs it, and the messages of `/internal/v1/checks` that bring checks in and results out. */
import { InvalidArgumentError } from "@heddle/daemon";
import type { CheckDefinition, CheckStatus } from "@heddle/service-definition";
import { kindOf } from "./probes/kinds.ts";

/** What a probe and the scheduler need of a definition. */
export type Check = Partial<CheckDefinition> & {
  CheckID: string;
  /** A host that is to be there at all: of nodes without an agent. */
  Reach?: string;
};

export interface SyncMessage {
  type: "sync";
  checks: Check[];
}

/** A sync as it was understood: what can run, and why the rest cannot, by check id. */
export interface Sync {
  checks: Check[];
  refused: Map<string, string>;
}

export interface ResultMessage {
  type: "result";
  checkId: string;
  status: CheckStatus;
  output: string;
}

/** Sent before the checker closes a connection: why. */
export interface ErrorMessage {
  type: "error";
  error: { code: string; message: string };
}

type Field = "boolean" | "count" | "header" | "ms" | "texts" | { maxBytes: number };

const MAX_ID_BYTES = 1_024;
const NAME: Field = { maxBytes: MAX_ID_BYTES };
const TARGET: Field = { maxBytes: 8 * 1_024 };
const MAX_ARGS = 1_024;
const MAX_ARGS_BYTES = 128 * 1_024; // Linux's limit of one argument
const MAX_HEADER_VALUES = 128;
const MAX_HEADER_BYTES = 32 * 1_024;

// What is read of a definition; the rest (names, notes, tokens) is the agent's and is not kept here.
const FIELDS: Partial<Record<keyof Check, Field>> = {
  CheckID: NAME,
  IntervalMs: "ms",
  TimeoutMs: "ms",
  Args: "texts",
  ScriptUser: NAME,
  HTTP: TARGET,
  Method: { maxBytes: 64 },
  Header: "header",
  Body: { maxBytes: 512 * 1_024 },
  DisableRedirects: "boolean",
  TLSSkipVerify: "boolean",
  TLSServerName: NAME,
  TCP: TARGET,
  UDP: TARGET,
  GRPC: TARGET,
  GRPCUseTLS: "boolean",
  H2PING: TARGET,
  H2PingUseTLS: "boolean",
  OSService: NAME,
  Reach: NAME,
  DockerContainerID: NAME,
  Shell: NAME,
  OutputMaxSize: "count",
  SuccessBeforePassing: "count",
  FailuresBeforeWarning: "count",
  FailuresBeforeCritical: "count",
};

/**
 * Parses a message of an agent. A definition that cannot run is refused by itself, so that it does not take its node's others
 * with it; a message that is no sync throws InvalidArgumentError.
 */
export function parseSync(text: string, maxChecks: number): Sync {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch (cause) {
    throw new InvalidArgumentError("a message is not valid JSON", { cause });
  }
  const { type, checks } = (message ?? {}) as Record<string, unknown>;
  if (type !== "sync") throw new InvalidArgumentError(`unknown message type ${shown(type)}: want "sync"`);
  if (!Array.isArray(checks)) throw new InvalidArgumentError('"checks" must be a list of check definitions');
  if (checks.length > maxChecks)
    throw new InvalidArgumentError(`too many checks: ${checks.length}, the limit is ${maxChecks} (-max-checks)`);
  const byId = new Map<string, Check>();
  const refused = new Map<string, string>();
  for (const [i, value] of checks.entries()) {
    const id = idOf(value, i);
    if (byId.has(id) || refused.has(id)) throw new InvalidArgumentError(`check ${shown(id)} is given twice`);
    try {
      byId.set(id, parseCheck(value as Record<string, unknown>));
    } catch (error) {
      refused.set(id, (error as Error).message);
    }
  }
  return { checks: [...byId.values()], refused };
}

function idOf(value: unknown, index: number): string {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new InvalidArgumentError(`checks[${index}] must be an object`);
  const id = (value as Record<string, unknown>).CheckID;
  if (typeof id !== "string" || id === "" || Buffer.byteLength(id) > MAX_ID_BYTES)
    throw new InvalidArgumentError(`checks[${index}] has no CheckID of 1 to ${MAX_ID_BYTES} bytes`);
  return id;
}

/** Parses one definition: known fields of the right type, bounded. Equal definitions give equal JSON. */
export function parseCheck(source: Record<string, unknown>): Check {
  const id = source.CheckID;
  const check: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(FIELDS)) {
    const given = source[name];
    if (given !== undefined && given !== null) check[name] = parseField(given, field, `check ${shown(id)}: ${name}`);
  }
  const parsed = check as Check;
  if (!parsed.IntervalMs) throw new InvalidArgumentError(`check ${shown(id)} has no IntervalMs`);
  if (kindOf(parsed) === undefined)
    throw new InvalidArgumentError(
      `check ${shown(id)} has nothing to probe: want one of HTTP, TCP, UDP, GRPC, H2PING, Args, DockerContainerID, OSService`,
    );
  return parsed;
}

function parseField(value: unknown, field: Field, subject: string): unknown {
  const refuse = (want: string): never => {
    throw new InvalidArgumentError(`${subject} is ${shown(value)}: want ${want}`);
  };
  switch (field) {
    case "boolean":
      return typeof value === "boolean" ? value : refuse("true or false");
    case "count":
      return Number.isSafeInteger(value) && (value as number) >= 0 ? value : refuse("a whole number from 0");
    case "ms":
      return typeof value === "number" && value >= 0 && value <= Number.MAX_SAFE_INTEGER
        ? value
        : refuse("milliseconds");
    case "texts":
      if (!isTexts(value)) return refuse("a list of text");
      if (value.length > MAX_ARGS || size(value) > MAX_ARGS_BYTES)
        refuse(`at most ${MAX_ARGS} arguments of ${MAX_ARGS_BYTES} bytes in all`);
      return value;
    case "header":
      return parseHeader(value, refuse);
    default:
      if (typeof value !== "string") return refuse("text");
      return Buffer.byteLength(value) <= field.maxBytes ? value : refuse(`at most ${field.maxBytes} bytes`);
  }
}

function parseHeader(value: unknown, refuse: (want: string) => never): Record<string, string[]> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return refuse("a map of lists of text");
  const header: Record<string, string[]> = Object.create(null) as Record<string, string[]>;
  let values = 0;
  let bytes = 0;
  for (const [name, list] of Object.entries(value)) {
    if (!isTexts(list)) return refuse("a map of lists of text");
    header[name] = list;
    values += list.length;
    bytes += size([name, ...list]);
  }
  if (values > MAX_HEADER_VALUES || bytes > MAX_HEADER_BYTES)
    refuse(`at most ${MAX_HEADER_VALUES} values of ${MAX_HEADER_BYTES} bytes in all`);
  return header;
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((v) => typeof v === "string");
const size = (texts: string[]): number => texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
const shown = (value: unknown): string => (JSON.stringify(value) ?? "undefined").slice(0, 100);
