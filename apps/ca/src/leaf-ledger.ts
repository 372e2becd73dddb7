/** Which root the leaves that are out there lead to: the newest leaf of each service at each agent, as far as this process signed it. */

const MAX_LEAVES = 100_000;

export interface IssuedTo {
  /** Who asked, as the log has it. */
  caller: string;
  spiffeId: string;
  rootId: string;
  service: string;
  /** `08:…` */
  serial: string;
  /** Milliseconds since the epoch. */
  notAfter: number;
}

export interface LeafLedger {
  issued(leaf: IssuedTo): void;
  /** How many leaves that have not expired lead to each root. */
  counts(now: number): Map<string, number>;
  /** What is known of a certificate by its serial. */
  find(serial: string): Pick<IssuedTo, "notAfter" | "service"> | undefined;
}

export function createLeafLedger(): LeafLedger {
  const newest = new Map<string, Omit<IssuedTo, "caller" | "spiffeId">>();
  return {
    issued({ caller, spiffeId, ...leaf }) {
      const key = `${caller}\0${spiffeId}`;
      newest.delete(key); // to the end: the first is the oldest
      newest.set(key, leaf);
      if (newest.size > MAX_LEAVES) newest.delete(newest.keys().next().value as string);
    },
    counts(now) {
      const counts = new Map<string, number>();
      for (const [key, { rootId, notAfter }] of newest) {
        if (notAfter <= now) newest.delete(key);
        else counts.set(rootId, (counts.get(rootId) ?? 0) + 1);
      }
      return counts;
    },
    find: (serial) => [...newest.values()].find((leaf) => leaf.serial === serial),
  };
}
