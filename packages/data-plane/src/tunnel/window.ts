/**
 * How much a stream's sender may send ahead of its reader. Small at first, so that a reader that does not read holds little;
 * larger for a stream whose reader has taken megabytes without ever being behind. Pure: the stream asks.
 */
import { MAX_DATA_BYTES } from "./frames.ts";

/** What each stream starts with, at both ends. A sender stops once it is used up, so up to one frame more may come. */
export const INITIAL_WINDOW = 64 * 1024;

/**
 * Bytes that were taken are not bytes that were read: kernels hold four megabytes and more for a reader that has stopped (tcp_wmem,
 * tcp_rmem). So that is several times what they hold, or twice that over a while: a far reader would wait for long.
 */
const STEPS = [
  { afterBytes: 8 * 1024 * 1024, afterMs: 5_000, window: 512 * 1024 },
  { afterBytes: 16 * 1024 * 1024, afterMs: 0, window: 512 * 1024 },
  { afterBytes: 64 * 1024 * 1024, afterMs: 0, window: 1024 * 1024 },
  { afterBytes: 256 * 1024 * 1024, afterMs: 0, window: 4 * 1024 * 1024 }, // far away: 50 ms at 80 MB/s
];

export class ReceiveWindow {
  #size = INITIAL_WINDOW;
  #granted = INITIAL_WINDOW; // may still come
  #held = 0; // came, and the reader has not taken it
  #taken = 0; // since the reader was last behind
  #since: number | undefined; // when that was

  /** Bytes that arrived. False where more came than was granted. */
  received(bytes: number): boolean {
    this.#granted -= bytes;
    this.#held += bytes;
    return this.#granted >= -MAX_DATA_BYTES;
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
      const step = STEPS.findLast((s) => this.#taken >= s.afterBytes && forMs >= s.afterMs);
      if (step && step.window > this.#size) this.#size = step.window;
    }
    const more = this.#size - this.#granted - this.#held;
    if (more < this.#size / 2) return 0;
    this.#granted += more;
    return more;
  }
}
