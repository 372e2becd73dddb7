/** The words of HCL 1: identifiers, strings, numbers, heredocs, punctuation; comments and space are skipped. */
import type { Positions } from "./document.ts";
import { quoted } from "./json.ts";

type Punctuation = "{" | "}" | "[" | "]" | "," | "=";
export interface Token {
  kind: Punctuation | "end" | "number" | "string" | "word";
  /** The text of a word or a string, the character of punctuation. */
  text: string;
  /** What a string or a number stands for. */
  value?: string | number;
  offset: number;
}

const SKIPPED = /(?:[ \t\r\n]+|#[^\n]*|\/\/[^\n]*|\/\*[\s\S]*?\*\/)*/y;
const WORD = /[\p{L}_][\p{L}\p{Nd}_.-]*/uy;
const NUMBER = /-?(?:0[xX][0-9a-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)/y;
const HEREDOC = /<<(-?)([\p{L}\p{Nd}_]+)\r?\n/uy;
// oxlint-disable-next-line no-control-regex
const PLAIN = /[^"\\\n$\u0000]+/y;
const ESCAPES: Record<string, string> = {
  '"': '"',
  "\\": "\\",
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};
const CODE_ESCAPES: Record<string, { digits: RegExp; radix: number }> = {
  x: { digits: /[0-9a-fA-F]{2}/y, radix: 16 },
  u: { digits: /[0-9a-fA-F]{4}/y, radix: 16 },
  U: { digits: /[0-9a-fA-F]{8}/y, radix: 16 },
  octal: { digits: /[0-7]{3}/y, radix: 8 },
};

export class HclLexer {
  readonly #text: string;
  readonly #positions: Positions;
  #at: number;

  constructor(text: string, positions: Positions) {
    this.#text = text;
    this.#positions = positions;
    this.#at = text.startsWith("\ufeff") ? 1 : 0;
  }

  next(): Token {
    this.#match(SKIPPED);
    const offset = this.#at;
    const c = this.#text[offset];
    if (c === undefined) return { kind: "end", text: "", offset };
    if ("{}[],=".includes(c)) {
      this.#at++;
      return { kind: c as Punctuation, text: c, offset };
    }
    if (c === '"') return this.#string(offset);
    if (c === "<") return this.#heredoc(offset);
    const word = this.#match(WORD);
    if (word !== "") return { kind: "word", text: word, offset };
    const number = this.#match(NUMBER);
    if (number !== "") return { kind: "number", text: number, value: this.#number(number, offset), offset };
    if (this.#text.startsWith("/*", offset))
      throw this.#positions.error(offset, "a comment that is never closed: want '*/'");
    throw this.#positions.error(
      offset,
      `unexpected character ${quoted(String.fromCodePoint(this.#text.codePointAt(offset) as number))}: want a key or a value`,
    );
  }

  #number(text: string, offset: number): number {
    // A leading zero means octal, as in Go: 0755.
    const octal = /^-?0\d+$/.test(text);
    const value = octal ? Number.parseInt(text, 8) : text.startsWith("-") ? -Number(text.slice(1)) : Number(text);
    if ((octal && /[89]/.test(text)) || this.#match(WORD) !== "" || !Number.isFinite(value))
      throw this.#positions.error(offset, `malformed number '${this.#text.slice(offset, this.#at).slice(0, 64)}'`);
    return value;
  }

  #string(offset: number): Token {
    this.#at++;
    let value = "";
    for (;;) {
      value += this.#match(PLAIN);
      const c = this.#text[this.#at++];
      if (c === '"') {
        // Half a surrogate pair becomes U+FFFD, as in Go.
        value = value.toWellFormed();
        return { kind: "string", text: value, value, offset };
      }
      if (c === "\\") value += this.#escape();
      else if (c === "$") value += this.#text[this.#at] === "{" ? this.#interpolation(offset) : "$";
      else throw this.#positions.error(offset, "a string that is never closed: want '\"' on the same line");
    }
  }

  #escape(): string {
    const at = this.#at;
    const c = this.#text[this.#at++] ?? "";
    const plain = ESCAPES[c];
    if (plain !== undefined) return plain;
    if (/[0-7]/.test(c)) this.#at--;
    const code = CODE_ESCAPES[/[0-7]/.test(c) ? "octal" : c];
    const digits = code ? this.#match(code.digits) : "";
    const point = Number.parseInt(digits, code?.radix);
    if (digits === "" || point > 0x10ffff)
      throw this.#positions.error(
        at - 1,
        `unknown escape ${quoted(`\\${c}`)} in a string: want one of \\" \\\\ \\n \\r \\t \\a \\b \\f \\v \\ooo \\xhh \\uhhhh \\Uhhhhhhhh`,
      );
    return String.fromCodePoint(point);
  }

  /** `${ … }` is kept as it stands, quotes and newlines included: HCL 1 leaves it to its reader. */
  #interpolation(offset: number): string {
    const start = this.#at - 1;
    let depth = 0;
    for (; this.#at < this.#text.length; this.#at++) {
      const c = this.#text[this.#at];
      if (c === "{") depth++;
      else if (c === "}" && --depth === 0) return this.#text.slice(start, ++this.#at);
    }
    throw this.#positions.error(offset, "a string with '${' that is never closed: want '}'");
  }

  #heredoc(offset: number): Token {
    HEREDOC.lastIndex = offset;
    const found = HEREDOC.exec(this.#text);
    if (!found)
      throw this.#positions.error(offset, "malformed heredoc: want '<<NAME' or '<<-NAME' at the end of a line");
    const [head, dash, name] = found as unknown as [string, string, string];
    const lines: string[] = [];
    for (let at = offset + head.length; ; ) {
      const newline = this.#text.indexOf("\n", at);
      const line = this.#text.slice(at, newline === -1 ? undefined : newline);
      if (line.includes("\0")) throw this.#positions.error(at + line.indexOf("\0"), "a NUL character");
      if (line.trim() === name) {
        this.#at = at + line.length;
        const indent = line.slice(0, line.indexOf(name));
        const value = lines
          .map((l) => `${dash === "-" && isIndented(lines, indent) ? l.slice(indent.length) : l}\n`)
          .join("");
        return { kind: "string", text: value, value, offset };
      }
      if (newline === -1) throw this.#positions.error(offset, `a heredoc that is never closed: want a line '${name}'`);
      lines.push(line.replace(/\r$/, ""));
      at = newline + 1;
    }
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const [found] = pattern.exec(this.#text) ?? [""];
    this.#at += found.length;
    return found;
  }
}

/** `<<-` takes away the indent of the closing line, where every line has it. */
function isIndented(lines: string[], indent: string): boolean {
  return lines.every((line) => line.startsWith(indent));
}
