/**
 * HCL 1 as Consul's files use it (the grammar of hashicorp/hcl v1): `key = value`, blocks, labelled blocks, lists, heredocs.
 * A block given once is an object; a block or list given again makes one list.
 */
import type { Position } from "./errors.ts";
import { MAX_DEPTH, Positions, type ParsedDocument } from "./document.ts";
import { parseJson, quoted } from "./json.ts";
import { HclLexer, type Token } from "./lexer.ts";

/** Parses HCL 1, or JSON where the text begins with `{` (as HCL 1 does). Throws HclSyntaxError. */
export function parseHcl(text: string, file: string): ParsedDocument {
  if (/^\s*\{/.test(text)) return { ...parseJson(text, file), format: "hcl" };
  const positions = new Positions(text, file);
  return positions.document("hcl", new HclParser(new HclLexer(text, positions), positions).document());
}

class HclParser {
  readonly #lexer: HclLexer;
  readonly #positions: Positions;
  readonly #path: (string | number)[] = [];
  #depth = 0;
  #token: Token;

  constructor(lexer: HclLexer, positions: Positions) {
    this.#lexer = lexer;
    this.#positions = positions;
    this.#token = lexer.next();
  }

  document(): Record<string, unknown> {
    const value = this.#items("end");
    if (this.#token.kind !== "end") throw this.#unexpected("a key");
    return value;
  }

  #items(end: "}" | "end"): Record<string, unknown> {
    const object = Object.create(null) as Record<string, unknown>;
    while (this.#token.kind !== end && this.#token.kind !== "end") {
      const { key, offset } = this.#key();
      this.#path.push(key);
      this.#add(object, key, offset, this.#keyed(key));
      this.#path.pop();
      this.#take(",");
    }
    return object;
  }

  #keyed(key: string): unknown {
    return this.#take("=") ? this.#value() : this.#block(key);
  }

  /** What follows a block's name: labels, each one an object around the next, and the body. */
  #block(name: string): unknown {
    if (this.#token.kind === "{") return this.#object();
    if (this.#token.kind !== "string" && this.#token.kind !== "word")
      throw this.#unexpected(`'=' or '{' after the key '${name}'`);
    const { key, offset } = this.#key();
    const labelled = Object.create(null) as Record<string, unknown>;
    this.#enter();
    this.#positions.set(labelled, key, offset);
    labelled[key] = this.#block(key);
    this.#depth--;
    return labelled;
  }

  #key(): { key: string; offset: number } {
    const { kind, text, offset } = this.#token;
    if (kind !== "word" && kind !== "string") throw this.#unexpected("a key");
    this.#advance();
    return { key: text, offset };
  }

  #value(): unknown {
    const { kind, text, offset } = this.#token;
    if (kind === "{") return this.#object();
    if (kind === "[") return this.#list();
    if (kind === "string" || kind === "number") {
      const { value } = this.#token;
      this.#advance();
      return value;
    }
    if (kind === "word" && (text === "true" || text === "false")) {
      this.#advance();
      return text === "true";
    }
    if (kind === "word")
      throw this.#positions.error(offset, `unexpected word '${text}': want a value; text stands in double quotes`);
    throw this.#unexpected("a value");
  }

  #object(): Record<string, unknown> {
    this.#enter();
    this.#advance();
    const object = this.#items("}");
    this.#expect("}", "a key or '}'");
    this.#depth--;
    return object;
  }

  #list(): unknown[] {
    const list: unknown[] = [];
    this.#enter();
    this.#advance();
    while (this.#token.kind !== "]") {
      this.#positions.set(list, list.length, this.#token.offset);
      list.push(this.#value());
      if (!this.#take(",")) break;
    }
    this.#expect("]", "',' or ']'");
    this.#depth--;
    return list;
  }

  /** A list or a block under a key that has one already is added to it; a single value replaces the first, and is reported. */
  #add(object: Record<string, unknown>, key: string, offset: number, value: unknown): void {
    const first = object[key];
    const firstOffset = this.#positions.offset(object, key);
    if (first !== undefined && isCollection(first) !== isCollection(value))
      throw this.#positions.error(
        offset,
        `the key '${key}' is a ${isCollection(value) ? "list or a block" : "single value"} here and was none above`,
      );
    if (isCollection(first) && isCollection(value)) {
      // In place: ten thousand blocks of one name must not copy the list ten thousand times.
      const list: unknown[] = Array.isArray(first) ? first : [];
      if (list !== first) this.#append(list, first, firstOffset);
      this.#append(list, value, offset);
      object[key] = list;
      return;
    }
    if (first !== undefined) {
      const [at, before] = [offset, firstOffset].map((o) => this.#positions.position(o)) as [Position, Position];
      this.#positions.duplicates.push({ path: [...this.#path], first: before, at });
    }
    this.#positions.set(object, key, offset);
    object[key] = value;
  }

  #append(list: unknown[], value: object, offset: number): void {
    for (const [i, item] of (Array.isArray(value) ? value : [value]).entries()) {
      this.#positions.set(list, list.length, Array.isArray(value) ? this.#positions.offset(value, i) : offset);
      list.push(item);
    }
  }

  #enter(): void {
    if (++this.#depth > MAX_DEPTH)
      throw this.#positions.error(this.#token.offset, `nested more than ${MAX_DEPTH} levels deep`);
  }

  #take(kind: Token["kind"]): boolean {
    if (this.#token.kind !== kind) return false;
    this.#advance();
    return true;
  }

  #expect(kind: Token["kind"], want: string): void {
    if (!this.#take(kind)) throw this.#unexpected(want);
  }

  #advance(): void {
    this.#token = this.#lexer.next();
  }

  #unexpected(want: string): Error {
    const { kind, text, offset } = this.#token;
    if (kind === "end") return this.#positions.error(offset, `the file ends too early: want ${want}`);
    const found = text.length === 1 ? quoted(text) : `${kind} '${text.slice(0, 64)}'`;
    return this.#positions.error(offset, `unexpected ${found}: want ${want}`);
  }
}

function isCollection(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
