/**
 * Topics: what reads depend on and commits touch. A topic's index is the revision of the commit that last touched it; a
 * waiter sleeps on its topics and is woken once, however many of them one commit touches.
 */

/** Something that sleeps on topics. `wake` is called once and takes it off. */
export interface Waiter {
  readonly topics: readonly string[];
  wake: () => void;
}

const KV_PREFIX = "kv/";
// Keys and prefixes that nobody waits for are forgotten when there are many: their next reader recomputes.
const MAX_KEYS = 20_000;
const MAX_PREFIXES = 10_000;
const MAX_TOMBSTONES = 8_192;

export class Topics {
  readonly #index = new Map<string, number>();
  /** The revision that last changed an answer in what nobody waits for. */
  readonly #freshened = new Map<string, number>();
  readonly #waiters = new Map<string, Set<Waiter>>();
  /** Topics of KV keys that somebody asked for, there or not. */
  readonly #keys = new Set<string>();
  /** KV prefixes that somebody asked for, and how many there are of each length. */
  readonly #prefixes = new Map<string, number>();
  readonly #prefixLengths = new Map<number, number>();
  readonly #tombstones = new Map<string, number>();
  /** No topic has an index below this: what it was before a restart is not known one by one. */
  #floor: number;
  #kvFloor: number;

  constructor(revision: number) {
    this.#floor = Math.max(1, revision);
    this.#kvFloor = this.#floor;
  }

  /** The highest index of the topics; at least 1. */
  index(topics: readonly string[]): number {
    let index = this.#floor;
    for (const topic of topics) index = Math.max(index, this.#index.get(topic) ?? 0);
    return index;
  }

  /** Beside the index: changes where an answer is another one that wakes nobody. */
  version(topics: readonly string[]): number {
    let version = 0;
    for (const topic of topics) version = Math.max(version, this.#freshened.get(topic) ?? 0);
    return version;
  }

  /** Marks a topic's answers as others, without waking who waits for them. */
  freshen(topic: string, revision: number): void {
    this.#freshened.set(topic, revision);
  }

  /** The topic of all keys under a prefix. `newest` is the highest modify index there is under it now. */
  prefixTopic(prefix: string, newest: () => number): string {
    const topic = `${KV_PREFIX}${prefix}*`;
    if (this.#prefixes.has(prefix)) return topic;
    if (this.#prefixes.size >= MAX_PREFIXES) this.#dropPrefixes();
    let index = Math.max(newest(), this.#kvFloor);
    for (const [key, revision] of this.#tombstones) if (key.startsWith(prefix)) index = Math.max(index, revision);
    this.#prefixes.set(prefix, index);
    this.#prefixLengths.set(prefix.length, (this.#prefixLengths.get(prefix.length) ?? 0) + 1);
    this.#index.set(topic, index);
    return topic;
  }

  /** The topic of one key. */
  keyTopic(key: string, modifyIndex: number): string {
    const topic = `${KV_PREFIX}${key}`;
    if (this.#index.has(topic)) return topic;
    if (this.#keys.size >= MAX_KEYS) this.#dropKeys();
    this.#keys.add(topic);
    this.#index.set(topic, modifyIndex > 0 ? modifyIndex : (this.#tombstones.get(key) ?? this.#kvFloor));
    return topic;
  }

  /** Marks a key as touched, and every prefix of it that somebody asked for. */
  touchKey(key: string, revision: number, deleted: boolean, woken: Set<Waiter>): void {
    if (deleted) this.#bury(key, revision);
    // Only topics that were asked for are kept: a store of a million keys that nobody watches costs nothing here.
    if (this.#index.has(`${KV_PREFIX}${key}`)) this.touch(`${KV_PREFIX}${key}`, revision, woken);
    for (const length of this.#prefixLengths.keys()) {
      if (length > key.length) continue;
      const prefix = key.slice(0, length);
      if (this.#prefixes.has(prefix)) this.touch(`${KV_PREFIX}${prefix}*`, revision, woken);
    }
  }

  /** Marks a topic as touched; its waiters are added to `woken`. */
  touch(topic: string, revision: number, woken: Set<Waiter>): void {
    this.#index.set(topic, revision);
    const waiters = this.#waiters.get(topic);
    if (waiters) for (const waiter of waiters) woken.add(waiter);
  }

  /** Puts a waiter to sleep. The returned function takes it off again. */
  wait(waiter: Waiter): () => void {
    for (const topic of waiter.topics) {
      let waiters = this.#waiters.get(topic);
      if (!waiters) this.#waiters.set(topic, (waiters = new Set()));
      waiters.add(waiter);
    }
    return () => {
      for (const topic of waiter.topics) {
        const waiters = this.#waiters.get(topic);
        waiters?.delete(waiter);
        if (waiters?.size === 0) this.#waiters.delete(topic);
      }
    };
  }

  get waiting(): number {
    const all = new Set<Waiter>();
    for (const waiters of this.#waiters.values()) for (const waiter of waiters) all.add(waiter);
    return all.size;
  }

  #bury(key: string, revision: number): void {
    this.#tombstones.delete(key);
    this.#tombstones.set(key, revision);
    if (this.#tombstones.size <= MAX_TOMBSTONES) return;
    const [oldest, at] = this.#tombstones.entries().next().value as [string, number];
    this.#tombstones.delete(oldest);
    this.#kvFloor = Math.max(this.#kvFloor, at);
  }

  #dropKeys(): void {
    for (const topic of this.#keys) {
      if (this.#waiters.has(topic)) continue;
      this.#keys.delete(topic);
      this.#index.delete(topic);
      if (this.#keys.size < MAX_KEYS / 2) return;
    }
  }

  #dropPrefixes(): void {
    for (const prefix of this.#prefixes.keys()) {
      const topic = `${KV_PREFIX}${prefix}*`;
      if (this.#waiters.has(topic)) continue;
      this.#prefixes.delete(prefix);
      this.#index.delete(topic);
      const left = (this.#prefixLengths.get(prefix.length) ?? 1) - 1;
      if (left > 0) this.#prefixLengths.set(prefix.length, left);
      else this.#prefixLengths.delete(prefix.length);
      if (this.#prefixes.size < MAX_PREFIXES / 2) return;
    }
  }
}
