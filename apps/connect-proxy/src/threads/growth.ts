/**
 * When a proxy takes one thread more: a second one as soon as there is work, so that an idle sidecar stays small; a further one
 * where all that it has are busy, and the machine has time left for another. Pure.
 */

const AT_WORK = 0.2; // share of its time that the first thread works
const BUSY = 0.8; // share of its time that a thread works
const BUSY_LOOKS = 3; // in a row
const IDLE_CORES = 0.25; // without it one thread more would only be in the others' way

export interface Growth {
  /** `loads` of all threads since the last look, from 0 to 1; how many cores had nothing to do meanwhile. */
  look(loads: readonly number[], idleCores: number): boolean;
}

export function createGrowth(): Growth {
  let busyLooks = 0;
  return {
    look(loads, idleCores) {
      if (loads.length === 1) return (loads[0] ?? 0) >= AT_WORK;
      busyLooks = loads.every((load) => load >= BUSY) ? busyLooks + 1 : 0;
      if (busyLooks < BUSY_LOOKS || idleCores < IDLE_CORES) return false;
      busyLooks = 0;
      return true;
    },
  };
}
