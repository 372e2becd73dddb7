/**
 * How much a stream's sender may send ahead of its reader. Small at first, so that a reader that does not read holds little;
 * larger for a stream whose reader has taken megabytes without ever being behind, while there is memory for it. Pure: the stream asks.
 */
import { RECORD_BYTES } from "./frames.ts";
import { type BulkMemory, bulkMemory } from "./memory.ts";

/** What each stream starts with, at both ends. A sender stops once it is used up, so what was read at once more may come. */
export const INITIAL_WINDOW = 64 * 1024;
/** What may come beyond what was granted: a read of a sender that had a byte left. */
export const OVERDRAFT = 4 * RECORD_BYTES;

/**
 * Bytes that were taken are not bytes that were read: kernels hold four megabytes and more for a reader that has stopped (tcp_wmem,
 * tcp_rmem). So that is twice what they hold, or as much over a while: a far reader would wait for long. The largest covers
 * what two processes that share a core take turns with (3 ms), and a link of 50 ms at 80 MB/s.
 */
interface Step {
  afterBytes: number;
  afterMs: number;
  window: number;
}

const STEPS: Step[] = [
  { afterBytes: 4 * 1024 * 1024, afterMs: 5_000, window: 512 * 1024 },
  { afterBytes: 8 * 1024 * 1024, afterMs: 0, window: 512 * 1024 }, // where there is no memory for more
  { afterBytes: 8 * 1024 * 1024, afterMs: 0, window: 4 * 1024 * 1024 },
];

export class ReceiveWindow {
  readonly #memory: BulkMemory;
  #size = INITIAL_WINDOW;
  #granted = INITIAL_WINDOW; // may still come
  #held = 0; // came, and the reader has not taken it
  #taken = 0; // since the reader was last behind
  #since: number | undefined; // when that was
  #reserved = 0; // of the memory

  constructor(memory: BulkMemory = bulkMemory) {
    this.#memory = memory;
  }

  /** Bytes that arrived. False where more came than was granted. */
  received(bytes: number): boolean {
    this.#granted -= bytes;
    this.#held += bytes;
    return this.#granted >= -OVERDRAFT;
  }

  get held(): number {
    return this.#held;
  }

  /** Bytes that the reader took, at once or later, at `now` in milliseconds; returns how many more may be sent: 0 for no word about it yet. */
  taken(bytes: number, wasBehind: boolean, now: number): number {
    this.#held -= bytes;
    this.#since ??= now;
    if (wasBehind) {
      this.#taken = 0;
      this.#since = now;
      this.#size = Math.max(INITIAL_WINDOW, this.#size / 2);
    } else {
      this.#taken += bytes;
      const forMs = now - this.#since;
      const mayHave = ({ afterBytes, afterMs, window }: Step) =>
        window > this.#size && this.#taken >= afterBytes && forMs >= afterMs && this.#reserve(window - INITIAL_WINDOW);
      this.#size = STEPS.findLast(mayHave)?.window ?? this.#size;
    }
    // What was granted cannot be taken back: a window that shrank is returned as it is used up.
    this.#return(Math.max(this.#size, this.#granted + this.#held) - INITIAL_WINDOW);
    const more = this.#size - this.#granted - this.#held;
    if (more < this.#size / 2) return 0;
    this.#granted += more;
    return more;
  }

  /** The stream is over. */
  close(): void {
    this.#return(0);
  }

  #reserve(bytes: number): boolean {
    if (bytes > this.#reserved && !this.#memory.take(bytes - this.#reserved)) return false;
    this.#reserved = Math.max(this.#reserved, bytes);
    return true;
  }

  #return(needed: number): void {
    if (needed >= this.#reserved) return;
    this.#memory.give(this.#reserved - needed);
    this.#reserved = needed;
  }
}
