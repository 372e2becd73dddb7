/**
 * Reads a config entry out of JSON or HCL values, as leniently as Consul does: keys in CamelCase, in snake_case and in any case, numbers
 * given as text, one value where a list is meant. What is left empty is dropped, so that the result is the stored form.
 */
import { formatDuration, parseDuration } from "@heddle/daemon";
import { formatUnknown, goKind, ReadProblems } from "./read-problems.ts";
import type { Fields, Shape } from "./shape.ts";

const MAX_DEPTH = 32;
const NS_PER_MS = 1e6;
/** Keys of an answer that mean nothing in a request: what was read can be written back. */
const IGNORED = new Set(["createindex", "modifyindex", "raftindex"]);

/** Reads a whole entry. Throws InvalidArgumentError that lists every value that does not fit, or every unknown key. */
export function readEntry(
  input: unknown,
  shape: Shape,
  { ignoresUnknown = false }: { ignoresUnknown?: boolean } = {},
): Record<string, unknown> {
  const problems = new ReadProblems();
  const value = readValue(input, shape, "", { problems, ignoresUnknown, depth: 0 });
  problems.throwIfAny();
  return value as Record<string, unknown>;
}

interface Context {
  problems: ReadProblems;
  ignoresUnknown: boolean;
  depth: number;
}

function readValue(input: unknown, shape: Shape, path: string, context: Context): unknown {
  if (context.depth > MAX_DEPTH) return context.problems.wrong(`'${path}' is nested deeper than ${MAX_DEPTH} levels`);
  if (typeof shape === "string") {
    if (input === null || input === undefined) return undefined;
    const value =
      shape === "opaque" ? readOpaque(input, path, context) : readScalar(single(input), shape, path, context);
    return value === "" || value === 0 || value === false ? undefined : value;
  }
  if ("kept" in shape) return readValue(input, shape.kept, path, context) ?? emptyOf(shape.kept, input);
  if ("fields" in shape) {
    if (input === null || input === undefined) {
      return shape.optional ? undefined : readFields({}, shape.fields, path, context);
    }
    const object = single(input);
    if (!isObject(object)) return context.problems.wrong(`'${path}' expected a map, got '${goKind(object)}'`);
    return readFields(object, shape.fields, path, context);
  }
  if (input === null || input === undefined) return undefined;
  const deeper = { ...context, depth: context.depth + 1 };
  if ("list" in shape) {
    // An empty object where a list is meant is an empty list, any other single value a list of one.
    const items = Array.isArray(input) ? input : isObject(input) && Object.keys(input).length === 0 ? [] : [input];
    const out = items.map((item, i) => {
      const value = readValue(item, shape.list, `${path}[${i}]`, deeper);
      return value ?? emptyOf(shape.list, item);
    });
    return out.length === 0 ? undefined : out;
  }
  const object = mergedMaps(input);
  if (!object) return context.problems.wrong(`'${path}' expected a map, got '${goKind(input)}'`);
  const out = Object.create(null) as Record<string, unknown>;
  for (const [key, item] of Object.entries(object))
    out[key] = readValue(item, shape.map, `${path}[${key}]`, deeper) ?? emptyOf(shape.map, item);
  return Object.keys(out).length === 0 ? undefined : out;
}

function readFields(input: Record<string, unknown>, fields: Fields, path: string, context: Context): unknown {
  const out: Record<string, unknown> = {};
  const left = new Map(Object.entries(input));
  const deeper = { ...context, depth: context.depth + 1 };
  const prefix = path === "" ? "" : `${path}.`;
  for (const [name, shape] of Object.entries(fields)) {
    const key = findKey(left, name);
    const given = key === undefined ? undefined : left.get(key);
    if (key !== undefined) left.delete(key);
    const value = readValue(given, shape, prefix + name, deeper);
    if (value !== undefined) out[name] = value;
  }
  for (const key of left.keys()) {
    if (context.ignoresUnknown || (path === "" && IGNORED.has(key.toLowerCase()))) continue;
    context.problems.unknown(formatUnknown(prefix + key));
  }
  return out;
}

/** The key that stands for a field: its own name, the name in another case, or in snake_case. */
function findKey(given: Map<string, unknown>, name: string): string | undefined {
  if (given.has(name)) return name;
  const lower = name.toLowerCase();
  const snake = snakeCase(name);
  let found: string | undefined;
  for (const key of given.keys()) {
    const folded = key.toLowerCase();
    if (folded === lower) return key;
    if (folded === snake) found = key;
  }
  return found;
}

