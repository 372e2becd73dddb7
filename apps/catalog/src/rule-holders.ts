/**
 * Which proxies hold which version of the rules, and who talks to whom: as agents pass it on, in memory alone. A catalog that
 * starts hears of all proxies within their next reports, a quarter of a minute.
 */
import type { Clock } from "@heddle/daemon";
import { type PairUse, type RuleReport, withFewerPairs } from "@heddle/intentions";

const SILENT_MS = 45_000; // three reports are missing: nobody waits for it
const FORGET_MS = 600_000;
const LOOK_MS = 1_000;
const DAY_MS = 86_400_000;
const MAX_HOLDERS = 20_000;
const MAX_PAIRS = 200_000; // of all of them
const MAX_PAST = 20_000; // pairs of proxies that have ended

/** Which proxy: one on several threads is one. */
export interface Place {
  Node: string;
  Process: string;
  Proxy: string;
  Service: string;
}

/** A proxy that holds rules, as the API shows it. */
export interface Holder extends Place {
  /** The oldest that one of its threads holds. */
  Version: number;
  LastSeen: string;
  /** Not heard of for a while: it may be gone, or cut off with the rules that it has. */
  IsSilent: boolean;
}

/** Where how many connections were cut. */
export interface Cut extends Place {
  Source: string;
  Count: number;
}

interface Held {
  node: string;
  report: RuleReport;
  at: number;
}

interface Waiter {
  version: number;
  /** Who has not reached it. */
  pending: Set<string>;
  done: () => void;
}

