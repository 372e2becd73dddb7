/**
 * What limits count: connections, handshakes under way, what one address has open. A process that carries on several threads
 * has one limit for all of them, so each thread counts in a row of shared memory, and what counts is the column's sum.
 */

export interface Counts {
  /** Adds to what is counted under a key, and returns how much that is in all. */
  add(key: string, by: 1 | -1): number;
  of(key: string): number;
}

/** What is counted, of the proxy with an ID among those of a process. */
export const countKey = {
  /** Of the whole process: it is its processor that they take. */
  handshakes: "handshakes",
  /** Accepted and silent so far. */
  waiting: (id: string) => `${id} waiting`,
  inbound: (id: string) => `${id} inbound`,
  upstream: (id: string, listener: string) => `${id} upstream ${listener}`,
  /** Handshakes of one address, silent connections among them. */
  source: (address: string) => `source ${address}`,
};

/**
 * How much one address may have of what all share: what is configured, and no more than half of the room that is left (the dynamic
 * threshold of Choudhury and Hahne, 1998). So hundreds of addresses that take all they get leave room for one that comes later.
 */
export const shareOf = (configured: number, room: number): number => Math.min(configured, Math.ceil(room / 2));

/** For one thread alone. */
export function createCounts(): Counts {
  const counts = new Map<string, number>();
  const of = (key: string) => counts.get(key) ?? 0;
  return {
    add(key, by) {
      const now = of(key) + by;
      if (now > 0) counts.set(key, now);
      else counts.delete(key);
      return now;
    },
    of,
  };
}

/** Columns for keys that are given one, and behind them those for any other key, which shares its column with others. */
const NAMED = 8_192;
const HASHED = 4_096;
const COLUMNS = NAMED + HASHED;

export interface SharedCounts extends Counts {
  /** Gives a key a column of its own: thousands of addresses may share columns, an upstream and its limit may not. */
  name(key: string, column: number): void;
}

export function sharedMemory(threads: number): SharedArrayBuffer {
  return new SharedArrayBuffer(threads * COLUMNS * Int32Array.BYTES_PER_ELEMENT);
}

export function createSharedCounts(memory: SharedArrayBuffer, thread: number): SharedCounts {
  const cells = new Int32Array(memory);
  const threads = cells.length / COLUMNS;
  const named = new Map<string, number>();
  const columnOf = (key: string) => named.get(key) ?? NAMED + (hash(key) % HASHED);
  const sum = (column: number) => {
    let total = 0;
    for (let row = 0; row < threads; row++) total += Atomics.load(cells, row * COLUMNS + column);
    return total;
  };
  return {
    name: (key, column) => void named.set(key, column % NAMED),
    add(key, by) {
      const column = columnOf(key);
      // Two threads that come to the last place at once both see that it is taken: a limit is never passed.
      Atomics.add(cells, thread * COLUMNS + column, by);
      return sum(column);
    },
    of: (key) => sum(columnOf(key)),
  };
}

/** What a thread counted that is no more. */
export function forgetThread(memory: SharedArrayBuffer, thread: number): void {
  const cells = new Int32Array(memory);
  for (let column = 0; column < COLUMNS; column++) Atomics.store(cells, thread * COLUMNS + column, 0);
}

// FNV-1a.
function hash(text: string): number {
  let at = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) at = Math.imul(at ^ text.charCodeAt(i), 0x01000193);
  return at >>> 0;
}
