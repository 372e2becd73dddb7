/**
 * From a parsed document to typed values: a table of fields says which keys there are, what their values may be, and how a
 * complaint names them. A table and not zod, because keys come in several spellings, a block may stand for a list, every
 * problem needs its path in the text, and no schema library should be loaded before a daemon serves.
 */
import { parseDuration } from "@heddle/daemon";
import type { Path } from "./document.ts";
import { nearest } from "./nearest.ts";

export interface Problem {
  kind: "invalid_value" | "unknown_key" | "wrong_type";
  /** Where in the document, with the keys as they stand there. */
  path: Path;
  /** The value found, or the unknown key. */
  found: unknown;
  /** What is accepted: "a whole number", or, for an unknown key, the keys known there. */
  want: string;
  known?: readonly string[];
  field?: AnyField;
}

type Type = "any" | "boolean" | "duration" | "integer" | "list" | "map" | "number" | "object" | "string";

export interface Field<T> {
  readonly type: Type;
  readonly want: string;
  /** Why a value of the right type is not accepted; undefined: it is. */
  readonly check?: (value: T) => string | undefined;
  /** Of a list's items or a map's values. */
  readonly of?: AnyField;
  /** Of an object; called once, when first needed. */
  readonly fields?: () => Record<string, AnyField>;
  /** Further spellings of the key, in lower case. */
  readonly aliases?: readonly string[];
  /** In a request body only the CamelCase spelling is known (a gap in Consul that its clients rely on not to matter). */
  readonly camelOnly?: boolean;
  /** `check` is a rule for files alone. */
  readonly filesOnly?: boolean;
}
// The table mixes fields of every value type; `never` in `check`'s place would be needed to say so without an assertion.
export interface AnyField extends Omit<Field<unknown>, "check"> {
  readonly check?: ((value: never) => string | undefined) | undefined;
}
/** The type that a field decodes to. */
export type Value<F> = F extends Field<infer T> ? T : never;
type Values<F> = { -readonly [K in keyof F]?: Value<F[K]> };

type Extra<T> = Partial<Pick<Field<T>, "aliases" | "camelOnly" | "check" | "filesOnly" | "want">>;

export const fields = {
  string: (extra: Extra<string> = {}): Field<string> => ({ type: "string", want: "text", ...extra }),
  boolean: (extra: Extra<boolean> = {}): Field<boolean> => ({ type: "boolean", want: "true or false", ...extra }),
  integer: (min = -Infinity, max = Infinity, extra: Extra<number> = {}): Field<number> => ({
    type: "integer",
    want: rangeText("a whole number", min, max),
    check: (value) => (value < min || value > max ? "" : undefined),
    ...extra,
  }),
  number: (extra: Extra<number> = {}): Field<number> => ({ type: "number", want: "a number", ...extra }),
  /** Go duration text, in a request also nanoseconds; decodes to milliseconds. */
  duration: (extra: Extra<number> = {}): Field<number> => ({
    type: "duration",
    want: "a duration such as '10s' or '1h30m'",
    ...extra,
  }),
  oneOf: <T extends string>(values: readonly T[], extra: Extra<T> = {}): Field<T> => ({
    type: "string",
    want: `one of ${values.map((v) => `'${v}'`).join(", ")}`,
    check: (value) => (values.includes(value) ? undefined : ""),
    ...extra,
  }),
  list: <F extends AnyField>(of: F, extra: Extra<Value<F>[]> = {}): Field<Value<F>[]> => ({
    type: "list",
    want: `a list of ${plural(of)}`,
    of,
    ...extra,
  }),
  map: <F extends AnyField>(of: F, extra: Extra<Record<string, Value<F>>> = {}): Field<Record<string, Value<F>>> => ({
    type: "map",
    want: `a map of ${plural(of)}`,
    of,
    ...extra,
  }),
  object: <F extends Record<string, AnyField>>(of: () => F, extra: Extra<Values<F>> = {}): Field<Values<F>> => ({
    type: "object",
    want: "a block of keys",
    fields: of,
    ...extra,
  }),
  /** Any map, kept as it stands. */
  anyMap: (extra: Extra<Record<string, unknown>> = {}): Field<Record<string, unknown>> => ({
    type: "map",
    want: "a map",
    of: { type: "any", want: "anything" },
    ...extra,
  }),
};

