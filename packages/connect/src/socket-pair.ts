/**
 * Two ends of a connection within one process, which end as TCP's do: a FIN is a FIN, what is cut is a reset, and a reader that
 * does not read holds up its writer.
 */
import { Duplex, type DuplexOptions } from "node:stream";
import type { PlainSocket } from "@heddle/data-plane";

const PIECE_BYTES = 65_536;

export class PairedSocket extends Duplex implements PlainSocket {
  #other: PairedSocket | undefined;
  #room: (() => void) | undefined; // our writer waits for the other's reader
  #isReset = false;

  constructor(options: DuplexOptions = {}) {
    super({ ...options, emitClose: true, autoDestroy: true });
  }

  /** Joins two ends; each is given once. */
  static join(a: PairedSocket, b: PairedSocket): void {
    a.#other = b;
    b.#other = a;
  }

  /** What the application hears where the other end was reset. */
  protected resetError(): NodeJS.ErrnoException {
    return withoutStack(() => Object.assign(new Error("connection reset by the other end"), { code: "ECONNRESET" }));
  }

  /** Ends it now, so that the other side sees a reset. */
  resetAndDestroy(): this {
    this.#isReset = true;
    return this.destroy();
  }

  override _read(): void {
    this.#other?.takeRoom();
  }

  protected takeRoom(): void {
    const go = this.#room;
    this.#room = undefined;
    go?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    // Whoever wrote it may use its buffer again, as with a socket.
    this.#pass(Buffer.from(chunk), 0, done);
  }

  /** In pieces no larger than a read of a socket: credit and fairness in a tunnel count on it. */
  #pass(chunk: Buffer, from: number, done: (error?: Error) => void): void {
    for (let at = from; at < chunk.length; at += PIECE_BYTES) {
      const other = this.#other;
      if (!other || other.destroyed) return done(this.resetError());
      if (other.push(chunk.subarray(at, at + PIECE_BYTES))) continue;
      this.#room = () => this.#pass(chunk, at + PIECE_BYTES, done);
      return;
    }
    done();
  }

  override _final(done: () => void): void {
    this.#other?.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#room = undefined;
    const other = this.#other;
    if (other && !other.destroyed) {
      // As a kernel closes a socket: what was not read, or not written, is a reset, and else there is an end to be seen.
      const isCut = this.#isReset || error !== null || this.readableLength > 0 || this.writableLength > 0;
      if (isCut) other.destroy(other.resetError());
      else {
        if (!this.writableFinished) other.push(null);
        other.takeRoom();
      }
    }
    done(error);
  }
}

/**
 * An error of the far end's making. Node formats the stack of each error that ends a stream, which is a tenth of what cutting a
 * connection takes, and no frame of this end says anything of it.
 */
export function withoutStack<E extends Error>(make: () => E): E {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return make();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}
