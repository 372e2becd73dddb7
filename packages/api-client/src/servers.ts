/**
 * The servers of one kind that a process may ask, of which it asks one: "http://a:8300,http://b:8300". Whoever finds that one
 * gone says so, and everybody in the process who uses the same list goes on to the next together.
 */

/** Moves because of what a server says of itself: where all of them say it, going round helps nobody. */
const GENTLE_MOVE_MS = 3_000;

export class ServerList {
  #all: readonly string[];
  readonly #listeners = new Set<(left: string) => void>();
  #at: number;
  #movedAt = Number.NEGATIVE_INFINITY;

  /** Where it begins is chosen at random, so that many processes spread over the servers. */
  constructor(all: readonly string[], random: () => number = Math.random) {
    this.#all = all;
    this.#at = Math.floor(random() * all.length);
  }

  get all(): readonly string[] {
    return this.#all;
  }

  get current(): string {
    return this.#all[this.#at] as string;
  }

  /** Servers that were learnt of since. */
  add(urls: readonly string[]): void {
    this.#all = [...new Set([...this.#all, ...urls])];
  }

  /** From the one that is asked now on. */
  inOrder(): string[] {
    return [...this.#all.slice(this.#at), ...this.#all.slice(0, this.#at)];
  }

  /** The server does not answer. Nothing happens where somebody has said so before, or where there is no other. */
  failed(url: string): void {
    if (url !== this.current || this.#all.length < 2) return;
    this.#at = (this.#at + 1) % this.#all.length;
    this.#movedAt = performance.now();
    for (const listener of this.#listeners) listener(url);
  }

  /** The server answers, but says that it cannot do all of its work. */
  isLimping(url: string): void {
    if (performance.now() - this.#movedAt > GENTLE_MOVE_MS) this.failed(url);
  }

  /** Called with the server that was left. */
  onMove(listener: (left: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

const lists = new Map<string, ServerList>();

/** Whether a text, with commas or without, is a list that somebody uses, and that may grow. */
export const isServerList = (text: string): boolean => text.includes(",") || lists.has(text);

/** The list that a text with commas names; the same for the same text, in the whole process. */
export function serverList(text: string): ServerList {
  let list = lists.get(text);
  if (!list) lists.set(text, (list = new ServerList(text.split(",").map((url) => url.trim()))));
  return list;
}
