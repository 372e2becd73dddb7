/**
 * One answer for many connections: thousands may wait for the same change. Node writes the head of the first, and the others
 * get head and body as bytes that are ready, in one write past `ServerResponse`, which costs more than the system call. Node
 * is told that the answer is out once all of them have been written, and goes on with the connection as after any other.
 */
import type { ServerResponse } from "node:http";
import { canHold, headOf, holdAnswer } from "./turn.ts";

export interface SharedAnswerParts {
  readonly status: number;
  /** Names and values in turn, with Content-Length. */
  readonly head: readonly string[];
  readonly body: Buffer;
}

const EMPTY = Buffer.alloc(0);
const MAX_BODY_BYTES = 64 * 1024; // above it the copy of the body costs more than the head

export class SharedAnswer {
  readonly #parts: SharedAnswerParts;
  /** The head as Node made it; empty before the first. */
  #header = "";
  #bytes: Buffer = EMPTY;
  /** The head has a date, to the second: when it has to be made anew, in ms since 1970. */
  #staleAt = 0;

  constructor(parts: SharedAnswerParts) {
    this.#parts = parts;
  }

  /** Answers a request. The connection may be one on which nothing is written any more. */
  send(res: ServerResponse): void {
    const { status, head, body } = this.#parts;
    const now = Date.now();
    const isShareable = body.length <= MAX_BODY_BYTES && canHold(res) && res.getHeaderNames().length === 0;
    if (!isShareable) return void res.writeHead(status, head as string[]).end(body);
    if (now >= this.#staleAt) {
      this.#header = headOf(res.writeHead(status, head as string[]));
      this.#bytes = join(this.#header, body);
      this.#staleAt = now - (now % 1_000) + 1_000;
    }
    holdAnswer(res, status, this.#header, this.#bytes);
  }
}

// In memory of its own: answers are kept, and a slice of Node's pool keeps all of its 64 KiB.
function join(header: string, body: Buffer): Buffer {
  const bytes = Buffer.allocUnsafeSlow(header.length + body.length);
  bytes.write(header, "latin1");
  body.copy(bytes, header.length);
  return bytes;
}
