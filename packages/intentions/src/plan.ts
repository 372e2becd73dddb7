/** What a change of the rules would do to the connections that are known: which it would cut, and which it would let through. */
import { decide } from "./decide.ts";
import type { Intention } from "./intention.ts";
import type { PairUse } from "./report.ts";

export interface PlannedPair extends PairUse {
  /** Why it is decided as it is, as authorize words it, and why as it would be. */
  Before: string;
  After: string;
}

export interface Plan {
  /** Allowed now, and not after. */
  Cut: PlannedPair[];
  /** Not allowed now, and after. */
  Opened: PlannedPair[];
  /** Pairs that are decided as before. */
  Unchanged: number;
}

export interface PlanInput {
  before: readonly Intention[];
  after: readonly Intention[];
  defaultAllow: boolean;
  pairs: Iterable<PairUse>;
}

/** Compares what `decide` says of each pair. The pairs with most open connections come first, then those last seen. */
export function planChange({ before, after, defaultAllow, pairs }: PlanInput): Plan {
  const plan: Plan = { Cut: [], Opened: [], Unchanged: 0 };
  for (const pair of pairs) {
    const names = { source: pair.Source, destination: pair.Destination, defaultAllow };
    const [now, then] = [decide({ ...names, intentions: before }), decide({ ...names, intentions: after })];
    if (now.allowed === then.allowed) plan.Unchanged++;
    else plan[then.allowed ? "Opened" : "Cut"].push({ ...pair, Before: now.reason, After: then.reason });
  }
  plan.Cut.sort(byUse);
  plan.Opened.sort(byUse);
  return plan;
}

const lastOf = ({ LastSeen, LastRefused }: PairUse): string => (LastSeen > LastRefused ? LastSeen : LastRefused);

function byUse(a: PairUse, b: PairUse): number {
  return b.Open - a.Open || (lastOf(a) < lastOf(b) ? 1 : -1);
}
