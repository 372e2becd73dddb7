/**
 * Who has talked to whom through this proxy in the last day: open connections, bytes, when it was last, and what rules refused.
 * Kept small: the pairs that were seen last.
 */
import type { Clock } from "@heddle/daemon";
import type { SeenPair } from "@heddle/intentions";
import type { Connection, Direction, Parties } from "./connections.ts";
import type { Refusal } from "./refusal.ts";

const DAY_MS = 86_400_000;
const MAX_PAIRS = 256;

interface Pair {
  direction: Direction;
  source: string;
  destination: string;
  open: number;
  bytes: number; // of those that have ended
  seenAt: number;
  refused: number;
  refusedAt: number;
}

export class Pairs {
  readonly #pairs = new Map<string, Pair>(); // the one that changed last at the end
  readonly #clock: Clock;
  /** Counts what happened, so that it can be seen whether there is news. */
  changes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  opened(connection: Connection): void {
    const pair = this.#touch(connection);
    pair.open++;
    pair.seenAt = this.#clock.now();
  }

  closed(connection: Connection): void {
    const pair = this.#touch(connection);
    const { bytesFromA, bytesFromB } = connection.pipe;
    pair.open = Math.max(0, pair.open - 1);
    pair.bytes += bytesFromA + bytesFromB;
    pair.seenAt = this.#clock.now();
  }

  /** Counts what a rule refused: other refusals say nothing of who may. */
  refused(parties: Parties, { code }: Refusal): void {
    if (code !== "intention" || parties.source === "") return;
    const pair = this.#touch(parties);
    pair.refused++;
    pair.refusedAt = this.#clock.now();
  }

  /** As of now; `live` are the connections that are open. */
  list(live: Iterable<Connection>): SeenPair[] {
    const now = this.#clock.now();
    const bytes = new Map<string, number>();
    for (const connection of live) {
      const { bytesFromA, bytesFromB } = connection.pipe;
      const key = keyOf(connection);
      bytes.set(key, (bytes.get(key) ?? 0) + bytesFromA + bytesFromB);
    }
    for (const [key, { open, seenAt, refusedAt }] of this.#pairs)
      if (open === 0 && Math.max(seenAt, refusedAt) < now - DAY_MS) this.#pairs.delete(key);
    return [...this.#pairs].map(([key, pair]) => ({
      Direction: pair.direction,
      Source: pair.source,
      Destination: pair.destination,
      Open: pair.open,
      Bytes: pair.bytes + (bytes.get(key) ?? 0),
      LastSeen: toText(pair.open > 0 ? now : pair.seenAt),
      Refused: pair.refused,
      LastRefused: toText(pair.refusedAt),
    }));
  }

  #touch(parties: Parties): Pair {
    this.changes++;
    const key = keyOf(parties);
    const { direction, source, destination } = parties;
    const fresh = { open: 0, bytes: 0, seenAt: 0, refused: 0, refusedAt: 0 };
    const pair = this.#pairs.get(key) ?? { direction, source, destination, ...fresh };
    this.#pairs.delete(key);
    this.#pairs.set(key, pair);
    if (this.#pairs.size > MAX_PAIRS) this.#forgetOne(pair);
    return pair;
  }

  /** The one that has been quiet for longest, preferably one without open connections. */
  #forgetOne(kept: Pair): void {
    const entries = [...this.#pairs].filter(([, pair]) => pair !== kept);
    const [key] = entries.find(([, { open }]) => open === 0) ?? entries[0] ?? [];
    if (key !== undefined) this.#pairs.delete(key);
  }
}

const keyOf = ({ direction, source, destination }: Parties): string => `${direction}\0${source}\0${destination}`;

const toText = (ms: number): string => (ms === 0 ? "" : new Date(ms).toISOString());
