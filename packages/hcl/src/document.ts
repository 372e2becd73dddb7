/**
 * A parsed text that remembers where each of its values stood, so that whoever finds a value wrong later can say the line.
 * Objects have no prototype: `__proto__` and `constructor` are ordinary keys.
 */
import { HclSyntaxError, type Position } from "./errors.ts";

export type Path = readonly (string | number)[];

export interface ParsedDocument {
  readonly file: string;
  readonly format: "hcl" | "json";
  readonly value: Record<string, unknown>;
  /** Where the value at `path` begins (its key, where it has one); undefined where there is no such value. */
  readonly at: (path: Path) => Position | undefined;
  /** Keys that were given again, so that only the later value counts. */
  readonly duplicates: readonly { path: Path; at: Position; first: Position }[];
}

/** The longest text that is read: about 100,000 service definitions. */
export const MAX_TEXT_LENGTH = 32 * 1024 * 1024;
/** Deeper nesting than any definition needs, and far from the depth at which recursion ends a process. */
export const MAX_DEPTH = 64;

/** Remembers the offsets of values while a parser runs, and turns them into lines afterwards. */
export class Positions {
  readonly #text: string;
  readonly #file: string;
  readonly #offsets = new WeakMap<object, Map<string | number, number>>();
  #lineStarts: number[] | undefined;
  readonly duplicates: { path: Path; at: Position; first: Position }[] = [];

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
    if (text.length > MAX_TEXT_LENGTH)
      throw new HclSyntaxError(file, { line: 1, column: 1 }, `the file is longer than ${MAX_TEXT_LENGTH} characters`);
  }

  set(parent: object, key: string | number, offset: number): void {
    let offsets = this.#offsets.get(parent);
    if (!offsets) this.#offsets.set(parent, (offsets = new Map()));
    offsets.set(key, offset);
  }

  offset(parent: object, key: string | number): number {
    return this.#offsets.get(parent)?.get(key) ?? 0;
  }

  position(offset: number): Position {
    this.#lineStarts ??= lineStarts(this.#text);
    const starts = this.#lineStarts;
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((starts[middle] as number) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (starts[low] as number) + 1 };
  }

  error(offset: number, problem: string): HclSyntaxError {
    return new HclSyntaxError(this.#file, this.position(offset), problem);
  }

  document(format: "hcl" | "json", value: Record<string, unknown>): ParsedDocument {
    return {
      file: this.#file,
      format,
      value,
      duplicates: this.duplicates,
      at: (path) => {
        let parent: unknown = value;
        let offset = 0;
        for (const key of path) {
          const found = typeof parent === "object" && parent !== null ? this.#offsets.get(parent)?.get(key) : undefined;
          if (found === undefined) return undefined;
          offset = found;
          parent = (parent as Record<string | number, unknown>)[key];
        }
        return this.position(offset);
      },
    };
  }
}

function lineStarts(text: string): number[] {
  const starts = [0];
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}
