/**
 * What fast streams of this thread may hold together beyond what every stream may: larger windows, larger buffers. Whoever is
 * late does without, so readers that stop after a fast start cannot fill the memory, however many there are.
 */
const BULK_BYTES = 256 * 1024 * 1024;

export class BulkMemory {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** False where so much is not left; then nothing is taken. */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }

  get left(): number {
    return this.#left;
  }
}

export const bulkMemory = new BulkMemory(BULK_BYTES);
