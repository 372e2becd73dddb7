/** From an expression to a predicate on rows: checked against the endpoint's fields once, then run for each row. */
import { coerce } from "./coerce.ts";
import { FilterError } from "./errors.ts";
import { type Field, type Fields, findField, operatorsOf } from "./fields.ts";
import { parseFilter } from "./grammar.ts";
import { compilePattern } from "./regexps.ts";
import type { Expression, Match, MatchOperator } from "./syntax.ts";

/** Longer expressions are refused; the request line would not hold much more either. */
export const MAX_EXPRESSION_BYTES = 64 * 1024;

export type Filter = (row: unknown) => boolean;

/**
 * The predicate of an expression; an empty one keeps everything. Throws FilterError. An expression with `matches` needs
 * `loadRegexps()` before.
 */
export function compileFilter(expression: string, fields: Fields): Filter {
  if (expression === "") return () => true;
  if (Buffer.byteLength(expression) > MAX_EXPRESSION_BYTES)
    throw new FilterError(`expression is too long: the limit is ${MAX_EXPRESSION_BYTES} bytes`, { status: 400 });
  const parsed = explained(() => parseFilter(expression));
  return explained(() => compile(parsed, fields), true);
}

const PREFIX = "Failed to create boolean expression evaluator: ";

function explained<T>(make: () => T, isAboutFields = false): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof FilterError)) throw cause;
    throw new FilterError(PREFIX + cause.message, { cause, isAboutFields, status: cause.status });
  }
}

function compile(expression: Expression, fields: Fields): Filter {
  switch (expression.kind) {
    case "and": {
      const all = expression.all.map((e) => compile(e, fields));
      return (row) => all.every((test) => test(row));
    }
    case "or": {
      const any = expression.any.map((e) => compile(e, fields));
      return (row) => any.some((test) => test(row));
    }
    case "not": {
      const test = compile(expression.operand, fields);
      return (row) => !test(row);
    }
    case "match":
      return compileMatch(expression, fields);
  }
}

function compileMatch({ selector, operator, value }: Match, fields: Fields): Filter {
  const field = findField(fields, selector);
  if ("missingAt" in field)
    throw new FilterError(`Selector ${quote(selector.slice(0, field.missingAt + 1).join("."))} is not valid`);
  const name = quote(selector.join("."));
  if (!operatorsOf(field).includes(operator))
    throw new FilterError(`Invalid match operator ${quote(operator)} for selector ${name}`);
  const test = testOf(field, operator, value ?? "", name);
  // A key that a map does not have is equal to nothing, in nothing, matches nothing and is empty. (Consul lets it match
  // any pattern up to 1.8, which is of no use to anybody; later ones do as here.)
  const ofMissing =
    operator === "Not Equal" || operator === "Is Empty" || operator === "Not In" || operator === "Not Matches";
  return walk({ type: "object", fields }, selector, 0, test, ofMissing);
}

/** A predicate that follows the selector from a value of `field` on. A list on the way matches where any item does. */
function walk(field: Field, selector: string[], depth: number, test: Filter, ofMissing: boolean): Filter {
  if (depth >= selector.length) return test;
  if (field.type === "list") {
    const ofItem = walk(field.of, selector, depth, test, ofMissing);
    return (value) => Array.isArray(value) && value.some(ofItem);
  }
  const key = selector[depth] as string;
  if (field.type === "map") {
    const next = walk(field.of, selector, depth + 1, test, ofMissing);
    return (value) => (isObject(value) && Object.hasOwn(value, key) ? next(value[key]) : ofMissing);
  }
  const inner = field.type === "object" ? (field.fields[key] as Field) : field;
  const next = walk(inner, selector, depth + 1, test, ofMissing);
  return (value) => next(isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined);
}

function testOf(field: Field, operator: MatchOperator, raw: string, name: string): Filter {
  switch (operator) {
    case "Equal":
    case "Not Equal": {
      const wanted = coerced(raw, field, name);
      const empty = field.type === "string" ? "" : field.type === "integer" ? 0 : false;
      return operator === "Equal" ? (value) => (value ?? empty) === wanted : (value) => (value ?? empty) !== wanted;
    }
    case "In":
    case "Not In": {
      const ofNothing = field.type === "string" && raw === "";
      const has: Filter = (value) => (value === undefined ? ofNothing : holds(value, raw));
      return operator === "In" ? has : (value) => !has(value);
    }
    case "Is Empty":
      return isEmpty;
    case "Is Not Empty":
      return (value) => !isEmpty(value);
    case "Matches":
    case "Not Matches": {
      const matches = compilePattern(raw);
      return operator === "Matches"
        ? (value) => matches(typeof value === "string" ? value : "")
        : (value) => !matches(typeof value === "string" ? value : "");
    }
  }
}

function coerced(raw: string, field: Field, name: string): boolean | number | string {
  try {
    return coerce(raw, field);
  } catch (cause) {
    throw new FilterError(`Failed to coerce value ${quote(raw)} for selector ${name}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** A list holds its items, a map its keys, text what is part of it. */
function holds(value: unknown, wanted: string): boolean {
  if (typeof value === "string") return value.includes(wanted);
  if (Array.isArray(value)) return value.includes(wanted);
  return isObject(value) && Object.hasOwn(value, wanted);
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  return !isObject(value) || Object.keys(value).length === 0;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

const quote = (text: string): string => JSON.stringify(text);