export class RuleHolders {
  readonly #clock: Clock;
  readonly #held = new Map<string, Held>();
  readonly #past = new Map<string, PairUse>(); // the one that changed last at the end
  readonly #waiters = new Set<Waiter>();
  #pairCount = 0;
  #forgotAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes over what a node's agent passes on. What is too many is left out: the newest are dropped, for they report again. */
  take(node: string, reports: readonly RuleReport[]): void {
    const at = this.#clock.now();
    this.#forget(at);
    for (const report of reports) {
      const key = `${node}/${report.ID}`;
      if (report.Gone) this.#end(key, report);
      else if (this.#held.has(key) || this.#held.size < MAX_HOLDERS) this.#keep(key, { node, report, at });
      for (const waiter of this.#waiters) {
        if (!report.Gone && report.Version < waiter.version) continue;
        if (waiter.pending.delete(key) && waiter.pending.size === 0) waiter.done();
      }
    }
  }

  /** Everybody who holds rules; of one service where it is named. */
  list(service?: string): Holder[] {
    const now = this.#clock.now();
    this.#forget(now);
    const holders = new Map<string, Holder & { at: number }>();
    for (const { node, report, at } of this.#held.values()) {
      if (report.Version === 0 || (service !== undefined && !isSame(report.Service, service))) continue;
      const place = placeOf(node, report);
      const thread = holders.get(keyOf(place));
      const oldest = Math.min(at, thread?.at ?? at);
      holders.set(keyOf(place), {
        ...place,
        Version: Math.min(report.Version, thread?.Version ?? report.Version),
        LastSeen: new Date(oldest).toISOString(),
        IsSilent: now - oldest > SILENT_MS,
        at: oldest,
      });
    }
    return [...holders.values()].map(({ at: _at, ...holder }) => holder);
  }

  /** Resolves when every proxy that is heard of holds the version or a later one, or after `ms`. */
  reached(version: number, ms: number, signal: AbortSignal): Promise<void> {
    const now = this.#clock.now();
    const pending = new Set<string>();
    for (const [key, { report, at }] of this.#held)
      if (report.Version > 0 && report.Version < version && now - at <= SILENT_MS) pending.add(key);
    if (pending.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        this.#waiters.delete(waiter);
        timer.cancel();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const waiter = { version, pending, done };
      const timer = this.#clock.after(ms, done);
      signal.addEventListener("abort", done, { once: true });
      this.#waiters.add(waiter);
    });
  }

  /** What was cut when this version, or a later one, was taken over. */
  cutsSince(version: number): Cut[] {
    return summed(
      [...this.#held.values()].flatMap(({ node, report }) =>
        report.Cuts.filter((cut) => cut.Version >= version).map(({ Source, Count }) => ({
          ...placeOf(node, report),
          Source,
          Count,
        })),
      ),
    );
  }

  /** The pairs of the last day. The service's end counts; the caller's where no proxy of ours is at the other. */
  pairs(): PairUse[] {
    this.#forget(this.#clock.now());
    const ends = { inbound: new Map<string, PairUse>(), outbound: new Map<string, PairUse>() };
    for (const { report } of this.#held.values())
      for (const { Direction, ...pair } of report.Pairs) add(ends[Direction], pair);
    const all = new Map([...ends.outbound, ...ends.inbound]);
    for (const pair of this.#past.values()) add(all, pair);
    return [...all.values()];
  }

  /** Where a pair's open connections are. */
  open(source: string, destination: string): (Place & { Count: number })[] {
    return summed(
      [...this.#held.values()].flatMap(({ node, report }) => {
        const found = report.Pairs.find(
          (p) => p.Direction === "inbound" && p.Source === source && isSame(p.Destination, destination) && p.Open > 0,
        );
        return found ? [{ ...placeOf(node, report), Count: found.Open }] : [];
      }),
    );
  }

  #keep(key: string, { node, report, at }: Held): void {
    const others = this.#pairCount - (this.#held.get(key)?.report.Pairs.length ?? 0);
    const kept = withFewerPairs(report, MAX_PAIRS - others);
    this.#pairCount = others + kept.Pairs.length;
    this.#held.set(key, { node, report: kept, at });
  }

  /** What an ended proxy has seen stays for its day. */
  #end(key: string, { Pairs }: RuleReport): void {
    this.#pairCount -= this.#held.get(key)?.report.Pairs.length ?? 0;
    this.#held.delete(key);
    for (const { Direction, ...pair } of Pairs) if (Direction === "inbound") add(this.#past, { ...pair, Open: 0 });
    while (this.#past.size > MAX_PAST) this.#past.delete(this.#past.keys().next().value as string);
  }

  #forget(now: number): void {
    if (now - this.#forgotAt < LOOK_MS) return; // it goes through all, and reports come by the thousand
    this.#forgotAt = now;
    for (const [key, { at, report }] of this.#held) if (now - at > FORGET_MS) this.#end(key, report);
    const yesterday = new Date(now - DAY_MS).toISOString();
    for (const [key, pair] of this.#past)
      if (pair.LastSeen < yesterday && pair.LastRefused < yesterday) this.#past.delete(key);
  }
}

const placeOf = (Node: string, { Process, Proxy, Service }: RuleReport): Place => ({ Node, Process, Proxy, Service });

export const keyOf = ({ Node, Process, Proxy, Service }: Place): string =>
  JSON.stringify([Node, Process, Proxy, Service]);

/** One for each place and caller. */
function summed<T extends Place & { Source?: string; Count: number }>(counts: T[]): T[] {
  const sums = new Map<string, T>();
  for (const one of counts) {
    const key = `${keyOf(one)} ${one.Source}`;
    sums.set(key, { ...one, Count: one.Count + (sums.get(key)?.Count ?? 0) });
  }
  return [...sums.values()];
}

/** As intentions have it, a destination's name has no case. */
const isSame = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

function add(pairs: Map<string, PairUse>, pair: PairUse): void {
  const key = JSON.stringify([pair.Source, pair.Destination.toLowerCase()]);
  const known = pairs.get(key);
  pairs.delete(key);
  pairs.set(
    key,
    known
      ? {
          ...known,
          Open: known.Open + pair.Open,
          Bytes: known.Bytes + pair.Bytes,
          LastSeen: later(known.LastSeen, pair.LastSeen),
          Refused: known.Refused + pair.Refused,
          LastRefused: later(known.LastRefused, pair.LastRefused),
        }
      : pair,
  );
}

const later = (a: string, b: string): string => (a > b ? a : b);
