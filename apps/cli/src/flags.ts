/**
 * Flags as Go's flag package reads them: `-name`, `--name`, `-name=value`, `-name value`, and booleans as `-name` or
 * `-name=false`. Unlike there, flags may also follow the arguments, except where these are data (`kv put KEY -1`).
 */
import { formatDuration, type Option, parseDuration } from "@heddle/daemon";

/** An option that may be given several times gathers its values with `collect`. */
export interface Flag<T> extends Option<T> {
  collect?: (values: never[]) => T;
  /** The default as the help says it; its JSON by default. */
  shown?: string;
}
export type FlagTable = Record<string, Flag<unknown>>;
export type FlagValues<F> = { [K in keyof F]: F[K] extends Option<infer T> ? T : never };

const MAX_UINT64 = 2n ** 64n - 1n;

const given = <T>(help: string, expects: string, initial: T, parse: (text: string) => T): Flag<T> => ({
  help,
  expects,
  default: initial,
  parse,
});

export const flag = {
  text: (help: string, initial = "") => given(help, "text", initial, (text) => text),
  boolean: (help: string): Flag<boolean> => ({ ...given(help, "true or false", false, parseBoolean), isBoolean: true }),
  integer: (help: string, min: number, max: number, initial: number) =>
    given(help, `a whole number from ${min} to ${max}`, initial, (text) => {
      const value = Number(text);
      if (!/^-?\d+$/.test(text) || value < min || value > max) throw new RangeError(text);
      return value;
    }),
  /** Go's text, such as 1m30s; milliseconds. */
  duration: (help: string, initialMs: number): Flag<number> => ({
    ...given(help, "a duration such as 10s or 1m30s", initialMs, parseDuration),
    shown: formatDuration(initialMs),
  }),
  /** 0 to 2^64-1, also as 0x…. */
  uint64: (help: string) =>
    given(help, `a whole number from 0 to ${MAX_UINT64}`, 0n, (text) => {
      const value = /^(?:\d+|0x[\da-f]+)$/i.test(text) ? BigInt(text) : -1n;
      if (value < 0n || value > MAX_UINT64) throw new RangeError(text);
      return value;
    }),
  oneOf: <T extends string>(help: string, values: readonly T[], initial: T) =>
    given(help, `one of ${values.join(", ")}`, initial, (text) => {
      const found = values.find((value) => value === text);
      if (found === undefined) throw new RangeError(text);
      return found;
    }),
  list: (help: string): Flag<string[]> => ({
    ...given(help, "text", [] as string[], (text) => [text]),
    isRepeatable: true,
    collect: (values: string[][]) => values.flat(),
  }),
  /** `-meta a=1 -meta b=2`. */
  pairs: (help: string): Flag<Record<string, string>> => ({
    ...given(help, "key=value", {}, parsePair),
    isRepeatable: true,
    collect: (values: Record<string, string>[]) => Object.fromEntries(values.flatMap((pair) => Object.entries(pair))),
  }),
  /** For commands whose output is JSON whatever is asked for: scripts may give -format=json to all alike. */
  jsonFormat: () => flag.oneOf("What is printed is JSON either way.", ["pretty", "json"], "json"),
  /** For commands that list or show: the answer itself instead of a table. */
  format: () => flag.oneOf("How to print: pretty for people, json for programs.", ["pretty", "json"], "pretty"),
  /** For commands that say what they have done. */
  messageFormat: () =>
    flag.oneOf(
      "How to print: pretty for people, json for programs (each line an object).",
      ["pretty", "json"],
      "pretty",
    ),
};

export interface ParsedFlags<F extends FlagTable> {
  values: FlagValues<F>;
  args: string[];
  /** Names that stood on the command line, to tell `-modify-index=0` from nothing. */
  seen: Set<string>;
  /** -h, -help or --help stood somewhere. */
  wantsHelp: boolean;
  problems: string[];
}

/** `argumentsAreData` ends the flags at the first argument, as Go does everywhere. */
export function parseFlags<F extends FlagTable>(
  table: F,
  argv: readonly string[],
  env: Record<string, string | undefined>,
  argumentsAreData = false,
): ParsedFlags<F> {
  const byName = new Map(Object.keys(table).map((key) => [toFlagName(key), key]));
  const texts = new Map<string, string[]>();
  const parsed: ParsedFlags<F> = {
    values: {} as FlagValues<F>,
    args: [],
    seen: new Set(),
    wantsHelp: false,
    problems: [],
  };
  for (let i = 0; i < argv.length; i++) {
    const token = argv[i] as string;
    const [, name, inline] = /^--?([A-Za-z][\w-]*)(?:=([\s\S]*))?$/.exec(token) ?? [];
    if (token === "--") {
      parsed.args.push(...argv.slice(i + 1));
      break;
    }
    if (name === undefined || (argumentsAreData && parsed.args.length > 0)) {
      parsed.args.push(token);
      continue;
    }
    const key = byName.get(name);
    if (key === undefined) {
      if (name === "h" || name === "help") parsed.wantsHelp = true;
      else parsed.problems.push(`flag provided but not defined: -${name}`);
      continue;
    }
    const text = inline ?? (table[key]?.isBoolean ? "true" : argv[++i]);
    parsed.seen.add(key);
    if (text === undefined) parsed.problems.push(`flag needs an argument: -${name}`);
    else if (texts.has(key) && table[key]?.isRepeatable) texts.get(key)?.push(text);
    else texts.set(key, [text]);
  }
  const values = parsed.values as Record<string, unknown>;
  for (const [key, option] of Object.entries(table)) {
    const variable = option.env?.find((name) => env[name]);
    const source = texts.has(key) || variable === undefined ? `flag -${toFlagName(key)}` : variable;
    const found = texts.get(key) ?? (variable === undefined ? [] : [env[variable] as string]);
    try {
      const all = found.map((text) => parseOne(option, text, source));
      values[key] = all.length === 0 ? option.default : option.collect ? option.collect(all as never[]) : all[0];
    } catch (error) {
      parsed.problems.push((error as Error).message);
    }
  }
  return parsed;
}

function parseOne(option: Flag<unknown>, text: string, source: string): unknown {
  try {
    return option.parse(text);
  } catch (cause) {
    throw new Error(`invalid value "${text}" for ${source}: want ${option.expects}`, { cause });
  }
}

/** "tlsServerName" → "tls-server-name". */
export const toFlagName = (key: string): string => key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);

function parseBoolean(text: string): boolean {
  if (/^(?:true|1|t)$/i.test(text)) return true;
  if (/^(?:false|0|f)$/i.test(text)) return false;
  throw new TypeError(text);
}

function parsePair(text: string): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 0) throw new TypeError(text);
  return Object.fromEntries([[text.slice(0, at), text.slice(at + 1)]]);
}
