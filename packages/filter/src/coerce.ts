/** Values as written become values of their field's type, by the rules and with the errors of Go's strconv. */
import type { Field } from "./fields.ts";

const MAX_INT64 = 2n ** 63n - 1n;

/** Throws an Error with strconv's words. */
export function coerce(raw: string, field: Field): boolean | number | string {
  if (field.type === "integer") return parseInteger(raw);
  return field.type === "boolean" ? parseBoolean(raw) : raw;
}

function parseBoolean(raw: string): boolean {
  if (/^(?:1|[tT]|TRUE|true|True)$/.test(raw)) return true;
  if (/^(?:0|[fF]|FALSE|false|False)$/.test(raw)) return false;
  throw new Error(`strconv.ParseBool: parsing ${JSON.stringify(raw)}: invalid syntax`);
}

// strconv.ParseInt with base 0: 0x, 0o and 0b are known, and a leading zero means octal.
function parseInteger(raw: string): number {
  const problem = (what: string) => new Error(`strconv.ParseInt: parsing ${JSON.stringify(raw)}: ${what}`);
  const [, sign, digits] = /^([+-]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)$/.exec(raw) ?? [];
  if (digits === undefined) throw problem("invalid syntax");
  const value = BigInt(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits);
  if (value > MAX_INT64 + (sign === "-" ? 1n : 0n)) throw problem("value out of range");
  return Number(value) * (sign === "-" ? -1 : 1);
}
