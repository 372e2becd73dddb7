/**
 * Bytes between two sockets as they come: a FIN is a FIN, a reset is a reset, and a slow reader slows its writer. At most
 * two chunks (128 KiB) are held per direction, and nothing is copied.
 */
import type { Duplex } from "node:stream";
import type { Connection } from "./connections.ts";
import type { Refusal } from "./refusal.ts";

/** With one direction closed and nothing moving in the other, a connection is reset after this long. */
export const HALF_OPEN_IDLE_MS = 300_000;

const LINGER_MS = 5_000; // one side is closed, and this long nothing could be written to the other

/** What carries an application's own bytes: a TCP socket, or one end of a pair within this process. */
export interface PlainSocket extends Duplex {
  /** Ends it now, so that the other side sees a reset. */
  resetAndDestroy(): unknown;
  /** Where it wants to know: what connection it has become a part of. */
  attach?(connection: Connection): void;
}

/** One side of a proxied connection. */
export interface Leg {
  /** What is read and written: a TCP socket, or TLS over one. */
  readonly stream: Duplex;
  /** Ends the TCP connection underneath with a RST, at once. */
  reset(): void;
}

export interface PipeOptions {
  /** Called once, when both sides are closed. */
  onEnd: (end: PipeEnd) => void;
  halfOpenIdleMs?: number;
}

export interface PipeEnd {
  /** "closed": both directions ended with a FIN. */
  how: "closed" | "reset" | "half_open_idle" | "stopped";
  /** Which side reset: the first whose socket failed. */
  by?: "a" | "b";
  error?: Error;
}

export interface Pipe {
  readonly bytesFromA: number;
  readonly bytesFromB: number;
  /** Why the far proxy ended it, where it said so. */
  readonly refusal?: Refusal | undefined;
  /** How long `b` let wait for its first byte. */
  readonly firstByteMs: number | undefined;
  /** Resets both sides, telling the far proxy why where it is one of ours. */
  stop(refusal?: Refusal): void;
}

/**
 * How much is still to be written, in a measure that any progress changes: a stream tells of a chunk only once all of it is gone, and a slow
 * reader takes a minute for one of half a megabyte.
 */
export function unwritten(stream: Duplex): number {
  const { _handle: handle } = stream as { _handle?: { writeQueueSize?: number } | null };
  return stream.writableLength + (handle?.writeQueueSize ?? 0);
}

/** Joins two open legs. From here on the pipe owns both: it handles their errors and closes them. */
export function pipe(a: Leg, b: Leg, options: PipeOptions): Pipe {
  const { halfOpenIdleMs = HALF_OPEN_IDLE_MS } = options;
  const from = { a: 0, b: 0 };
  const startedAt = performance.now();
  let firstByteMs: number | undefined;
  let open = 2;
  let end: PipeEnd | undefined;
  let idleTimer: NodeJS.Timeout | undefined;

  const finish = (how: PipeEnd) => {
    if (end) return;
    end = how;
    clearTimeout(idleTimer);
    a.reset();
    b.reset();
  };

  // With one direction gone nobody may ever close the other: a lost peer would hold two sockets for ever.
  const watchHalfOpen = () => {
    if (idleTimer || end) return;
    let last = from.a + from.b;
    const check = () => {
      const now = from.a + from.b;
      if (now === last) return finish({ how: "half_open_idle" });
      last = now;
      idleTimer = setTimeout(check, halfOpenIdleMs);
      idleTimer.unref();
    };
    idleTimer = setTimeout(check, halfOpenIdleMs);
    idleTimer.unref();
  };

  // A peer that resets after its end is told to nobody: our own end then never finishes.
  const lingerOn = (side: "a" | "b", last: Duplex) => {
    let left = -1;
    const check = setInterval(() => {
      if (open === 0 || end) return clearInterval(check);
      if (unwritten(last) === left) finish({ how: "reset", by: side });
      left = unwritten(last);
    }, LINGER_MS);
    check.unref();
  };

  const connect = (side: "a" | "b", source: Duplex, target: Duplex) => {
    let isHeld = false;
    const onFlushed = () => {
      if (!isHeld || target.writableLength > 0) return;
      isHeld = false;
      source.resume();
    };
    source.on("data", (chunk: Buffer) => {
      if (end) return;
      from[side] += chunk.length;
      if (side === "b") firstByteMs ??= performance.now() - startedAt;
      target.write(chunk, onFlushed);
      // What the kernel did not take at once holds the source back, whatever the stream's own mark (64 KiB, and no other
      // for a TLS server's sockets): one chunk waits to be written, and one more may have been read.
      if (target.writableLength === 0) return;
      isHeld = true;
      source.pause();
    });
    const onEnd = () => {
      if (end) return;
      target.end();
      watchHalfOpen();
    };
    // A peer that closes while the other side is dialled has ended already: Node tells that once, also to nobody.
    if (source.readableEnded) onEnd();
    else source.once("end", onEnd);
    source.on("error", (error) => finish({ how: "reset", by: side, error }));
    source.once("close", () => {
      // Closed without an end in either direction: the other side must not take it for one.
      if (!end && !(source.readableEnded && source.writableFinished)) finish({ how: "reset", by: side });
      if (--open > 0) return lingerOn(side === "a" ? "b" : "a", target);
      clearTimeout(idleTimer);
      options.onEnd(end ?? { how: "closed" });
    });
  };
  connect("a", a.stream, b.stream);
  connect("b", b.stream, a.stream);
  a.stream.resume();
  b.stream.resume();

  return {
    get bytesFromA() {
      return from.a;
    },
    get bytesFromB() {
      return from.b;
    },
    get firstByteMs() {
      return firstByteMs;
    },
    stop: () => finish({ how: "stopped" }),
  };
}
