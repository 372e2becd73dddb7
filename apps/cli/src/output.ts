/** How results are printed: columns for people, JSON (with exact integers) for programs. */
import type { Terminal } from "./terminal.ts";

/** Lines of cells, each column as wide as its widest cell, two spaces between. */
export function columns(rows: readonly (readonly string[])[], gap = "  "): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, width(cell))));
  const lines = rows.map((row) =>
    row
      .map((cell, i) => cell + " ".repeat((widths[i] as number) - width(cell)))
      .join(gap)
      .trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

const width = (text: string): number => Array.from(text).length;

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;

/** JSON.parse that keeps integers beyond 2^53 (KV flags, serial numbers) as bigint. */
export function parseExact(text: string): unknown {
  const revive: Reviver = (_key, value, { source = "" }) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? BigInt(source) : value;
  return JSON.parse(text, revive as (key: string, value: unknown) => unknown);
}

/** JSON.stringify that writes a bigint as the number it is. */
export function formatJson(value: unknown, indent: string | number = 4): string {
  const { rawJSON } = JSON as unknown as { rawJSON: (this: void, text: string) => unknown };
  return JSON.stringify(
    value,
    (_key, item: unknown) => (typeof item === "bigint" ? rawJSON(String(item)) : item),
    indent,
  );
}

/** Prints the agent's own answer. */
export function printJson(terminal: Terminal, raw: Buffer): void {
  terminal.out(`${formatJson(parseExact(raw.toString("utf8")))}\n`);
}

/** The entries of a map, by key. */
export function sortedEntries<T>(map: Record<string, T> | null | undefined): [string, T][] {
  return Object.entries(map ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** "a=1, b=2", by key. */
export function pairs(map: Record<string, string> | null | undefined, separator = ", "): string {
  return sortedEntries(map)
    .map(([key, value]) => `${key}=${value}`)
    .join(separator);
}
