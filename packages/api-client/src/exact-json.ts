/** JSON whose integers are exact beyond 2^53: flags of keys, serial numbers. */

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;

/** JSON.parse that keeps integers beyond 2^53 as bigint. */
export function parseExact(text: string): unknown {
  const revive: Reviver = (_key, value, { source = "" }) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? BigInt(source) : value;
  return JSON.parse(text, revive as (key: string, value: unknown) => unknown);
}

/** JSON.stringify that writes a bigint as the number it is. */
export function toExactJson(value: unknown, indent: string | number = 0): string {
  const { rawJSON } = JSON as unknown as { rawJSON: (this: void, text: string) => unknown };
  return JSON.stringify(
    value,
    (_key, item: unknown) => (typeof item === "bigint" ? rawJSON(String(item)) : item),
    indent,
  );
}
