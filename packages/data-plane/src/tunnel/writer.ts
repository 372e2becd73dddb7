/**
 * A tunnel's way out: what all of its streams have to say in one turn of the event loop goes out as one write, so that 32
 * requests are one system call and two TLS records rather than 32 of each.
 */
import type { Socket } from "node:net";
import { FRAME, type FrameType, HEADER_BYTES, writeHeader } from "./frames.ts";

const INITIAL_BYTES = 4_096;
const KEPT_BYTES = 2 * 1024 * 1024; // a buffer that grew beyond this is not kept
const FULL_BYTES = 512 * 1024; // waiting behind a write under way: streams pause
const EAGER_BYTES = 48 * 1024; // enough for a write of its own
const LARGE_BYTES = 16 * 1024; // rather written from where it is than copied
const LONG_FRAMES = 4; // that wait: two megabytes
const PAUSING_BYTES = 256 * 1024; // so much is worth a pause of its stream until it is written

export class FrameWriter {
  readonly #socket: Socket;
  readonly #onRoom: () => void;
  #out: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  #length = 0;
  #sent: Buffer | undefined;
  #spare: Buffer | undefined;
  #isWriting = false;
  #queue: Buffer[] = []; // goes before what is gathered: streams' own buffers, and what came before them
  #isUncopied = false; // streams pause until the queue has gone
  #controlBytes = 0;
  #isScheduled = false;
  #frames = 0; // since the last write
  #wasShared = false; // the last write was of several

  /** `onRoom` is called whenever a write is done. */
  constructor(socket: Socket, onRoom: () => void) {
    this.#socket = socket;
    this.#onRoom = onRoom;
  }

  /** True while the far end takes less than we have, or while what was read waits where it was read. */
  get isFull(): boolean {
    return this.#length >= FULL_BYTES || this.#isUncopied;
  }

  /** True where another long frame would hold up the others. */
  get isBusy(): boolean {
    return this.#queue.length >= LONG_FRAMES;
  }

  /** Bytes of control frames that wait. */
  get waitingControl(): number {
    return this.#controlBytes;
  }

  /**
   * `framed` is the chunk with room for a header before it, where there is some, and `isOwn` says that it is the stream's alone
   * until there is room again.
   */
  data(stream: number, chunk: Buffer, length: number, framed?: Buffer, isOwn = false): void {
    const isNext = !this.#isWriting && this.#queue.length === 0 && this.#length === 0;
    if (framed && length >= LARGE_BYTES && (isOwn || isNext)) {
      writeHeader(framed, 0, FRAME.data, stream, length);
      if (this.#length > 0) this.#queue.push(this.#gathered());
      this.#queue.push(framed.subarray(0, HEADER_BYTES + length));
      this.#flush();
      if (length >= PAUSING_BYTES || this.#queue.length > 0) this.#isUncopied = true;
      return;
    }
    const at = this.#reserve(FRAME.data, stream, length);
    chunk.copy(this.#out, at, 0, length);
    if (this.#length >= EAGER_BYTES && !this.#isWriting) this.#flush();
    else this.#schedule();
  }

  control(type: Exclude<FrameType, typeof FRAME.data>, stream: number, payload?: Buffer): void {
    const at = this.#reserve(type, stream, payload?.length ?? 0);
    payload?.copy(this.#out, at);
    this.#controlBytes += HEADER_BYTES + (payload?.length ?? 0);
    this.#schedule();
  }

  window(stream: number, bytes: number): void {
    const at = this.#reserve(FRAME.window, stream, 4);
    this.#out.writeUInt32BE(bytes, at);
    this.#schedule();
  }

  /** Called now and then: gives back what a burst has made large. */
  rest(): void {
    if (this.#length > 0 || this.#isWriting || this.#queue.length > 0) return;
    this.#spare = undefined;
    if (this.#out.length > INITIAL_BYTES) this.#out = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  }

  /** Writes what waits, now. */
  flushNow(): void {
    this.#flush();
  }

  /** Writes all that waits and ends the connection: nothing may be said after it. */
  end(): void {
    const { writableEnded, destroyed } = this.#socket;
    if (writableEnded || destroyed) return;
    const waiting = Buffer.concat([...this.#queue, this.#out.subarray(0, this.#length)]);
    if (waiting.length > 0) this.#socket.write(waiting);
    this.#socket.end();
  }

  /** Makes room for a frame and writes its header; returns where its payload goes. */
  #reserve(type: FrameType, stream: number, length: number): number {
    const start = this.#length;
    const end = start + HEADER_BYTES + length;
    if (end > this.#out.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(end, 2 * this.#out.length));
      this.#out.copy(larger, 0, 0, start);
      this.#out = larger;
    }
    writeHeader(this.#out, start, type, stream, length);
    this.#frames++;
    this.#length = end;
    return start + HEADER_BYTES;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isWriting) return;
    this.#isScheduled = true;
    // After everything that can be read now has been read.
    setImmediate(this.#onFirst);
  }

  /** Where streams share writes, one more turn gathers what comes meanwhile: fewer writes, and the far end wakes less often. One that is alone does not wait. */
  readonly #onFirst = (): void => {
    if (this.#frames > 1 || this.#wasShared) setImmediate(this.#onTurn);
    else this.#onTurn();
  };

  readonly #onTurn = (): void => {
    this.#isScheduled = false;
    this.#flush();
  };

  #flush(): void {
    if (this.#isWriting || this.#socket.destroyed || this.#socket.writableEnded) return;
    const first = this.#queue.shift();
    if (!first && this.#length === 0) return;
    this.#isWriting = true;
    if (first) {
      // TLS seals, or copies, what it is given before it returns: the buffer may be read into again.
      this.#socket.write(first, this.#onWritten);
      return;
    }
    this.#sent = this.#out;
    this.#socket.write(this.#gathered(), this.#onWritten);
  }

  /** What was gathered; what comes next is gathered elsewhere. */
  #gathered(): Buffer {
    const bytes = this.#out.subarray(0, this.#length);
    this.#out = this.#spare ?? Buffer.allocUnsafeSlow(Math.min(KEPT_BYTES, this.#out.length));
    this.#spare = undefined;
    this.#length = 0;
    this.#controlBytes = 0;
    this.#wasShared = this.#frames > 1;
    this.#frames = 0;
    return bytes;
  }

  readonly #onWritten = (): void => {
    this.#isWriting = false;
    if (this.#sent && this.#sent.length <= KEPT_BYTES) this.#spare = this.#sent;
    this.#sent = undefined;
    if (this.#queue.length > 0) return this.#flush();
    this.#isUncopied = false;
    if (this.#length >= EAGER_BYTES) this.#flush();
    else if (this.#length > 0) this.#schedule();
    this.#onRoom();
  };
}
