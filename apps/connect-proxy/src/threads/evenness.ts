/**
 * When a thread lets go of some of its callers: where it works and another has next to nothing to do. The kernel deals tunnels out by
 * chance, and they last for hours. What is let go may come back to the same thread, so it is tried again, ever more rarely. Pure.
 */

const AT_WORK = 0.5; // share of its time that a thread works
const UNEVEN = 4; // times as much as another
const QUICK_TRIES = 3; // of two threads one in eight is uneven after them
const MAX_WAIT_LOOKS = 256;

export interface Evenness {
  /** `loads` of all threads since the last look, from 0 to 1. Returns the place in it of the one that has too much. */
  look(loads: readonly number[]): number | undefined;
}

export function createEvenness(): Evenness {
  let tries = 0;
  let unevenLooks = 0; // since the last try
  return {
    look(loads) {
      const most = Math.max(...loads);
      if (most < AT_WORK) return undefined; // says nothing
      if (most < UNEVEN * Math.min(...loads)) {
        tries = 0;
        unevenLooks = 0;
        return undefined;
      }
      if (++unevenLooks < Math.min(MAX_WAIT_LOOKS, 2 ** Math.max(0, tries - QUICK_TRIES + 1))) return undefined;
      tries++;
      unevenLooks = 0;
      return loads.indexOf(most);
    },
  };
}
