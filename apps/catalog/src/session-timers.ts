/** Ends sessions whose TTL ran out, and remembers the lock delay of keys whose holder was lost. */
import type { Clock, Logger, Timer } from "@heddle/daemon";
import { describeError } from "@heddle/daemon";
import type { Commit, Store } from "@heddle/store";
import { destroySession, ttlMs } from "./commands/sessions.ts";
import { KV, SESSIONS, type KvRecord, type SessionRecord } from "./records.ts";

// Consul ends a session between one and two times its TTL after the last renewal; ours uses the least that is promised
// plus a little for a renewal that is already on its way.
const TTL_GRACE = 1.1;

export class SessionTimers {
  readonly #timers = new Map<string, Timer>();
  readonly #deps: { store: Store; clock: Clock; log: Logger };

  constructor(deps: { store: Store; clock: Clock; log: Logger }) {
    this.#deps = deps;
    for (const { value } of deps.store.list<SessionRecord>(SESSIONS)) this.renew(value);
    deps.store.subscribe((commit) => {
      for (const change of commit.changes) {
        if (change.table !== SESSIONS) continue;
        if (!change.after) this.ended(change.key);
        else if (!change.before) this.renew(change.after.value as SessionRecord); // created, or restored
      }
    });
  }

  /** Starts the session's time again. */
  renew(session: SessionRecord): void {
    this.ended(session.ID);
    const ms = ttlMs(session.TTL);
    if (ms > 0)
      this.#timers.set(
        session.ID,
        this.#deps.clock.after(ms * TTL_GRACE, () => void this.#expire(session)),
      );
  }

  ended(id: string): void {
    this.#timers.get(id)?.cancel();
    this.#timers.delete(id);
  }

  close(): void {
    for (const timer of this.#timers.values()) timer.cancel();
  }

  async #expire(session: SessionRecord): Promise<void> {
    const { store, log } = this.#deps;
    log.debug("session TTL expired", { session: session.ID });
    try {
      await store.run(destroySession(session.ID));
    } catch (error) {
      log.error("cannot end an expired session, trying again", { session: session.ID, error: describeError(error) });
      this.renew(session);
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