export interface DecodeOptions {
  /** A block may stand where a list is wanted: HCL cannot tell one block from a list of one. */
  blocks?: boolean;
  /** A request body: some keys have fewer spellings there, and a duration may be a number of nanoseconds. */
  isRequest?: boolean;
}

/** Decodes `value`; what cannot be decoded is left out and told to `report`, in the order of the document. */
export function decode<F extends AnyField>(
  field: F,
  value: unknown,
  report: (problem: Problem) => void,
  options: DecodeOptions = {},
  path: Path = [],
): Value<F> | undefined {
  return new Decoder(report, options).value(field, value, path) as Value<F> | undefined;
}

class Decoder {
  readonly #report: (problem: Problem) => void;
  readonly #options: DecodeOptions;

  constructor(report: (problem: Problem) => void, options: DecodeOptions) {
    this.#report = report;
    this.#options = options;
  }

  value(field: AnyField, value: unknown, path: Path): unknown {
    if (value === null || value === undefined) return undefined;
    // In a file a list of one stands for its item, as Consul's decoder has it for every value that is not a list itself.
    if (
      !this.#options.isRequest &&
      Array.isArray(value) &&
      value.length === 1 &&
      field.type !== "list" &&
      field.type !== "any"
    )
      return this.value(field, value[0], [...path, 0]);
    const decoded = this.#typed(field, value, path);
    if (decoded === undefined) return undefined;
    if (field.filesOnly && this.#options.isRequest) return decoded;
    const problem = (field.check as ((value: unknown) => string | undefined) | undefined)?.(decoded);
    if (problem === undefined) return decoded;
    this.#report({ kind: "invalid_value", path, found: value, want: problem || field.want, field });
    return undefined;
  }

  #typed(field: AnyField, value: unknown, path: Path): unknown {
    switch (field.type) {
      case "any":
        return this.#options.isRequest ? withoutBigInts(value) : value;
      case "string":
      case "boolean":
        return typeof value === field.type ? value : this.#wrong(field, value, path);
      case "number":
        return typeof value === "number" ? value : this.#wrong(field, value, path);
      case "integer":
        return Number.isSafeInteger(value) ? value : this.#wrong(field, value, path);
      case "duration":
        return this.#duration(field, value, path);
      case "list":
        return this.#list(field, value, path);
      case "map":
        return isObject(value) ? this.#map(field, value, path) : this.#wrong(field, value, path);
      case "object":
        return isObject(value) ? this.#object(field, value, path) : this.#wrong(field, value, path);
    }
  }

  #duration(field: AnyField, value: unknown, path: Path): number | undefined {
    if ((typeof value === "number" || typeof value === "bigint") && this.#options.isRequest)
      return Math.round(Number(value)) / 1e6;
    // Consul looks at texts and numbers in a request, and at nothing else.
    if (typeof value !== "string") return this.#options.isRequest ? undefined : this.#wrong(field, value, path);
    try {
      return parseDuration(value);
    } catch {
      this.#report({ kind: "invalid_value", path, found: value, want: field.want, field });
      return undefined;
    }
  }

  #list(field: AnyField, value: unknown, path: Path): unknown[] | undefined {
    if (!Array.isArray(value)) {
      if (!this.#options.blocks || !isObject(value)) return this.#wrong(field, value, path);
      const item = this.value(field.of as AnyField, value, path);
      return item === undefined ? [] : [item];
    }
    return value
      .map((item, i) => this.#item(field.of as AnyField, item, [...path, i]))
      .filter((item) => item !== undefined);
  }

  #map(field: AnyField, value: Record<string, unknown>, path: Path): Record<string, unknown> {
    const map = Object.create(null) as Record<string, unknown>;
    for (const [key, item] of Object.entries(value)) {
      const decoded = this.#item(field.of as AnyField, item, [...path, key]);
      if (decoded !== undefined) map[key] = decoded;
    }
    return map;
  }

