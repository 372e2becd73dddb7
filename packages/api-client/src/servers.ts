/**
 * The servers of one kind that a process may ask, of which it asks one: "http://a:8300,http://b:8300". Whoever finds that one
 * gone says so, and everybody in the process who uses the same list goes on to the next together.
 */

/** Moves because of what a server says of itself: where all of them say it, going round helps nobody. */
const GENTLE_MOVE_MS = 3_000;
/** Connections that are given up to be made anew fail, and say nothing of the server. */
const RENEWAL_MS = 200;

export class ServerList {
  /** As written, with what each stands for: itself, or the addresses of its name. */
  readonly #written: Map<string, readonly string[]>;
  #learned: readonly string[] = [];
  #all: readonly string[];
  readonly #moveListeners = new Set<(left: string) => void>();
  readonly #failureListeners = new Set<() => void>();
  readonly #random: () => number;
  #current: string;
  #movedAt = Number.NEGATIVE_INFINITY;
  #renewedAt = Number.NEGATIVE_INFINITY;

  /** Where it begins is chosen at random, so that many processes spread over the servers. */
  constructor(written: readonly string[], random: () => number = Math.random) {
    this.#written = new Map(written.map((url) => [url, [url]]));
    this.#all = [...this.#written.keys()];
    this.#random = random;
    this.#current = this.#anyOf(this.#all);
  }

  get written(): readonly string[] {
    return [...this.#written.keys()];
  }

  get all(): readonly string[] {
    return this.#all;
  }

  get current(): string {
    return this.#current;
  }

  /** Servers that were learnt of since, in place of those that were learnt of before. */
  learn(urls: readonly string[]): void {
    this.#learned = urls;
    this.#arrange();
  }

  /**
   * What a name among those written stands for now. The server that is asked stays as long as it answers, whatever the name says:
   * a name server may tell a part of them only.
   */
  stands(name: string, urls: readonly string[]): void {
    const isUnused = this.#current === name && this.#movedAt === Number.NEGATIVE_INFINITY;
    this.#written.set(name, urls);
    if (isUnused) this.#current = this.#anyOf(urls);
    this.#arrange();
  }

  /** From the one that is asked now on. */
  inOrder(): string[] {
    const at = this.#all.indexOf(this.#current);
    return [...this.#all.slice(at), ...this.#all.slice(0, at)];
  }

  /** The server does not answer. Nobody moves where somebody has said so before, or where there is no other. */
  failed(url: string): void {
    if (url !== this.#current || this.isRenewing) return;
    for (const listener of this.#failureListeners) listener();
    const next = this.inOrder()[1];
    if (next === undefined) return;
    this.#current = next;
    this.#movedAt = performance.now();
    this.#arrange();
    for (const listener of this.#moveListeners) listener(url);
  }

  /** The way to the server was cut and is whole again: connections from before hang, and are made anew. */
  renew(): void {
    this.#renewedAt = performance.now();
    for (const listener of this.#moveListeners) listener(this.#current);
  }

  /** Whether what fails now does so because it is made anew. */
  get isRenewing(): boolean {
    return performance.now() - this.#renewedAt < RENEWAL_MS;
  }

  /** The server answers, but says that it cannot do all of its work. */
  isLimping(url: string): void {
    if (performance.now() - this.#movedAt > GENTLE_MOVE_MS) this.failed(url);
  }

  /** Called with the server that was left; with the one that is asked where only the connections to it are left. */
  onMove(listener: (left: string) => void): () => void {
    this.#moveListeners.add(listener);
    return () => this.#moveListeners.delete(listener);
  }

  /** Called when the server that is asked has failed, whether there is another one or not. */
  onFailure(listener: () => void): () => void {
    this.#failureListeners.add(listener);
    return () => this.#failureListeners.delete(listener);
  }

  #anyOf(urls: readonly string[]): string {
    return urls[Math.floor(this.#random() * urls.length)] as string;
  }

  #arrange(): void {
    const all = [...new Set([...[...this.#written.values()].flat(), ...this.#learned])];
    this.#all = all.includes(this.#current) ? all : [this.#current, ...all];
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
