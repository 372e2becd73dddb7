/** What a CA does about its roots by itself: it looks, does what is due, and says when to look again. */
import type { Clock, Timer } from "@heddle/daemon";
import type { Authority } from "./authority.ts";

/** Whether this CA does what only one of those on a store may do, and when to look again. */
export interface Lead {
  isLeader: () => boolean;
  onLeader: (listener: () => void) => (() => void) | undefined;
}

export interface LookingOptions {
  authority: Authority;
  lead: Lead;
  clock: Clock;
}

/** In how many milliseconds to look again; undefined or Infinity: when the roots change or this CA leads. */
export type NextLook = number | undefined;

/**
 * Looks now, whenever the roots change or this CA comes to lead, and when the last look asked for it, until the function that it returns
 * is called. While a look is still at its deed no other begins; `look` neither throws nor rejects.
 */
export function keepLooking(
  { authority, lead, clock }: LookingOptions,
  look: () => NextLook | Promise<NextLook>,
): () => void {
  let timer: Timer | undefined;
  let isClosed = false;
  let isAtIt = false;
  let isAskedMeanwhile = false;

  const run = () => {
    if (isClosed) return;
    isAskedMeanwhile = isAtIt;
    if (isAtIt) return;
    timer?.cancel();
    timer = undefined;
    const next = look();
    if (!(next instanceof Promise)) return arm(next);
    isAtIt = true;
    void next.then((delayMs) => {
      isAtIt = false;
      if (isAskedMeanwhile) run();
      else arm(delayMs);
    });
  };
  const arm = (delayMs: NextLook = Infinity) => {
    if (!isClosed && Number.isFinite(delayMs)) timer = clock.after(delayMs, run);
  };
  const offs = [authority.onRootsChanged(() => queueMicrotask(run)), lead.onLeader(run)];
  run();
  return () => {
    isClosed = true;
    for (const off of offs) off?.();
    timer?.cancel();
  };
}
