/**
 * How much a stream's sender may send ahead of its reader. Small at first, so that a reader that does not read holds little;
 * larger for a stream whose reader has taken megabytes without ever being behind. Pure: the stream asks.
 */
import { MAX_DATA_BYTES } from "./frames.ts";

/** What each stream starts with, at both ends. A sender stops once it is used up, so up to one frame more may come. */
export const INITIAL_WINDOW = 64 * 1024;

const STEPS = [
  { afterBytes: 4 * 1024 * 1024, window: 512 * 1024 },
  { afterBytes: 32 * 1024 * 1024, window: 1024 * 1024 },
  { afterBytes: 256 * 1024 * 1024, window: 4 * 1024 * 1024 }, // far away: 50 ms at 80 MB/s
];

export class ReceiveWindow {
  #size = INITIAL_WINDOW;
  #granted = INITIAL_WINDOW; // may still come
  #held = 0; // came, and the reader has not taken it
  #taken = 0; // since the reader was last behind

  /** Bytes that arrived. False where more came than was granted. */
  received(bytes: number): boolean {
    this.#granted -= bytes;
    this.#held += bytes;
    return this.#granted >= -MAX_DATA_BYTES;
  }

  get held(): number {
    return this.#held;
  }

  /** Bytes that the reader took, at once or later; returns how many more may be sent: 0 for no word about it yet. */
  taken(bytes: number, wasBehind: boolean): number {
    this.#held -= bytes;
    if (wasBehind) {
      this.#taken = 0;
      this.#size = Math.max(INITIAL_WINDOW, this.#size / 2);
    } else {
      this.#taken += bytes;
      const step = STEPS.findLast((s) => this.#taken >= s.afterBytes);
      if (step && step.window > this.#size) this.#size = step.window;
    }
    const more = this.#size - this.#granted - this.#held;
    if (more < this.#size / 2) return 0;
    this.#granted += more;
    return more;
  }
}
