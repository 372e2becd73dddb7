/** Followers by name, as many as fit: the one unused for longest makes room, and those unused for long are let go. */
import { type Clock, type Timer, UnavailableError } from "@heddle/daemon";
import type { Follower } from "./follower.ts";

const SWEEP_MS = 60_000;
const IDLE_SWEEPS = 10; // a service nobody asks for costs the catalog a watch; ten minutes outlive any TTL in use
const MAX_UNANSWERED = 256;

export interface FollowersOptions<T> {
  max: number;
  clock: Clock;
  create: (name: string) => Follower<T>;
}

export class Followers<T> {
  readonly #byName = new Map<string, Follower<T>>();
  readonly #options: FollowersOptions<T>;
  #sweep: Timer;
  readonly #unanswered = new Set<Follower<T>>();
  /** Counts questions: an order of use that costs no system call. */
  #tick = 0;
  /** What it was at each of the last sweeps, oldest first. */
  readonly #ticks: number[] = [];

  constructor(options: FollowersOptions<T>) {
    this.#options = options;
    this.#sweep = options.clock.after(SWEEP_MS, () => this.#dropIdle());
  }

  get size(): number {
    return this.#byName.size;
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  get(name: string): T | Promise<T> {
    let follower = this.#byName.get(name);
    if (follower === undefined) {
      // Names that nobody has are cheap to make up: no faster than the catalog answers them.
      for (const waiting of this.#unanswered) if (waiting.isSettled) this.#unanswered.delete(waiting);
      if (this.#unanswered.size >= MAX_UNANSWERED)
        return Promise.reject(new UnavailableError("too many names wait for the catalog"));
      if (this.#byName.size >= this.#options.max) this.#dropOldest();
      follower = this.#options.create(name);
      this.#byName.set(name, follower);
      this.#unanswered.add(follower);
    }
    follower.usedAt = ++this.#tick;
    return follower.get();
  }

  close(): void {
    this.#sweep.cancel();
    for (const follower of this.#byName.values()) follower.close();
    this.#byName.clear();
  }

  #dropOldest(): void {
    let oldest: string | undefined;
    let usedAt = Number.POSITIVE_INFINITY;
    for (const [name, follower] of this.#byName) {
      if (follower.usedAt >= usedAt) continue;
      usedAt = follower.usedAt;
      oldest = name;
    }
    if (oldest !== undefined) this.#drop(oldest);
  }

  #dropIdle(): void {
    this.#ticks.push(this.#tick);
    const limit = this.#ticks.length > IDLE_SWEEPS ? this.#ticks.shift() : undefined;
    if (limit !== undefined)
      for (const [name, follower] of this.#byName) if (follower.usedAt <= limit) this.#drop(name);
    this.#sweep = this.#options.clock.after(SWEEP_MS, () => this.#dropIdle());
  }

  #drop(name: string): void {
    this.#byName.get(name)?.close();
    this.#byName.delete(name);
  }
}
