/** What a command is, and how one is run: flags, the agent's address, help, and errors in words that say what to do. */
import { readdirSync, readFileSync } from "node:fs";
import { type ApiClient, ApiError, apiOptions, createApiClient, toApiClientOptions } from "@heddle/api-client";
import { describeError } from "@heddle/daemon";
import { type FlagTable, type FlagValues, flag, parseFlags } from "./flags.ts";
import type { Terminal } from "./terminal.ts";

export interface Context<F extends FlagTable> {
  flags: FlagValues<F>;
  args: string[];
  seen: ReadonlySet<string>;
  api: ApiClient;
  terminal: Terminal;
}

export interface Command<F extends FlagTable = FlagTable> {
  /** "kv get [options] [KEY_OR_PREFIX]"; more lines for more forms. */
  usage: string;
  about: string;
  flags?: F;
  /** Which flags of the HTTP API it takes: those of an agent, or also -datacenter and -stale; none without a request. */
  api?: "agent" | "datacenter";
  /** Takes -namespace, which is passed on (and refused by an agent that has none). */
  hasNamespace?: boolean;
  /** What follows the first argument is data or another program's, never a flag. */
  argumentsAreData?: boolean;
  /** Resolves with the exit status; nothing means 0. */
  run(context: Context<F>): Promise<number | void>;
}

/** Keeps the types of a command's flags. */
export const command = <F extends FlagTable>(spec: Command<F>): Command => spec;

/** Ends a command: `message` goes to standard error, `status` is the exit status. */
export class CommandError extends Error {
  readonly status: number;
  constructor(message: string, status = 1, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** A command's own flags. There is a -format where nothing but messages is printed, too: scripts may give it to all alike. */
export const commandFlags = (spec: Command): FlagTable => ({ format: flag.messageFormat(), ...spec.flags });

/** The flags of the HTTP API that a command takes beside its own. */
export function apiFlags(spec: Command): FlagTable {
  const { datacenter, stale, ...agent } = apiOptions;
  if (!spec.api) return {};
  return {
    ...agent,
    ...(spec.api === "datacenter" && { datacenter, stale }),
    ...(spec.hasNamespace && {
      namespace: { ...flag.text("Namespace to ask."), env: ["HEDDLE_NAMESPACE", "CONSUL_NAMESPACE"] },
    }),
  };
}

export async function runCommand(
  spec: Command,
  name: string,
  argv: readonly string[],
  terminal: Terminal,
): Promise<number> {
  const table = { ...apiFlags(spec), ...commandFlags(spec) };
  const { values, args, seen, wantsHelp, problems } = parseFlags(table, argv, terminal.env, spec.argumentsAreData);
  if (wantsHelp) {
    terminal.out((await import("./help.ts")).commandHelp(spec));
    return 0;
  }
  const api = problems.length === 0 && spec.api ? connect(values, terminal, problems) : undefined;
  if (problems.length > 0) {
    terminal.err(`${problems.join("\n")}\nSee 'heddle ${name} --help'.\n`);
    return 1;
  }
  const to = values.format === "json" ? (await import("./output.ts")).asMessages(terminal) : terminal;
  try {
    return (await spec.run({ flags: values, args, seen, terminal: to, api: api as ApiClient })) ?? 0;
  } catch (error) {
    terminal.err(`${error instanceof CommandError ? error.message : explain(error)}\n`);
    return error instanceof CommandError ? error.status : 1;
  } finally {
    api?.close();
  }
}

function connect(values: Record<string, unknown>, terminal: Terminal, problems: string[]): ApiClient | undefined {
  const text = (key: string) => (values[key] as string | undefined) ?? "";
  const sources = { env: terminal.env, readFile: (path: string) => readFileSync(path, "utf8"), readDir: readdirSync };
  const options = toApiClientOptions(
    {
      httpAddr: text("httpAddr"),
      token: text("token"),
      tokenFile: text("tokenFile"),
      caFile: text("caFile"),
      caPath: text("caPath"),
      clientCert: text("clientCert"),
      clientKey: text("clientKey"),
      tlsServerName: text("tlsServerName"),
      datacenter: text("datacenter"),
      stale: values.stale === true,
    },
    sources,
    problems,
  );
  if (problems.length > 0) return undefined;
  return createApiClient({ ...options, query: { ...options.query, ns: text("namespace") || undefined } });
}

/** Puts `what` in front of whatever goes wrong: "Error listing services: …". */
export async function attempt<T>(what: string, action: Promise<T>, status = 1): Promise<T> {
  try {
    return await action;
  } catch (cause) {
    if (cause instanceof CommandError) throw cause;
    throw new CommandError(`${what}: ${explain(cause)}`, status, { cause });
  }
}

/** An answer with an error status is worded as Consul's client does, for those who look for its text. */
export function explain(error: unknown): string {
  if (error instanceof ApiError) return `Unexpected response code: ${error.status} (${error.body})`;
  return error instanceof Error && error.cause instanceof Error && "code" in error.cause
    ? error.message
    : describeError(error);
}

/** Refuses more than `max` arguments, in Consul's words. */
export function refuseExtra(args: readonly string[], max: number): void {
  if (args.length > max) throw new CommandError(`Too many arguments (expected ${max}, got ${args.length})`);
}

/** Throws CommandError "<what>: why". */
export function parseRegExp(text: string, what: string): RegExp {
  try {
    return new RegExp(text);
  } catch (cause) {
    throw new CommandError(`${what}: ${(cause as Error).message}`, 1, { cause });
  }
}
