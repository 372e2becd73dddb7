/**
 * What a tunnel is read into, again and again. Pieces of a frame lie next to each other, so that they are written as one; what a
 * socket has not taken yet keeps its buffer, and the tunnel goes on with another. Long frames, of fast streams alone, make it larger.
 */
import { createReadBuffer, type ReadBuffer } from "../raw-reads.ts";
import { HEADER_BYTES, MAX_DATA_BYTES, RECORD_BYTES, USUAL_DATA_BYTES } from "./frames.ts";
import { type BulkMemory, bulkMemory } from "./memory.ts";

// The longest frame of its kind, wherever in its first record it begins.
const USUAL_BYTES = HEADER_BYTES + USUAL_DATA_BYTES + RECORD_BYTES;
const LARGE_BYTES = HEADER_BYTES + MAX_DATA_BYTES + RECORD_BYTES;
const FEW_STREAMS = 16; // each may keep a buffer of its own while it is stalled

export class ReadRing {
  readonly reads: ReadBuffer = createReadBuffer(USUAL_BYTES);
  readonly #memory: BulkMemory;
  #bytes = this.reads.bytes;
  #at = 0;
  #isKept = false;
  #isLarge = false;
  #hasLongFrames = false;
  #isClosed = false;

  constructor(memory: BulkMemory = bulkMemory) {
    this.#memory = memory;
  }

  get bytes(): Buffer {
    return this.#bytes;
  }

  /** Where in `bytes` the last read begins. */
  get at(): number {
    return this.#at;
  }

  /** True where the next record may not fit behind `end`: what is held must go. */
  isFull(end: number): boolean {
    return end + RECORD_BYTES > this.#bytes.length;
  }

  /** A socket still needs what is in it. */
  keep(): void {
    this.#isKept = true;
  }

  /** After a read: the next one goes to `at`, 0 where nothing is held. `streams` is how many the tunnel has. */
  advance(at: number, streams: number): void {
    if (at === 0) {
      const isLarge = this.#isLargeFor(streams);
      if (this.#isKept || isLarge !== this.#bytes.length > USUAL_BYTES)
        this.#bytes = Buffer.allocUnsafeSlow(isLarge ? LARGE_BYTES : USUAL_BYTES);
      else if (this.#at === 0) return;
      this.#isKept = false;
    } else if (at === this.#at) return;
    this.#at = at;
    this.reads.bytes = at === 0 ? this.#bytes : this.#bytes.subarray(at);
  }

  /** A frame did not fit. */
  foundLongFrame(): void {
    this.#hasLongFrames = true;
  }

  /** Called now and then: one that had no long frame since the last time becomes small. */
  rest(): void {
    this.#hasLongFrames = false;
  }

  /** The tunnel is over. */
  close(): void {
    this.#isClosed = true;
    this.#isLargeFor(0);
  }

  #isLargeFor(streams: number): boolean {
    const isWanted = this.#hasLongFrames && streams <= FEW_STREAMS && !this.#isClosed;
    if (isWanted === this.#isLarge) return this.#isLarge;
    if (isWanted) return (this.#isLarge = this.#memory.take(LARGE_BYTES));
    this.#memory.give(LARGE_BYTES);
    return (this.#isLarge = false);
  }
}
