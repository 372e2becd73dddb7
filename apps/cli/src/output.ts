/** How results are printed: columns for people, JSON (with exact integers) for programs. */
import { parseExact, toExactJson } from "@heddle/api-client";
import type { Terminal } from "./terminal.ts";

export { parseExact };

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

/** JSON with integers exact, indented by four. */
export const formatJson = (value: unknown, indent: string | number = 4): string => toExactJson(value, indent);

/** Prints the agent's own answer. */
export function printJson(terminal: Terminal, raw: Buffer): void {
  terminal.out(`${formatJson(parseExact(raw.toString("utf8")))}\n`);
}

/** A terminal for programs: what is no JSON is a message, and each of its lines becomes an object, `{"Message": "Success! …"}`. */
export function asMessages(terminal: Terminal): Terminal {
  const messages = Object.create(terminal) as Terminal;
  messages.out = (data) => {
    if (typeof data !== "string" || isJson(data)) return terminal.out(data);
    for (const line of data.split("\n")) if (line.trim() !== "") terminal.out(`${JSON.stringify({ Message: line })}\n`);
  };
  return messages;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
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
