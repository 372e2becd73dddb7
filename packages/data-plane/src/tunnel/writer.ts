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

export class FrameWriter {
  readonly #socket: Socket;
  readonly #onRoom: () => void;
  #out: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  #length = 0;
  #sent: Buffer | undefined;
  #spare: Buffer | undefined;
  #isWriting = false;
  #isScheduled = false;
  #frames = 0; // since the last write
  #wasShared = false; // the last write was of several

  /** `onRoom` is called whenever a write is done. */
  constructor(socket: Socket, onRoom: () => void) {
    this.#socket = socket;
    this.#onRoom = onRoom;
  }

  /** True while the far end takes less than we have. */
  get isFull(): boolean {
    return this.#length >= FULL_BYTES;
  }

  /** Bytes that wait. */
  get waiting(): number {
    return this.#length;
  }

  /** `framed` is the chunk with room for a header before it, where there is some. */
  data(stream: number, chunk: Buffer, length: number, framed?: Buffer): void {
    if (framed && length >= LARGE_BYTES && this.#length === 0 && !this.#isWriting) {
      // TLS encrypts, or copies, what it is given before it returns: the buffer may be read into again.
      writeHeader(framed, 0, FRAME.data, stream, length);
      this.#isWriting = true;
      this.#socket.write(framed.subarray(0, HEADER_BYTES + length), this.#onWritten);
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
    this.#schedule();
  }

  window(stream: number, bytes: number): void {
    const at = this.#reserve(FRAME.window, stream, 4);
    this.#out.writeUInt32BE(bytes, at);
    this.#schedule();
  }

  /** Called now and then: gives back what a burst has made large. */
  rest(): void {
    if (this.#length > 0 || this.#isWriting) return;
    this.#spare = undefined;
    if (this.#out.length > INITIAL_BYTES) this.#out = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  }

  /** Writes what waits, now. */
  flushNow(): void {
    this.#flush();
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
    if (this.#isWriting || this.#length === 0 || this.#socket.destroyed) return;
    const bytes = this.#out.subarray(0, this.#length);
    this.#sent = this.#out;
    this.#out = this.#spare ?? Buffer.allocUnsafeSlow(Math.min(KEPT_BYTES, this.#sent.length));
    this.#spare = undefined;
    this.#length = 0;
    this.#wasShared = this.#frames > 1;
    this.#frames = 0;
    this.#isWriting = true;
    this.#socket.write(bytes, this.#onWritten);
  }

  readonly #onWritten = (): void => {
    this.#isWriting = false;
    if (this.#sent && this.#sent.length <= KEPT_BYTES) this.#spare = this.#sent;
    this.#sent = undefined;
    if (this.#length >= EAGER_BYTES) this.#flush();
    else if (this.#length > 0) this.#schedule();
    this.#onRoom();
  };
}
