/**
 * The text of an expression while it is read. It remembers the farthest place that could not be read on and what would
 * have been, so that errors read as those of go-bexpr's generated parser (pigeon): "1:13 (12): no match found, expected: …".
 */
import { FilterError } from "./errors.ts";

const MAX_FAULTS = 10;

export class Scanner {
  readonly text: string;
  at = 0;
  #farthest = 0;
  readonly #expected = new Set<string>();
  /** Errors that are more than something missing. */
  readonly #faults = new Set<string>();

  constructor(text: string) {
    this.text = text;
  }

  /** Reads `literal`; false, with nothing read, where something else stands. */
  literal(literal: string): boolean {
    if (!this.text.startsWith(literal, this.at)) return this.#fail(quote(literal));
    this.at += literal.length;
    return true;
  }

  /** Reads one character of a class; `shown` is how errors name the class. */
  one(pattern: RegExp, shown: string): boolean {
    if (this.at >= this.text.length || !pattern.test(this.text[this.at] as string)) return this.#fail(shown);
    this.at += 1;
    return true;
  }

  /** Reads as many characters of a class as there are. */
  many(pattern: RegExp, shown: string): void {
    while (this.one(pattern, shown));
  }

  /** White space: at least one. */
  space(): boolean {
    const start = this.at;
    this.many(/[ \t\r\n]/, "[ \\t\\r\\n]");
    return this.at > start;
  }

  end(): boolean {
    return this.at >= this.text.length || this.#fail("EOF");
  }

  /** Goes back to `start`, and says so as a failed attempt. */
  back(start: number): false {
    this.at = start;
    return false;
  }

  /** Notes an error of a rule: the expression is refused, however it goes on. */
  fault(rule: string, message: string, at = this.at): void {
    if (this.#faults.size < MAX_FAULTS) this.#faults.add(`${this.#position(at)}: rule "${rule}": ${message}`);
  }

  /** What to tell where the text is no expression. */
  error(): FilterError {
    if (this.#faults.size > 0) return new FilterError([...this.#faults].join("\n"));
    const expected = [...this.#expected].filter((e) => e !== "EOF").sort();
    if (this.#expected.has("EOF")) expected.push("EOF");
    const last = expected.pop() ?? "";
    const list = expected.length === 0 ? last : `${expected.join(", ")} or ${last}`;
    return new FilterError(`${this.#position(this.#farthest)}: no match found, expected: ${list}`);
  }

  get hasFault(): boolean {
    return this.#faults.size > 0;
  }

  #fail(expected: string): false {
    if (this.at > this.#farthest) {
      this.#farthest = this.at;
      this.#expected.clear();
    }
    if (this.at === this.#farthest) this.#expected.add(expected);
    return false;
  }

  /** line:column (offset); columns count characters, offsets bytes. */
  #position(at: number): string {
    const before = this.text.slice(0, at);
    const lines = before.split("\n");
    // The parser counts a line feed as the start of its next line, at column 0.
    const isOnLineFeed = this.text[at] === "\n";
    const line = lines.length + (isOnLineFeed ? 1 : 0);
    const column = isOnLineFeed ? 0 : Array.from(lines.at(-1) as string).length + 1;
    return `${line}:${column} (${Buffer.byteLength(before)})`;
  }
}

const quote = (literal: string): string => `"${literal.replaceAll('"', '\\"')}"`;
