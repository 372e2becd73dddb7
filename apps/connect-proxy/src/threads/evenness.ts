/**
 * When a thread lets go of some of its callers: where it works and another has next to nothing to do. The kernel deals tunnels out by
 * chance, and they last for hours. What is let go may come back to the same thread, so each try waits twice as long. Pure.
 */

const AT_WORK = 0.5; // share of its time that a thread works
const UNEVEN = 4; // times as much as another
const MAX_WAIT_LOOKS = 300;

export interface Evenness {
  /** `loads` of all threads since the last look, from 0 to 1. Returns the place in it of the one that has too much. */
  look(loads: readonly number[]): number | undefined;
}

export function createEvenness(): Evenness {
  let wait = 1;
  let waited = 0;
  return {
    look(loads) {
      const most = Math.max(...loads);
      const isUneven = most >= AT_WORK && most >= UNEVEN * Math.min(...loads);
      if (!isUneven) {
        if (most >= AT_WORK) wait = 1;
        waited = 0;
        return undefined;
      }
      if (++waited < wait) return undefined;
      waited = 0;
      wait = Math.min(MAX_WAIT_LOOKS, 2 * wait);
      return loads.indexOf(most);
    },
  };
}