  /** Of a list or a map: in a request, null there is Go's zero value of its type, and does not vanish. */
  #item(field: AnyField, value: unknown, path: Path): unknown {
    return value === null && this.#options.isRequest ? zero(field) : this.value(field, value, path);
  }

  #object(field: AnyField, value: Record<string, unknown>, path: Path): Record<string, unknown> {
    const index = indexOf(field);
    const object = Object.create(null) as Record<string, unknown>;
    for (const [key, item] of Object.entries(value)) {
      const name = index.get(key.toLowerCase());
      const member = name === undefined ? undefined : (members(field)[name] as AnyField);
      if (name === undefined || (this.#options.isRequest && member?.camelOnly && key.includes("_"))) {
        this.#report({ kind: "unknown_key", path: [...path, key], found: key, want: "", known: knownKeys(field) });
        continue;
      }
      const decoded = this.value(member as AnyField, item, [...path, key]);
      if (decoded !== undefined) object[name] = decoded;
    }
    return object;
  }

  #wrong(field: AnyField, found: unknown, path: Path): undefined {
    this.#report({ kind: "wrong_type", path, found, want: field.want, field });
    return undefined;
  }
}

function zero(field: AnyField): unknown {
  if (field.type === "any") return null;
  if (field.type === "string") return "";
  if (field.type === "list") return [];
  if (field.type === "map") return Object.create(null);
  // A block of nothing in a list is no block: what Consul makes of it ends the request.
  return field.type === "integer" || field.type === "number" ? 0 : field.type === "boolean" ? false : undefined;
}

const memberTables = new WeakMap<() => unknown, Record<string, AnyField>>();
const indexes = new WeakMap<() => unknown, Map<string, string>>();

/** The members of an object field by canonical name. */
export function members(field: AnyField): Record<string, AnyField> {
  const make = field.fields as () => Record<string, AnyField>;
  let table = memberTables.get(make);
  if (!table) memberTables.set(make, (table = make()));
  return table;
}

function indexOf(field: AnyField): Map<string, string> {
  const make = field.fields as () => unknown;
  let index = indexes.get(make);
  if (index) return index;
  index = new Map();
  for (const [name, member] of Object.entries(members(field)))
    for (const key of [name.toLowerCase(), toSnake(name), ...(member.aliases ?? [])]) index.set(key, name);
  indexes.set(make, index);
  return index;
}

const SECRET = /(?:^|_)(?:encrypt|key|master|password|secret|tokens?|agent_recovery|initial_management)$/i;

/** A problem as a file's reader shows it: "ports.http: invalid value "x": want …". A value that may be a secret is left out. */
export function describeProblem(problem: Problem): string {
  const parent = formatPath(problem.path.slice(0, -1));
  if (problem.kind === "unknown_key") {
    const known = problem.known ?? [];
    const meant = nearest(String(problem.found), known);
    const hint = meant
      ? `did you mean '${meant}'?`
      : known.length <= 40
        ? `known here are ${known.join(", ")}`
        : "see the documentation of the configuration file";
    return `unknown key '${String(problem.found)}'${parent && ` in ${parent}`}: ${hint}`;
  }
  const isSecret = problem.path.some((key) => typeof key === "string" && SECRET.test(key));
  const shown = isSecret ? "" : ` ${formatValue(problem.found)}`;
  return `${formatPath(problem.path) || "this"}: invalid value${shown}: want ${problem.want}`;
}

/** ["services", 0, "port"] → "services[0].port". */
export function formatPath(path: Path): string {
  return path.map((key, i) => (typeof key === "number" ? `[${key}]` : i === 0 ? key : `.${key}`)).join("");
}

function formatValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/** The keys of an object field as files spell them. */
export function knownKeys(field: AnyField): string[] {
  return Object.keys(members(field)).map(toSnake);
}

/** "GRPCUseTLS" → "grpc_use_tls", "H2PingUseTLS" → "h2ping_use_tls". */
export function toSnake(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1_$2")
    .toLowerCase()
    .replace(/^h2_?ping/, "h2ping");
}

/** Request bodies are read with exact integers; a map kept as it stands is shown again as JSON, which has none. */
function withoutBigInts(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(withoutBigInts);
  if (!isObject(value)) return value;
  const copy = Object.create(null) as Record<string, unknown>;
  for (const [key, item] of Object.entries(value)) copy[key] = withoutBigInts(item);
  return copy;
}

function rangeText(what: string, min: number, max: number): string {
  if (Number.isFinite(min) && Number.isFinite(max)) return `${what} from ${min} to ${max}`;
  if (Number.isFinite(min)) return `${what}, at least ${min}`;
  return what;
}

function plural(field: AnyField): string {
  const names: Record<Type, string> = {
    any: "values",
    boolean: "booleans",
    duration: "durations",
    integer: "whole numbers",
    list: "lists",
    map: "maps",
    number: "numbers",
    object: "blocks",
    string: "texts",
  };
  return names[field.type];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
