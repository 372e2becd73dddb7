/** Histories of clients as a whole: where one comes from, and whether some order explains it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { History } from "./clients.ts";
import { isLinearizable } from "./linearizability.ts";
import { keysModel, lockModel } from "./models.ts";

export const newHistory = (): History => ({ keys: new Map(), locks: new Map() });

/** Fails where no order explains what the clients were told, or they were told too little to say anything. */
export function explains(
  { keys, locks }: History,
  { seed, faults, atLeast }: { seed: number; faults: readonly string[]; atLeast: number },
): void {
  const operations = [...keys.values(), ...locks.values()].flat();
  const answered = operations.filter((operation) => operation.output !== undefined);
  console.log(
    `seed ${seed}: ${answered.length} of ${operations.length} operations answered; ${faults.length} faults: ${faults.join(", ")}`,
  );
  expect(answered.length).toBeGreaterThan(atLeast);
  const bad = [
    ...[...keys].filter(([, list]) => !isLinearizable(keysModel, list)),
    ...[...locks].filter(([, list]) => !isLinearizable(lockModel, list)),
  ];
  // What cannot be explained is kept, to be looked at.
  const dir = process.env.HEDDLE_HISTORY_DIR;
  for (const [name, list] of bad)
    if (dir) writeFileSync(join(dir, `${seed}-${name.replace(/\W/g, "-")}.json`), JSON.stringify(list));
  expect(
    bad.map(([name]) => name),
    `seed ${seed}`,
  ).toEqual([]);
}

/** The same numbers for the same seed (mulberry32). */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