const snakes = new Map<string, string>();
function snakeCase(name: string): string {
  let snake = snakes.get(name);
  if (snake === undefined) {
    snake = name
      .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
      .replace(/([A-Z]+)([A-Z][a-z])/g, "$1_$2")
      .toLowerCase();
    snakes.set(name, snake);
  }
  return snake;
}

function emptyOf(shape: Shape, given: unknown): unknown {
  if (shape === "boolean") return false;
  if (shape === "text" || shape === "duration") return "";
  if (shape === "opaque") return null;
  if (typeof shape === "string") return 0;
  if ("kept" in shape) return emptyOf(shape.kept, given);
  if ("list" in shape) return Array.isArray(given) ? [] : null;
  if ("map" in shape) return given === null || given === undefined ? null : {};
  return null;
}

type Scalar = "boolean" | "duration" | "float" | "integer" | "text" | "unsigned";

function readScalar(value: unknown, shape: Scalar, path: string, { problems }: Context): unknown {
  const unfit = (want: string) =>
    problems.wrong(`'${path}' expected type '${want}', got unconvertible type '${goKind(value, true)}'`);
  const broken = (want: string, why: string) => problems.wrong(`cannot parse '${path}' as ${want}: ${why}`);
  if (typeof value === "bigint") value = Number(value);
  switch (shape) {
    case "text":
      if (typeof value === "string") return value;
      if (typeof value === "boolean") return value ? "1" : "0";
      return typeof value === "number" ? String(value) : unfit("string");
    case "boolean":
      if (typeof value === "boolean") return value;
      if (typeof value === "number") return value !== 0;
      if (typeof value !== "string") return unfit("bool");
      if (/^(?:1|t|T|TRUE|true|True)$/.test(value)) return true;
      if (/^(?:0|f|F|FALSE|false|False|)$/.test(value)) return false;
      return broken("bool", `strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`);
    case "duration":
      if (typeof value === "number") return durationText(Math.trunc(value) / NS_PER_MS);
      if (typeof value !== "string") return unfit("time.Duration");
      return readDuration(value, path, problems);
    case "float":
    case "integer":
    case "unsigned": {
      const want = shape === "float" ? "float" : shape === "integer" ? "int" : "uint";
      if (typeof value === "boolean") return value ? 1 : 0;
      if (typeof value === "string") {
        const pattern = shape === "float" ? /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/ : /^[+-]?\d+$/;
        if (!pattern.test(value))
          return broken(
            want,
            `strconv.Parse${want === "uint" ? "Uint" : want === "int" ? "Int" : "Float"}: parsing ${JSON.stringify(value)}: invalid syntax`,
          );
        value = Number(value);
      }
      if (typeof value !== "number") return unfit(shape === "float" ? "float32" : want === "uint" ? "uint32" : "int");
      if (shape === "float") return value;
      const whole = Math.trunc(value);
      const [least, most] = shape === "integer" ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1];
      if (whole < least || whole > most) return broken(want, `${whole} is not between ${least} and ${most}`);
      return whole === 0 ? 0 : whole;
    }
  }
}

function readDuration(text: string, path: string, problems: ReadProblems): unknown {
  try {
    return durationText(parseDuration(text));
  } catch {
    const why = /^[+-]?\d+$/.test(text) ? "missing unit in duration" : "invalid duration";
    return problems.wrong(`error decoding '${path}': time: ${why} ${JSON.stringify(text.slice(0, 64))}`);
  }
}

const durationText = (ms: number): string => (ms === 0 ? "" : formatDuration(ms));

/** A map whose keys and values are kept as they are given. */
function readOpaque(input: unknown, path: string, { problems }: Context): unknown {
  const object = mergedMaps(input);
  if (!object) return problems.wrong(`'${path}' expected a map, got '${goKind(input)}'`);
  if (isDeeperThan(object, MAX_DEPTH)) return problems.wrong(`'${path}' is nested deeper than ${MAX_DEPTH} levels`);
  return withoutBigInts(object);
}

// Consul keeps numbers here as 64-bit floats, and JSON knows no other.
function withoutBigInts(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(withoutBigInts);
  const out = Object.create(null) as Record<string, unknown>;
  for (const [key, item] of Object.entries(value)) out[key] = withoutBigInts(item);
  return out;
}

function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeperThan(item, levels - 1));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** HCL writes a block as a list of one. */
function single(value: unknown): unknown {
  return Array.isArray(value) && value.length === 1 ? value[0] : value;
}

function mergedMaps(value: unknown): Record<string, unknown> | undefined {
  if (isObject(value)) return value;
  if (!Array.isArray(value) || !value.every(isObject)) return undefined;
  const out = Object.create(null) as Record<string, unknown>;
  for (const part of value) for (const [key, item] of Object.entries(part)) out[key] = item;
  return out;
}
