/**
 * Decodes JSON bodies as Go's encoding/json with unknown fields forbidden does, since that is what Consul's clients are
 * written against: keys match without case, null is "not given", unknown keys and wrong types are refused by their path.
 */
import { InvalidArgumentError } from "./errors.ts";

export type Spec =
  | "any"
  | "boolean"
  | "duration"
  | "index"
  | "integer"
  | "number"
  | "string"
  | "strings"
  | "uint64"
  | {
      object: Record<string, Spec>;
      /** Unknown keys are passed over, where Consul has a decoder of its own. */
      isOpen?: true;
      /** What documents call it. */
      title?: string;
    }
  | { list: Spec }
  | { map: Spec }
  | { const: string }
  | {
      /** The field that says which of the cases an object is. */
      tag: string;
      cases: Record<string, Spec>;
      title?: string;
    };

/** A decoded value; callers cast it to the type that their spec describes. */
export type Decoded = Record<string, unknown>;

const MAX_DEPTH = 32;

/** Decodes an object. Throws InvalidArgumentError: "Request decode failed: …", naming the field, its value and what is accepted. */
export function decodeObject(input: unknown, fields: Record<string, Spec>): Decoded {
  // null is an object that gives nothing, as for Go.
  return decode(input ?? {}, { object: fields }, "", 0) as Decoded;
}

/** Parses and decodes a body of JSON text. What follows the first value is ignored, as Go's decoder does. */
export function decodeBody(body: Buffer, fields: Record<string, Spec>): Decoded {
  return decodeObject(parseExactBody(body), fields);
}

/** Parses a body of JSON text. Throws InvalidArgumentError with "Request decode failed". */
export function parseBody(body: Buffer): unknown {
  return parse(body.toString("utf8"), undefined);
}

/** The same, with integers past 2^53 as bigint: for values that are decoded, for nobody can write them out as they are. */
export function parseExactBody(body: Buffer): unknown {
  const text = body.toString("utf8");
  // Only a number of so many digits can be past 2^53, and looking at each value of a body costs more than parsing it.
  return parse(text, /\d{16}/.test(text) ? exactIntegers : undefined);
}

type Reviver = (key: string, value: unknown, context?: { source?: string }) => unknown;

function parse(text: string, reviver: Reviver | undefined): unknown {
  try {
    return JSON.parse(text, reviver) as unknown;
  } catch (cause) {
    const first = firstValue(text);
    if (first !== undefined) {
      try {
        return JSON.parse(first, reviver) as unknown;
      } catch {
        // The first value is broken too: the first error is the one that tells.
      }
    }
    throw new InvalidArgumentError(`Request decode failed: ${text.trim() === "" ? "EOF" : (cause as Error).message}`, {
      cause,
    });
  }
}

// Integers past 2^53 (KV flags, serial numbers) stay exact as bigint.
function exactIntegers(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value === "number" && !Number.isSafeInteger(value) && context?.source && /^-?\d+$/.test(context.source))
    return BigInt(context.source);
  return value;
}

function firstValue(text: string): string | undefined {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (inString) {
      if (c === "\\") i++;
      else if (c === '"') inString = false;
    } else if (c === '"') inString = true;
    else if (c === "{" || c === "[") depth++;
    else if ((c === "}" || c === "]") && --depth === 0) return text.slice(0, i + 1);
  }
  return undefined;
}

function fail(path: string, value: unknown, want: string): never {
  const shown = JSON.stringify(abridged(value, SHOWN_LEVELS)) ?? "undefined";
  throw new InvalidArgumentError(
    `Request decode failed: json: cannot use ${shown.slice(0, 100)} for field ${path || "body"}: want ${want}`,
  );
}

// A value may be nested deeper than any stack: only its top is written out.
const SHOWN_LEVELS = 4;
const SHOWN_ITEMS = 20;
function abridged(value: unknown, levels: number): unknown {
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (levels === 0) return "…";
  if (Array.isArray(value)) return value.slice(0, SHOWN_ITEMS).map((item) => abridged(item, levels - 1));
  const shown = Object.entries(value).slice(0, SHOWN_ITEMS);
  return Object.fromEntries(shown.map(([key, item]) => [key, abridged(item, levels - 1)]));
}

