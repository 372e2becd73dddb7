/** JSON (RFC 8259) with positions: what `JSON.parse` reads, but an error or a later complaint can name line and column. */
import { MAX_DEPTH, Positions, type ParsedDocument, type Path } from "./document.ts";
import { UnexpectedEndError } from "./errors.ts";

/** Parses a JSON object. Throws HclSyntaxError. A key given twice counts the second time and is listed in `duplicates`. */
export function parseJson(text: string, file: string): ParsedDocument {
  const positions = new Positions(text, file);
  const parser = new JsonParser(text, file, positions);
  return positions.document("json", parser.document());
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const SPACE = /[ \t\r\n]*/y;
// oxlint-disable-next-line no-control-regex
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const ESCAPES: Record<string, string> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

class JsonParser {
  readonly #text: string;
  readonly #file: string;
  readonly #positions: Positions;
  readonly #path: (string | number)[] = [];
  #at = 0;

  constructor(text: string, file: string, positions: Positions) {
    this.#text = text;
    this.#file = file;
    this.#positions = positions;
    if (text.startsWith("\ufeff")) this.#at = 1;
  }

  document(): Record<string, unknown> {
    this.#space();
    if (this.#at < this.#text.length && this.#text[this.#at] !== "{")
      throw this.#unexpected("an object that begins with '{'");
    const value = this.#object();
    this.#space();
    if (this.#at < this.#text.length) throw this.#unexpected("nothing after the closing '}'");
    return value;
  }

  #value(): unknown {
    const c = this.#text[this.#at];
    if (c === "{") return this.#object();
    if (c === "[") return this.#array();
    if (c === '"') return this.#string();
    for (const [word, value] of WORDS) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
      if (word.startsWith(this.#text.slice(this.#at)) && this.#at < this.#text.length) throw this.#end();
    }
    const number = this.#match(NUMBER);
    if (number === "") throw this.#unexpected("a value");
    return Number(number);
  }

  #object(): Record<string, unknown> {
    const object = Object.create(null) as Record<string, unknown>;
    this.#open();
    if (!this.#take("}")) {
      do {
        this.#space();
        const start = this.#at;
        if (this.#text[this.#at] !== '"') throw this.#unexpected("a key in double quotes");
        const key = this.#string();
        this.#space();
        if (!this.#take(":")) throw this.#unexpected(`':' after the key '${key}'`);
        this.#space();
        if (key in object) this.#duplicate(object, key, start);
        this.#positions.set(object, key, start);
        object[key] = this.#nested(key);
        this.#space();
      } while (this.#take(","));
      if (!this.#take("}")) throw this.#unexpected("',' or '}'");
    }
    return object;
  }

  #array(): unknown[] {
    const array: unknown[] = [];
    this.#open();
    if (!this.#take("]")) {
      do {
        this.#space();
        this.#positions.set(array, array.length, this.#at);
        array.push(this.#nested(array.length));
        this.#space();
      } while (this.#take(","));
      if (!this.#take("]")) throw this.#unexpected("',' or ']'");
    }
    return array;
  }

  #nested(key: string | number): unknown {
    this.#path.push(key);
    const value = this.#value();
    this.#path.pop();
    return value;
  }

  #open(): void {
    if (this.#path.length >= MAX_DEPTH)
      throw this.#positions.error(this.#at, `nested more than ${MAX_DEPTH} levels deep`);
    if (this.#at >= this.#text.length) throw this.#end();
    this.#at++;
    this.#space();
  }

  #string(): string {
    this.#at++;
    let value = "";
    for (;;) {
      value += this.#match(PLAIN);
      const c = this.#text[this.#at++];
      if (c === '"') return value.toWellFormed(); // half a surrogate pair becomes U+FFFD, as in Go
      if (c === "\\") {
        const escape = this.#text[this.#at++];
        if (escape === undefined) throw this.#end();
        if (escape === "u") {
          const hex = this.#text.slice(this.#at, this.#at + 4);
          if (!/^[0-9a-fA-F]{4}$/.test(hex)) throw this.#positions.error(this.#at, "want four hex digits after \\u");
          this.#at += 4;
          value += String.fromCharCode(Number.parseInt(hex, 16));
        } else if (ESCAPES[escape] !== undefined) value += ESCAPES[escape];
        else
          throw this.#positions.error(
            this.#at - 1,
            `unknown escape '\\${escape}': want one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\u`,
          );
      } else if (c === undefined) throw this.#end();
      else throw this.#positions.error(this.#at - 1, "a control character in a string: want an escape such as \\n");
    }
  }

  #duplicate(object: object, key: string, offset: number): void {
    const path: Path = [...this.#path, key];
    const first = this.#positions.position(this.#positions.offset(object, key));
    this.#positions.duplicates.push({ path, first, at: this.#positions.position(offset) });
  }

  #space(): void {
    this.#match(SPACE);
  }

  #take(c: string): boolean {
    if (this.#text[this.#at] !== c) return false;
    this.#at++;
    return true;
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const [found] = pattern.exec(this.#text) ?? [""];
    this.#at += found.length;
    return found;
  }

  #unexpected(want: string): Error {
    const c = this.#text.codePointAt(this.#at);
    if (c === undefined) return this.#end();
    return this.#positions.error(this.#at, `invalid character ${quoted(String.fromCodePoint(c))}: want ${want}`);
  }

  #end(): Error {
    return new UnexpectedEndError(this.#file, this.#positions.position(this.#text.length));
  }
}

const WORDS: [string, unknown][] = [
  ["true", true],
  ["false", false],
  ["null", null],
];

/** A character as messages show it: control characters are escaped. */
export function quoted(c: string): string {
  return c === "'" ? `"'"` : `'${JSON.stringify(c).slice(1, -1)}'`;
}
