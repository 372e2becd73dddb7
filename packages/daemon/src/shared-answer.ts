/**
 * One answer for many connections: thousands may wait for the same change. Node writes the head of the first, and the others
 * get head and body as bytes that are ready, in one write past `ServerResponse`, which costs more than the system call. Node
 * is told that the answer is out once all of them have been written, and goes on with the connection as after any other.
 */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

export interface SharedAnswerParts {
  readonly status: number;
  /** Names and values in turn, with Content-Length. */
  readonly head: readonly string[];
  readonly body: Buffer;
}

/** What of Node's response is neither documented nor typed. Node's version is pinned, and a test sees that it is as said. */
interface Internals {
  /** The head as text, once it was made; null before. */
  _header: string | null;
  _headerSent: boolean;
  readonly _hasBody: boolean;
  /** The answer that a socket is for now; others wait behind it. */
  readonly outputData: readonly unknown[];
}

const EMPTY = Buffer.alloc(0);
const MAX_BODY_BYTES = 64 * 1024; // above it the copy of the body costs more than the head

export class SharedAnswer {
  readonly #parts: SharedAnswerParts;
  /** The head as Node made it; empty before the first. */
  #header = "";
  /** Head and body, once a second connection has asked for them. */
  #bytes: Buffer | undefined;
  /** The head has a date, to the second: when it has to be made anew, in ms since 1970. */
  #staleAt = 0;

  constructor(parts: SharedAnswerParts) {
    this.#parts = parts;
  }

  /** Answers a request. The connection may be one on which nothing is written any more. */
  send(res: ServerResponse): void {
    const { status, head, body } = this.#parts;
    const { socket } = res;
    const now = Date.now();
    const isShareable = socket !== null && body.length <= MAX_BODY_BYTES && isPlain(res, socket);
    if (!isShareable || now >= this.#staleAt) {
      res.writeHead(status, head as string[]);
      if (isShareable) {
        this.#header = (res as unknown as Internals)._header as string;
        this.#bytes = undefined;
        this.#staleAt = now - (now % 1_000) + 1_000;
      }
      res.end(body);
      return;
    }
    this.#bytes ??= join(this.#header, body);
    const internals = res as unknown as Internals;
    res.statusCode = status;
    internals._header = this.#header;
    internals._headerSent = true;
    socket.write(this.#bytes);
    // What the kernel did not take is not out, and a connection with an answer under way is not an idle one.
    if (socket.writableLength > 0) socket.write(EMPTY, () => finish(res));
    else finishLater(res);
  }
}

// In memory of its own: answers are kept, and a slice of Node's pool keeps all of its 64 KiB.
function join(header: string, body: Buffer): Buffer {
  const bytes = Buffer.allocUnsafeSlow(header.length + body.length);
  bytes.write(header, "latin1");
  body.copy(bytes, header.length);
  return bytes;
}

/** Whether Node would write the same head and body on this connection, now, and keep it open. */
function isPlain(res: ServerResponse, socket: Socket): boolean {
  const { _header, _hasBody, outputData } = res as unknown as Internals;
  return (
    _header === null &&
    _hasBody &&
    outputData.length === 0 &&
    res.shouldKeepAlive &&
    res.getHeaderNames().length === 0 &&
    socket.writable &&
    res.req.httpVersionMinor === 1 &&
    res.req.headers.expect === undefined
  );
}

let written: ServerResponse[] = [];

// In one go after all that are written to in this turn: the last waiter is not kept from its answer by what is left to do.
function finishLater(res: ServerResponse): void {
  if (written.push(res) === 1) process.nextTick(finishWritten);
}

function finishWritten(): void {
  const done = written;
  written = [];
  for (const res of done) finish(res);
}

/** Tells Node that the answer is out: with its head said to be sent and no body, `end` writes nothing. */
function finish(res: ServerResponse): void {
  if (!res.destroyed) res.end();
}
