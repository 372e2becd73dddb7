/** Decisions of this node as they are made, to whoever listens; nothing is kept. */

import type { DecisionReport } from "@heddle/intentions";

export interface NodeDecision extends DecisionReport {
  /** "authorize" (asked of the agent), or "proxy", which decided by itself and reported it. */
  By: "authorize" | "proxy";
  /** On a report after a gap: how many decisions before it were not reported, for there were too many. */
  Missed?: number;
}

export const MAX_FOLLOWERS = 64;

export class Decisions {
  readonly #followers = new Set<(decision: NodeDecision) => void>();

  /** Whether anybody listens: if not, nothing has to be made ready. */
  get isFollowed(): boolean {
    return this.#followers.size > 0;
  }

  tell(decision: NodeDecision): void {
    for (const follower of this.#followers) follower(decision);
  }

  /** Returns how to end it, or undefined where too many listen already. */
  follow(follower: (decision: NodeDecision) => void): (() => void) | undefined {
    if (this.#followers.size >= MAX_FOLLOWERS) return undefined;
    this.#followers.add(follower);
    return () => void this.#followers.delete(follower);
  }
}
