/**
 * Configuration of a daemon: one table of options read from flags, environment and a JSON file, in that order of weight.
 * Every problem is reported at once, with its key, its value and what is accepted.
 */
import { parseDuration } from "./duration.ts";
import { describeError, HeddleError } from "./errors.ts";
import { LOG_FORMATS, LOG_LEVELS, parseLogLevel, type LogFormat, type LogLevel } from "./log.ts";

/** Everything wrong with a configuration, one problem a line. */
export class ConfigError extends HeddleError {
  readonly problems: string[];
  constructor(problems: string[]) {
    super("invalid_argument", problems.join("\n"));
    this.problems = problems;
  }
}

export interface Option<T> {
  /** Help line. */
  help: string;
  /** What is accepted, for errors: "a port from 0 to 65535". */
  expects: string;
  /** Turns text into the value; throws where it cannot. */
  parse: (text: string) => T;
  default: T;
  /** True for flags that stand alone (`-log-json`). */
  isBoolean?: boolean;
  /** True where the option may be given several times; `parse` then gets the texts joined by "\n". */
  isRepeatable?: boolean;
  /** More environment variables that set it, after the daemon's own; the first that is not empty counts. */
  env?: string[];
}

export interface ConfigSources {
  argv: string[];
  env: Record<string, string | undefined>;
  readFile: (path: string) => string;
}

type Values<O> = { [K in keyof O]: O[K] extends Option<infer T> ? T : never };

export const option = {
  string: (help: string, initial = ""): Option<string> => ({
    help,
    expects: "text",
    parse: (t) => t,
    default: initial,
  }),
  port: (help: string, initial: number): Option<number> => ({
    help,
    expects: "a port from 0 to 65535",
    parse: integer(0, 65_535),
    default: initial,
  }),
  integer: (help: string, min: number, max: number, initial: number): Option<number> => ({
    help,
    expects: `a whole number from ${min} to ${max}`,
    parse: integer(min, max),
    default: initial,
  }),
  boolean: (help: string): Option<boolean> => ({
    help,
    expects: "true or false",
    parse: boolean,
    default: false,
    isBoolean: true,
  }),
  durationMs: (help: string, initialMs: number): Option<number> => ({
    help,
    expects: "a duration such as '10s'",
    parse: parseDuration,
    default: initialMs,
  }),
  list: (help: string): Option<string[]> => ({
    help,
    expects: "text, several times",
    parse: (t) => t.split("\n"),
    default: [],
    isRepeatable: true,
  }),
  url: (help: string, initial: string): Option<string> => ({
    help,
    expects: "a URL such as http://127.0.0.1:8300",
    parse: httpUrl,
    default: initial,
  }),
  urls: (help: string, initial: string): Option<string> => ({
    help,
    expects: "a URL such as http://127.0.0.1:8300, or several with commas",
    parse: httpUrls,
    default: initial,
  }),
  logLevel: (initial: LogLevel = "info"): Option<LogLevel> => ({
    help: "Log level.",
    expects: `one of ${LOG_LEVELS.join(", ")}`,
    parse: logLevel,
    default: initial,
  }),
  logFormat: (): Option<LogFormat> => ({
    help: "Format of log lines: text for people, json or logfmt for programs.",
    expects: `one of ${LOG_FORMATS.join(", ")}`,
    parse: logFormat,
    default: "text",
  }),
};

/**
 * Reads a daemon's configuration. Option `httpPort` is the flag `-http-port`, the variable `HEDDLE_<DAEMON>_HTTP_PORT` and
 * the key `http_port` of the file that `-config-file` names. Throws ConfigError with every problem.
 */
