/** Keeps the last bytes of what streams by, as Consul's circular buffer does: a failing program says why at its end. */

export const DEFAULT_OUTPUT_MAX_BYTES = 4_096; // Consul's check_output_max_size

export class TailBuffer {
  readonly #max: number;
  #ring: Buffer | undefined;
  #total = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Bytes pushed so far, kept or not. */
  get total(): number {
    return this.#total;
  }

  push(chunk: Buffer): void {
    const ring = (this.#ring ??= Buffer.allocUnsafe(this.#max));
    const skipped = Math.max(0, chunk.length - this.#max); // what the rest of the chunk would overwrite
    const at = (this.#total + skipped) % this.#max;
    const copied = chunk.copy(ring, at, skipped);
    chunk.copy(ring, 0, skipped + copied);
    this.#total += chunk.length;
  }

  /** The last bytes, in order. */
  bytes(): Buffer {
    if (this.#ring === undefined) return Buffer.alloc(0);
    const at = this.#total % this.#max;
    if (this.#total <= this.#max) return this.#ring.subarray(0, this.#total);
    return Buffer.concat([this.#ring.subarray(at), this.#ring.subarray(0, at)]);
  }

  text(): string {
    return this.bytes().toString("utf8");
  }

  /** The text, with a first line that says so where something was cut: how script and Docker checks show it. */
  captured(): string {
    const text = this.text();
    return this.#total > this.#max ? `Captured ${this.#max} of ${this.#total} bytes\n...\n${text}` : text;
  }
}
