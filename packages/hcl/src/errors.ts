/** What is wrong with a document's syntax, and where. */
import { HeddleError } from "@heddle/daemon";

/** A place in a text; both count from 1. */
export interface Position {
  line: number;
  column: number;
}

export class HclSyntaxError extends HeddleError {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  constructor(file: string, at: Position, problem: string) {
    super("invalid_argument", `${file}:${at.line}:${at.column}: ${problem}`);
    this.file = file;
    this.line = at.line;
    this.column = at.column;
  }
}

/**
 * A JSON text that ends too early. Its message is Consul's own, which users and the conformance kit know; the place is the
 * end of the file.
 */
export class UnexpectedEndError extends HclSyntaxError {
  constructor(file: string, at: Position) {
    super(file, at, "unexpected end of JSON input");
    this.message = `failed to parse ${file}: unexpected end of JSON input`;
  }
}
