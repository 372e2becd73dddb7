/**
 * One connection of an application inside a tunnel: a plain socket on our side, frames on the other. A FIN is a FIN, a reset
 * is a reset, and a slow reader slows its writer and nobody else.
 */
import { Socket } from "node:net";
import { HALF_OPEN_IDLE_MS, type Pipe, type PipeEnd, type PlainSocket, unwritten } from "../pipe.ts";
import { type ReadBuffer, readRaw } from "../raw-reads.ts";
import type { Refusal } from "../refusal.ts";
import { HEADER_BYTES, MAX_DATA_BYTES, USUAL_DATA_BYTES } from "./frames.ts";
import { bulkMemory } from "./memory.ts";
import { INITIAL_WINDOW, ReceiveWindow } from "./window.ts";
import { resetSocket } from "../reset.ts";

const LINGER_MS = 5_000; // both directions have ended, and this long nothing could be written to our side
const BEHIND_MS = 100; // a reader that lets bytes wait this long is behind
const SMALL_PART = 4; // less than a quarter of a read buffer is rather copied than keeping all of it alive

/** What a stream needs of its tunnel. */
export interface StreamCarrier {
  /**
   * Sends bytes of ours; false where the stream should pause until `resume`. `framed` is the chunk with room for a header before
   * it, where there is some. The chunk may be written to again after it, where `isOwn` only after the pause.
   */
  send(stream: TunnelStream, chunk: Buffer, length: number, framed: Buffer | undefined, isOwn: boolean): boolean;
  /** False where the far end knows none, or where another would hold up the others. */
  readonly takesLongFrames: boolean;
  /** What was just written has not been taken: its buffer must not be written to again. */
  keep(): void;
  grant(stream: TunnelStream, bytes: number): void;
  end(stream: TunnelStream): void;
  reset(stream: TunnelStream, refusal?: Refusal): void;
  /** The stream is over on our side. */
  forget(stream: TunnelStream): void;
}

export interface StreamOptions {
  /** Which end of a connection the plain socket is: "a" opened it, "b" is the service. */
  side: "a" | "b";
  /** Called once, when our side is closed. */
  onEnd: (end: PipeEnd) => void;
  halfOpenIdleMs?: number;
}

/** A chunk that was read, behind room for its frame's header. */
interface ReadPlace {
  framed: Buffer;
  bytes: Buffer;
}

function placeIn(framed: Buffer, length: number): ReadPlace {
  return { framed, bytes: framed.subarray(HEADER_BYTES, HEADER_BYTES + length) };
}

/** All plain sockets of this process read into it; a tunnel has taken what is read before the next read. */
const usual = placeIn(Buffer.allocUnsafeSlow(HEADER_BYTES + USUAL_DATA_BYTES), USUAL_DATA_BYTES);

