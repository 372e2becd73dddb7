/** Keeps the last bytes of what streams by, as Consul's circular buffer does: a failing program says why at its end. */

export const DEFAULT_OUTPUT_MAX_BYTES = 4_096; // Consul's check_output_max_size

export class TailBuffer {
  readonly #max: number;
  #tail: Buffer = Buffer.alloc(0);
  #total = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Bytes pushed so far, kept or not. */
  get total(): number {
    return this.#total;
  }

  push(chunk: Buffer): void {
    this.#total += chunk.length;
    if (chunk.length >= this.#max) {
      // A copy: a slice would keep the stream's whole chunk alive.
      this.#tail = Buffer.from(chunk.subarray(chunk.length - this.#max));
      return;
    }
    const keep = Math.min(this.#tail.length, this.#max - chunk.length);
    this.#tail = Buffer.concat([this.#tail.subarray(this.#tail.length - keep), chunk]);
  }

  bytes(): Buffer {
    return this.#tail;
  }

  text(): string {
    return this.#tail.toString("utf8");
  }

  /** The text, with a first line that says so where something was cut: how script and Docker checks show it. */
  captured(): string {
    const text = this.text();
    return this.#total > this.#max ? `Captured ${this.#max} of ${this.#total} bytes\n...\n${text}` : text;
  }
}
