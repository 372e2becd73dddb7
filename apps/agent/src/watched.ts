/** A value that others wait for: what the agent keeps fresh from the servers, and what it makes itself. */

interface Waiting {
  after: number;
  wake: () => void;
}

export class Watched<T> {
  #value: T | undefined;
  #index = 0;
  readonly #waiting = new Set<Waiting>();

  get value(): T | undefined {
    return this.#value;
  }

  get index(): number {
    return this.#index;
  }

  /** True while somebody waits for a change. */
  get isAwaited(): boolean {
    return this.#waiting.size > 0;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Those of them that know the present value. */
  get waitingForNext(): number {
    let count = 0;
    for (const { after } of this.#waiting) if (after === this.#index) count++;
    return count;
  }

  /** Sets the value; `index` must grow with each change and is never below 1. */
  set(value: T, index: number): void {
    this.#value = value;
    this.#index = Math.max(1, index);
    for (const waiting of this.#waiting) if (this.#index !== waiting.after) waiting.wake();
  }

  /** There is no value any more; who waits goes on waiting for the next. */
  clear(): void {
    this.#value = undefined;
  }

  /** Resolves once there is a value whose index differs from `after`, or when `timeoutMs` has passed or `signal` aborts. */
  async changed(after: number, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    if (this.#value !== undefined && this.#index !== after) return;
    await new Promise<void>((resolve) => {
      const waiting: Waiting = { after, wake: () => finish() };
      const timer = setTimeout(() => finish(), timeoutMs);
      const finish = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", finish);
        this.#waiting.delete(waiting);
        resolve();
      };
      signal?.addEventListener("abort", finish, { once: true });
      this.#waiting.add(waiting);
    });
  }
}