export class TunnelStream implements Pipe {
  readonly id: number;
  readonly #carrier: StreamCarrier;
  readonly #socket: PlainSocket;
  readonly #options: StreamOptions;
  readonly #window = new ReceiveWindow();
  readonly #reads: ReadBuffer = { bytes: usual.bytes };
  #large: ReadPlace | undefined; // a fast stream's own
  #credit = INITIAL_WINDOW;
  readonly #startedAt = performance.now();
  #firstByteMs: number | undefined;
  #fromUs = 0;
  #fromFar = 0;
  #held: Buffer | undefined; // from the far end, between these two
  #heldStart = 0;
  #heldEnd = 0;
  #isPaused = false;
  #isBlocked = false; // until the tunnel has room
  #behindSince = 0;
  #hasEnded = false; // our side's FIN was passed on
  #hasFarEnded = false;
  #isWhole = false; // closed, with all that came
  #end: PipeEnd | undefined;
  #refusal: Refusal | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** The socket is the stream's from here on: it handles its errors and closes it. */
  constructor(id: number, carrier: StreamCarrier, socket: PlainSocket, options: StreamOptions) {
    this.id = id;
    this.#carrier = carrier;
    this.#socket = socket;
    this.#options = options;
    socket.on("error", (error) => this.#finish({ how: "reset", by: options.side, error }, true));
    socket.once("close", this.#onClose);
    socket.on("drain", this.#onDrain);
    if (socket.readableEnded) this.#onEnd();
    else socket.once("end", this.#onEnd);
    readRaw(socket, this.#reads, this.#onBytes);
  }

  get bytesFromA(): number {
    return this.#options.side === "a" ? this.#fromUs : this.#fromFar;
  }

  get bytesFromB(): number {
    return this.#options.side === "a" ? this.#fromFar : this.#fromUs;
  }

  get firstByteMs(): number | undefined {
    return this.#firstByteMs;
  }

  /** Why the far proxy ended it, where it said so. */
  get refusal(): Refusal | undefined {
    return this.#refusal;
  }

  stop(refusal?: Refusal): void {
    this.#finish({ how: "stopped" }, true, refusal);
  }

  readonly #onBytes = (chunk: Buffer, length: number): void => {
    if (this.#end) return;
    if (this.#options.side === "b") this.#firstByteMs ??= performance.now() - this.#startedAt;
    this.#fromUs += length;
    this.#credit -= length;
    const isOwn = chunk === this.#large?.bytes;
    const framed = isOwn ? this.#large?.framed : chunk === usual.bytes ? usual.framed : undefined;
    this.#isBlocked = !this.#carrier.send(this, chunk, length, framed, isOwn);
    this.#reads.bytes = this.#nextPlace().bytes;
    if (!this.#isBlocked && this.#credit > 0) return;
    this.#isPaused = true;
    this.#socket.pause();
  };

  /** Where the next read goes: what may be read at once is what may be sent. */
  #nextPlace(): ReadPlace {
    if (this.#credit < MAX_DATA_BYTES || !this.#carrier.takesLongFrames) return usual;
    if (!this.#large && bulkMemory.take(MAX_DATA_BYTES))
      this.#large = placeIn(Buffer.allocUnsafeSlow(HEADER_BYTES + MAX_DATA_BYTES), MAX_DATA_BYTES);
    return this.#large ?? usual;
  }

  /** The tunnel has room again. */
  resume(): void {
    this.#isBlocked = false;
    this.#goOn();
  }

  /** The far end takes more. */
  granted(bytes: number): void {
    this.#credit += bytes;
    this.#goOn();
  }

  #goOn(): void {
    if (!this.#isPaused || this.#isBlocked || this.#credit <= 0 || this.#end) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  /**
   * Bytes from the far end. A piece of a frame waits for the rest, which comes next to it: one write instead of four. False
   * where more came than was granted.
   */
  received(chunk: Buffer, start: number, end: number, isLast: boolean): boolean {
    if (!this.#window.received(end - start)) return false;
    if (this.#end || this.#hasFarEnded) return true;
    if (this.#options.side === "a") this.#firstByteMs ??= performance.now() - this.#startedAt;
    this.#fromFar += end - start;
    if (this.#held && (this.#held !== chunk || this.#heldEnd !== start)) this.flush();
    if (!this.#held) {
      this.#held = chunk;
      this.#heldStart = start;
    }
    this.#heldEnd = end;
    if (isLast) this.flush();
    return true;
  }

  /** Writes what is held. */
  flush(): void {
    const chunk = this.#held;
    if (!chunk) return;
    this.#held = undefined;
    if (this.#end) return;
    const length = this.#heldEnd - this.#heldStart;
    const socket = this.#socket;
    const piece = chunk.subarray(this.#heldStart, this.#heldEnd);
    // Behind another write: it would keep the read buffer alive for a few bytes.
    const isCopied = socket.writableLength > 0 && length * SMALL_PART < chunk.length;
    socket.write(isCopied ? Buffer.from(piece) : piece);
    if (socket.writableLength === 0) return this.#grant(length, false);
    if (this.#behindSince === 0) this.#behindSince = performance.now();
    if (!isCopied) this.#carrier.keep();
  }

  readonly #onDrain = (): void => {
    if (this.#behindSince === 0) return; // after each write, those that the kernel took at once included
    const wasBehind = performance.now() - this.#behindSince > BEHIND_MS;
    this.#behindSince = 0;
    this.#grant(this.#window.held - (this.#held ? this.#heldEnd - this.#heldStart : 0), wasBehind);
  };

  #grant(bytes: number, wasBehind: boolean): void {
    const more = this.#window.taken(bytes, wasBehind, performance.now());
    if (more > 0 && !this.#hasFarEnded && !this.#end) this.#carrier.grant(this, more);
  }

  /** The far end's FIN. */
  farEnded(): void {
    if (this.#end || this.#hasFarEnded) return;
    this.flush();
    this.#hasFarEnded = true;
    // Both have ended and all is written: closing says what a FIN and a close would, in one call.
    if (this.#hasEnded && this.#socket instanceof Socket && this.#socket.writableLength === 0) {
      this.#isWhole = true;
      this.#socket.destroy();
      return;
    }
    this.#socket.end();
    this.#watch();
  }

  /** The far end reset the stream, or the tunnel is gone. */
  farReset(refusal?: Refusal, error?: Error): void {
    this.#refusal = refusal;
    const by = this.#options.side === "a" ? "b" : "a";
    this.#finish({ how: "reset", by, ...(error && { error }) }, false);
  }

  readonly #onEnd = (): void => {
    if (this.#end) return;
    this.#hasEnded = true;
    this.#carrier.end(this);
    this.#watch();
  };

  // With one direction gone nobody may ever close the other; with both gone a reader may never take the rest.
  #watch(): void {
    if (this.#timer && !(this.#hasEnded && this.#hasFarEnded)) return;
    clearTimeout(this.#timer);
    const isOver = this.#hasEnded && this.#hasFarEnded;
    const progress = () => (isOver ? unwritten(this.#socket) : this.#fromUs + this.#fromFar);
    let last = progress();
    if (isOver && last === 0) return;
    this.#timer = setInterval(
      () => {
        const now = progress();
        if (now === last)
          this.#finish(isOver ? { how: "reset", by: this.#options.side } : { how: "half_open_idle" }, true);
        last = now;
      },
      isOver ? LINGER_MS : (this.#options.halfOpenIdleMs ?? HALF_OPEN_IDLE_MS),
    );
    this.#timer.unref();
  }

  #finish(how: PipeEnd, tellFar: boolean, refusal?: Refusal): void {
    if (this.#end) return;
    this.#end = how;
    clearTimeout(this.#timer);
    if (tellFar) this.#carrier.reset(this, refusal);
    resetSocket(this.#socket);
  }

  readonly #onClose = (): void => {
    // Closed without an end in either direction: the far side must not take it for one.
    if (!this.#isWhole && !(this.#hasEnded && this.#hasFarEnded && this.#socket.writableFinished))
      this.#finish({ how: "reset", by: this.#options.side }, true);
    clearTimeout(this.#timer);
    this.#window.close();
    if (this.#large) bulkMemory.give(MAX_DATA_BYTES);
    this.#carrier.forget(this);
    this.#options.onEnd(this.#end ?? { how: "closed" });
  };
}