function decode(value: unknown, spec: Spec, path: string, depth: number): unknown {
  if (value === null || value === undefined) return undefined;
  if (depth > MAX_DEPTH) fail(path, "…", `at most ${MAX_DEPTH} levels`);
  if (typeof spec === "object") return decodeNested(value, spec, path, depth);
  switch (spec) {
    case "any":
      return plain(value, path, depth);
    case "string":
      return typeof value === "string" ? value : fail(path, value, "text");
    case "boolean":
      return typeof value === "boolean" ? value : fail(path, value, "true or false");
    case "integer":
      return typeof value === "number" && Number.isSafeInteger(value) ? value : fail(path, value, "a whole number");
    case "number":
      return typeof value === "number" && Number.isFinite(value) ? value : fail(path, value, "a number");
    case "index":
      return typeof value === "number" && Number.isSafeInteger(value) && value >= 0
        ? value
        : fail(path, value, "a whole number from 0 on");
    case "uint64":
      if (typeof value === "bigint" && value >= 0n && value < 1n << 64n) return value.toString();
      if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value.toString();
      return fail(path, value, "a whole number from 0 to 18446744073709551615");
    case "duration":
      return typeof value === "string" || (typeof value === "number" && Number.isFinite(value))
        ? value
        : fail(path, value, 'a duration such as "10s"');
    case "strings":
      return Array.isArray(value)
        ? value.map((v, i) => decode(v, "string", `${path}[${i}]`, depth + 1) ?? "")
        : fail(path, value, "a list of text");
  }
}

// What is kept as it is given is written out again, and a bigint cannot be: a float then, as in Go.
function plain(value: unknown, path: string, depth: number): unknown {
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth > MAX_DEPTH) fail(path, "…", `at most ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) return value.map((item) => plain(item, path, depth + 1));
  const out = Object.create(null) as Record<string, unknown>;
  for (const [key, item] of Object.entries(value)) out[key] = plain(item, path, depth + 1);
  return out;
}

function decodeNested(value: unknown, spec: Exclude<Spec, string>, path: string, depth: number): unknown {
  if ("list" in spec) {
    if (!Array.isArray(value)) return fail(path, value, "a list");
    return value.map((v, i) => decode(v, spec.list, `${path}[${i}]`, depth + 1));
  }
  if ("const" in spec) return value === spec.const ? value : fail(path, value, `'${spec.const}'`);
  if (typeof value !== "object" || Array.isArray(value)) return fail(path, value, "an object");
  if ("tag" in spec) {
    const tag = (value as Decoded)[spec.tag];
    const isCase = typeof tag === "string" && Object.hasOwn(spec.cases, tag);
    if (!isCase) return fail(path ? `${path}.${spec.tag}` : spec.tag, tag, `one of ${Object.keys(spec.cases).join()}`);
    return decode(value, spec.cases[tag] as Spec, path, depth + 1);
  }
  const entries = Object.entries(value as Record<string, unknown>);
  if ("map" in spec) {
    const out: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    for (const [k, v] of entries)
      out[k] = decode(v, spec.map, `${path}[${JSON.stringify(k)}]`, depth + 1) ?? zero(spec.map);
    return out;
  }
  const out: Decoded = Object.create(null) as Decoded;
  const names = canonicalNames(spec.object);
  for (const [key, v] of entries) {
    const name = Object.hasOwn(spec.object, key) ? key : names.get(key.toLowerCase());
    if (name === undefined && spec.isOpen) continue;
    if (name === undefined)
      throw new InvalidArgumentError(`Request decode failed: json: unknown field ${JSON.stringify(key)}`);
    out[name] = decode(v, spec.object[name] as Spec, path ? `${path}.${name}` : name, depth + 1);
  }
  return out;
}

/** What null stands for in a map, where a key with nothing would be lost. */
function zero(spec: Spec): unknown {
  if (typeof spec === "object") return "list" in spec ? [] : "const" in spec ? null : Object.create(null);
  return spec === "string" ? "" : spec === "strings" ? [] : null;
}

const namesOf = new WeakMap<Record<string, Spec>, Map<string, string>>();
function canonicalNames(fields: Record<string, Spec>): Map<string, string> {
  let names = namesOf.get(fields);
  if (!names) namesOf.set(fields, (names = new Map(Object.keys(fields).map((k) => [k.toLowerCase(), k]))));
  return names;
}