export function loadOptions<O extends Record<string, Option<unknown>>>(
  daemon: string,
  options: O,
  sources: ConfigSources,
): Readonly<Values<O>> {
  const problems: string[] = [];
  const texts = new Map<string, { text: string; source: string }>();
  const byFlag = new Map(Object.keys(options).map((name) => [toFlag(name), name]));
  const set = (name: string, text: string, source: string) => texts.set(name, { text, source });

  for (const name of Object.keys(options)) {
    const own = `HEDDLE_${toSnake(daemon).toUpperCase()}_${toSnake(name).toUpperCase()}`;
    const variable = [own, ...((options[name] as Option<unknown>).env ?? [])].find((v) => sources.env[v]);
    const text = variable === undefined ? undefined : sources.env[variable];
    if (variable !== undefined && text !== undefined)
      set(name, (options[name] as Option<unknown>).isRepeatable ? text.replaceAll(",", "\n") : text, variable);
  }
  const flags = readFlags(sources.argv, options, byFlag, problems);
  const file = flags.get("-config-file") ?? sources.env[`HEDDLE_${toSnake(daemon).toUpperCase()}_CONFIG_FILE`];
  if (file !== undefined)
    readFile(file, sources, options, (name, text, source) => texts.has(name) || set(name, text, source), problems);
  for (const [name, text] of flags) if (name !== "-config-file") set(name, text, `-${toFlag(name)}`);

  const values: Record<string, unknown> = {};
  for (const [name, opt] of Object.entries(options)) {
    const given = texts.get(name);
    values[name] = opt.default;
    if (!given) continue;
    try {
      values[name] = opt.parse(given.text);
    } catch (error) {
      const why = error instanceof HeddleError ? ` (${describeError(error)})` : "";
      problems.push(`${given.source}: invalid value '${given.text}': want ${opt.expects}${why}`);
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(values) as Readonly<Values<O>>;
}

/** The help text of a daemon's flags. */
export function formatOptions(options: Record<string, Option<unknown>>): string {
  return Object.entries(options)
    .map(([name, o]) => {
      const initial =
        o.default === "" || o.default === false || (Array.isArray(o.default) && o.default.length === 0)
          ? ""
          : ` Default: ${String(o.default)}.`;
      return `  -${toFlag(name)}${o.isBoolean ? "" : "=<value>"}\n     ${o.help}${initial}\n`;
    })
    .join("\n");
}

function readFlags(
  argv: string[],
  options: Record<string, Option<unknown>>,
  byFlag: Map<string, string>,
  problems: string[],
): Map<string, string> {
  const found = new Map<string, string>();
  for (let i = 0; i < argv.length; i++) {
    const [, flag, inline] = /^--?([a-z0-9][a-z0-9-]*)(?:=([\s\S]*))?$/.exec(argv[i] as string) ?? [];
    if (flag === undefined) {
      problems.push(`unexpected argument '${argv[i]}': want flags such as -${byFlag.keys().next().value}=<value>`);
      continue;
    }
    const name = flag === "config-file" ? "-config-file" : byFlag.get(flag);
    if (name === undefined) {
      problems.push(
        `unknown flag -${flag}: known are ${[...byFlag.keys(), "config-file"].map((f) => `-${f}`).join(", ")}`,
      );
      continue;
    }
    const opt = options[name];
    const value = inline ?? (opt?.isBoolean ? "true" : argv[++i]);
    if (value === undefined) problems.push(`-${flag}: needs a value`);
    else if (opt?.isRepeatable && found.has(name)) found.set(name, `${found.get(name)}\n${value}`);
    else found.set(name, value);
  }
  return found;
}

function readFile(
  file: string,
  sources: ConfigSources,
  options: Record<string, Option<unknown>>,
  set: (name: string, text: string, source: string) => void,
  problems: string[],
): void {
  let parsed: unknown;
  try {
    parsed = JSON.parse(sources.readFile(file));
  } catch (error) {
    problems.push(`${file}: ${describeError(error)}`);
    return;
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    problems.push(`${file}: want a JSON object`);
    return;
  }
  const byKey = new Map(Object.keys(options).map((name) => [toSnake(name), name]));
  for (const [key, value] of Object.entries(parsed)) {
    const name = byKey.get(key);
    if (name === undefined) problems.push(`${file}: unknown key '${key}': known are ${[...byKey.keys()].join(", ")}`);
    else set(name, Array.isArray(value) ? value.join("\n") : String(value), `${file}: ${key}`);
  }
}

const toFlag = (name: string): string => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
const toSnake = (name: string): string => name.replace(/-/g, "_").replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text) || value < min || value > max) throw new RangeError("out of range");
    return value;
  };
}

function boolean(text: string): boolean {
  if (/^(?:true|1|t)$/i.test(text)) return true;
  if (/^(?:false|0|f)$/i.test(text)) return false;
  throw new TypeError("not a boolean");
}

const httpUrls = (text: string): string => text.split(",").map(httpUrl).join(",");

function httpUrl(text: string): string {
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") throw new TypeError("not HTTP");
  return url.origin;
}

function logLevel(text: string): LogLevel {
  const level = parseLogLevel(text);
  if (level === undefined) throw new TypeError("unknown level");
  return level;
}

function logFormat(text: string): LogFormat {
  const format = LOG_FORMATS.find((known) => known === text);
  if (format === undefined) throw new TypeError("unknown format");
  return format;
}
