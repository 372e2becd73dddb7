/**
 * `deregister_critical_service_after`, for checks of agents and those that were registered with the catalog: takes away the
 * service of a check that was critical for that long. An agent is asked to do it itself, or it would bring the service back.
 */
import { type Clock, describeError, formatDuration, type Logger, parseDuration } from "@heddle/daemon";
import type { Cluster, Command, Store } from "@heddle/store";
import { deregister } from "./commands/deregister.ts";
import { checkKey, CHECKS, type CheckRecord, nodeKey } from "./records.ts";
import { type RunningTime, startRunningTime } from "./running-time.ts";

export const MIN_REAP_MS = 60_000; // Consul's
const TICK_MS = 5_000;
const ASK_AGAIN_MS = 30_000; // an agent that was asked may be busy

/** How long a check may be critical before its service goes; 0: for ever. */
export function reapAfterMs({ ServiceID, Definition, ReapAfterMs }: CheckRecord): number {
  if (ServiceID === "") return 0;
  const given =
    ReapAfterMs ??
    Definition["DeregisterCriticalServiceAfterDuration"] ??
    Definition["DeregisterCriticalServiceAfter"] ??
    0;
  const ms = ReapAfterMs === undefined ? toMs(given) : ReapAfterMs;
  return ms > 0 ? Math.max(ms, MIN_REAP_MS) : 0;
}

// Of a definition: Go's text, or a number of nanoseconds.
function toMs(given: unknown): number {
  if (typeof given === "number") return given / 1e6;
  try {
    return typeof given === "string" ? parseDuration(given) : 0;
  } catch {
    return 0;
  }
}

export interface Countdown {
  Node: string;
  ServiceID: string;
  CheckID: string;
  CriticalForMs: number;
  DeregistersInMs: number;
}

export interface ReaperOptions {
  store: Store;
  /** Every server counts; services of agents are their own server's, all others the leader's to take away. */
  cluster: Cluster;
  clock: Clock;
  log: Logger;
  /** Asks the agent of a node to deregister a service; false where no agent is connected. */
  askAgent: (node: string, ask: { service: string; check: string }) => boolean;
}

interface Counting {
  /** On the reaper's own time, which stands still while this process does. */
  since: number;
  nextAt: number;
  isTold: boolean;
}

export class CriticalReaper {
  readonly #options: ReaperOptions;
  readonly #counting = new Map<string, Counting>();
  readonly #time: RunningTime;

  /** What is critical already counts from now on: nobody knows how long this catalog was away. */
  constructor(options: ReaperOptions) {
    this.#options = options;
    this.#time = startRunningTime(options.clock, TICK_MS, () => this.#tick());
    for (const { key, value } of options.store.list<CheckRecord>(CHECKS)) this.#note(key, value);
    options.store.subscribe((commit) => {
      for (const { table, key, after } of commit.changes)
        if (table === CHECKS) this.#note(key, after?.value as CheckRecord | undefined);
    });
  }

  /** What will be deregistered unless it recovers, the soonest first. */
  countdowns(): Countdown[] {
    const rows = [...this.#counting].flatMap(([key, { since }]) => {
      const check = this.#options.store.get<CheckRecord>(CHECKS, key)?.value;
      if (!check) return [];
      const { Node, ServiceID, CheckID } = check;
      const CriticalForMs = this.#time.now - since;
      return [
        { Node, ServiceID, CheckID, CriticalForMs, DeregistersInMs: Math.max(0, reapAfterMs(check) - CriticalForMs) },
      ];
    });
    return rows.toSorted((a, b) => a.DeregistersInMs - b.DeregistersInMs);
  }

  close(): void {
    this.#time.close();
  }

  #note(key: string, check: CheckRecord | undefined): void {
    const afterMs = check?.Status === "critical" ? reapAfterMs(check) : 0;
    if (afterMs === 0) return void this.#counting.delete(key);
    const since = this.#counting.get(key)?.since ?? this.#time.now;
    this.#counting.set(key, { isTold: false, ...this.#counting.get(key), since, nextAt: since + afterMs });
  }

  #tick(): void {
    for (const [key, counting] of this.#counting) {
      const check = this.#options.store.get<CheckRecord>(CHECKS, key)?.value;
      if (!check) continue;
      if (this.#time.now >= counting.nextAt) {
        counting.nextAt = this.#time.now + ASK_AGAIN_MS;
        void this.#reap(check, this.#time.now - counting.since);
      } else if (!counting.isTold && this.#time.now - counting.since >= TICK_MS) {
        counting.isTold = true;
        this.#options.log.warn("check is critical, its service will be deregistered unless it recovers", {
          ...facts(check),
          in: formatDuration(reapAfterMs(check) - (this.#time.now - counting.since)),
        });
      }
    }
  }

  async #reap(check: CheckRecord, criticalMs: number): Promise<void> {
    const { askAgent, cluster, log, store } = this.#options;
    const { Node, ServiceID, CheckID, Owner } = check;
    const isAsked = Owner !== undefined && askAgent(Node, { service: ServiceID, check: CheckID });
    // An agent that is connected to another server is that one's to ask.
    const isElsewhere = Owner !== undefined && cluster.fact("member", nodeKey(Node)) !== undefined;
    if (!isAsked && (isElsewhere || !cluster.isLeader)) return;
    log.warn("check was critical for too long, deregistering its service", {
      ...facts(check),
      critical_for: formatDuration(criticalMs),
    });
    if (isAsked) return;
    try {
      await store.run(deregisterIfCritical(check), { fence: cluster.leaderFence() });
    } catch (error) {
      log.error("cannot deregister a critical service, trying again", { ...facts(check), error: describeError(error) });
    }
  }
}

const facts = ({ Node, ServiceID, CheckID }: CheckRecord) => ({ node: Node, service: ServiceID, check: CheckID });

/** A result that came in the last moment counts. */
function deregisterIfCritical({ Node, ServiceID, CheckID }: CheckRecord): Command<true> {
  const command = deregister({ Node, ServiceID });
  return (view) =>
    view.get<CheckRecord>(CHECKS, checkKey(Node, CheckID))?.value.Status === "critical"
      ? command(view)
      : { writes: [], result: true };
}
