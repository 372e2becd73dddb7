/** Service definitions from files (JSON or HCL, as an agent reads them) and the body with which the agent registers one. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { formatDuration } from "@heddle/daemon";
import { HclSyntaxError, type ParsedDocument, parseHcl, parseJson } from "@heddle/hcl";
import { type Finding, Reader, readService, type ServiceDefinition } from "@heddle/service-definition";
import { CommandError } from "./command.ts";
import { fileProblem, readBytes } from "./data.ts";

/** The services of files and directories, in the order of names. Throws CommandError with every problem of the first bad file. */
export function readServiceFiles(paths: readonly string[]): ServiceDefinition[] {
  return paths
    .flatMap(listFiles)
    .flatMap((file) => readServiceFile(file, readBytes(file, "Error: config: Open failed on file").toString("utf8")));
}

function listFiles(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    const names = readdirSync(path).filter((name) => /\.(?:json|hcl)$/.test(name));
    return names.sort().map((name) => join(path, name));
  } catch (cause) {
    throw new CommandError(`Error: config: Open failed on ${path}. open ${path}: ${fileProblem(cause)}`, 1, { cause });
  }
}

export function readServiceFile(file: string, text: string): ServiceDefinition[] {
  const document = parse(file, text);
  const findings: Finding[] = [];
  const reader = new Reader("file", (finding) => findings.push(finding), true);
  const services = blocksOf(document).map(({ path, value }) => readService(value, path, reader));
  if (findings.length > 0) {
    const lines = findings.map(({ path, message }) => {
      const at = document.at(path) ?? document.at(path.slice(0, -1));
      return `Error: ${file}${at ? `:${at.line}:${at.column}` : ""}: ${message}`;
    });
    throw new CommandError(lines.join("\n"));
  }
  return services;
}

function parse(file: string, text: string): ParsedDocument {
  try {
    return file.endsWith(".json") ? parseJson(text, file) : parseHcl(text, file);
  } catch (cause) {
    if (cause instanceof HclSyntaxError) throw new CommandError(`Error: ${cause.message}`, 1, { cause });
    throw cause;
  }
}

function blocksOf({ file, value }: ParsedDocument): { path: (string | number)[]; value: unknown }[] {
  const keys = Object.keys(value);
  const found = keys.filter((key) => /^services?$/i.test(key));
  if (found.length === 0 && keys.length > 0)
    throw new CommandError(
      `Error: ${file}: there is no service in it: want a 'service' or 'services' block, found ${keys.slice(0, 5).join(", ")}`,
    );
  return found.flatMap((key) => {
    const block = value[key];
    return Array.isArray(block)
      ? block.map((item: unknown, i) => ({ path: [key, i], value: item }))
      : [{ path: [key], value: block }];
  });
}

/** The body of PUT /v1/agent/service/register: the definition with durations as text, and without what is not set. */
export function toRegistration(definition: ServiceDefinition): Record<string, unknown> {
  const { Checks, Connect, ...service } = definition;
  return withoutEmpty({
    ...service,
    Connect: Connect && { ...Connect, SidecarService: Connect.SidecarService && withDurations(Connect.SidecarService) },
    Checks: Checks.map((check) => withoutEmpty(withDurations({ ...check, ServiceID: undefined }))),
  });
}

/** `IntervalMs: 10000` and, in a sidecar's block, `Interval: 10000` become `Interval: "10s"`, at any depth. */
function withDurations(value: object): Record<string, unknown> {
  const entries = Object.entries(value).map(([key, item]: [string, unknown]) => {
    const name = /^(TTL|Interval|Timeout|DeregisterCriticalServiceAfter)(?:Ms)?$/.exec(key)?.[1];
    if (name !== undefined && typeof item === "number") return [name, formatDuration(item)];
    if (key === "Checks" && Array.isArray(item)) return [key, item.map((check: object) => withDurations(check))];
    return [key, key === "Check" && typeof item === "object" && item !== null ? withDurations(item) : item];
  });
  return Object.fromEntries(entries) as Record<string, unknown>;
}

function withoutEmpty(record: Record<string, unknown>): Record<string, unknown> {
  const isEmpty = (value: unknown) =>
    value === undefined ||
    value === null ||
    value === "" ||
    value === false ||
    value === 0 ||
    (typeof value === "object" && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(record).filter(([, value]) => !isEmpty(value)));
}
