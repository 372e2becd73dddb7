/** Ends sessions whose TTL ran out, and remembers the lock delay of keys whose holder was lost. */
import type { Clock, Logger, Timer } from "@heddle/daemon";
import { describeError } from "@heddle/daemon";
import type { Cluster, Commit, Store } from "@heddle/store";
import { destroySession, ttlMs } from "./commands/sessions.ts";
import { KV, SESSIONS, type KvRecord, type SessionRecord } from "./records.ts";

// Consul ends a session between one and two times its TTL after the last renewal; ours uses the least that is promised
// plus a little for a renewal that is already on its way.
const TTL_GRACE = 1.1;

/** What servers say of each other's sessions: that one was renewed. */
const RENEWAL = "renewal";

export interface SessionTimersOptions {
  store: Store;
  /** The leader ends sessions; the others tell it of the renewals that they were asked for. */
  cluster: Cluster;
  clock: Clock;
  log: Logger;
}

export class SessionTimers {
  readonly #timers = new Map<string, Timer>();
  readonly #options: SessionTimersOptions;
  #isLeading = false;
  #renewals = 0;

  constructor(options: SessionTimersOptions) {
    this.#options = options;
    const { cluster, store } = options;
    this.#lead();
    cluster.onChange(() => this.#lead());
    cluster.onFact((kind, id, fact) => {
      const session = kind === RENEWAL && fact ? store.get<SessionRecord>(SESSIONS, id) : undefined;
      if (session) this.#start(session.value);
    });
    store.subscribe((commit) => {
      for (const change of commit.changes) {
        if (change.table !== SESSIONS) continue;
        if (!change.after) this.ended(change.key);
        else if (!change.before) this.#start(change.after.value as SessionRecord); // created, or restored
      }
    });
  }

  /** Starts the session's time again. */
  renew(session: SessionRecord): void {
    const { cluster } = this.#options;
    if (cluster.isLeader) this.#start(session);
    else void cluster.say(RENEWAL, session.ID, ++this.#renewals);
  }

  ended(id: string): void {
    this.#stop(id);
    if (this.#options.cluster.fact(RENEWAL, id)?.server === this.#options.cluster.self.id)
      void this.#options.cluster.say(RENEWAL, id, undefined);
  }

  close(): void {
    for (const timer of this.#timers.values()) timer.cancel();
  }

  // Nobody knows when each was renewed last before this server led: all have their full time again, as in Consul.
  #lead(): void {
    const { cluster, store } = this.#options;
    if (cluster.isLeader === this.#isLeading) return;
    this.#isLeading = cluster.isLeader;
    for (const { value } of store.list<SessionRecord>(SESSIONS)) {
      if (this.#isLeading) this.#start(value);
      else this.#stop(value.ID);
    }
  }

  #start(session: SessionRecord): void {
    this.#stop(session.ID);
    const ms = ttlMs(session.TTL);
    if (ms > 0 && this.#options.cluster.isLeader)
      this.#timers.set(
        session.ID,
        this.#options.clock.after(ms * TTL_GRACE, () => void this.#expire(session)),
      );
  }

  #stop(id: string): void {
    this.#timers.get(id)?.cancel();
    this.#timers.delete(id);
  }

  async #expire(session: SessionRecord): Promise<void> {
    const { cluster, store, log } = this.#options;
    if (!cluster.isLeader) return;
    log.debug("session TTL expired", { session: session.ID });
    try {
      await store.run(destroySession(session.ID), { fence: cluster.leaderFence() });
    } catch (error) {
      log.error("cannot end an expired session, trying again", { session: session.ID, error: describeError(error) });
      this.#start(session);
    }
  }
}

/**
 * After a session ended without releasing a key, the key cannot be locked again for the session's lock delay: its old
 * holder may not know yet. In memory only, as in Consul.
 */
export class LockDelays {
  readonly #until = new Map<string, number>();
  readonly #clock: Clock;

  constructor(store: Store, clock: Clock) {
    this.#clock = clock;
    store.subscribe((commit) => this.#observe(commit));
  }

  isDelayed(key: string): boolean {
    const until = this.#until.get(key);
    if (until === undefined) return false;
    if (until > this.#clock.now()) return true;
    this.#until.delete(key);
    return false;
  }

  #observe(commit: Commit): void {
    const ended = commit.changes
      .filter((c) => c.table === SESSIONS && c.before && !c.after)
      .map((c) => c.before?.value as SessionRecord);
    for (const session of ended) {
      if (session.LockDelay <= 0) continue;
      for (const change of commit.changes) {
        const held = change.table === KV ? (change.before?.value as KvRecord | undefined)?.Session : undefined;
        if (held === session.ID) this.#until.set(change.key, this.#clock.now() + session.LockDelay / 1e6);
      }
    }
  }
}
