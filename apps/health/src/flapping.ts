/**
 * Flap damping: each time a check that was well fails, its penalty grows; it halves each minute. Past one threshold the check
 * is held critical, whatever its probes say, until the penalty is below another: callers are spared a target that comes and goes.
 */

export const PENALTY = 1_000; // of one failure
export const SUPPRESS_ABOVE = 4_000; // more than four failures in a short time: a rolling restart has one or two
export const REUSE_BELOW = 2_000;
export const HALF_LIFE_MS = 60_000;
export const MAX_PENALTY = 16_000; // three half-lives above reuse: held for three minutes at most once it is well

export interface Flapping {
  readonly penalty: number;
  /** When it was reckoned, in milliseconds. */
  readonly at: number;
  readonly isSuppressed: boolean;
}

export const NOT_FLAPPING: Flapping = { penalty: 0, at: 0, isSuppressed: false };

/** The state at `now`, after one more failure where `hasFailed`. */
export function damp(before: Flapping, now: number, hasFailed: boolean): Flapping {
  const elapsedMs = Math.max(0, now - before.at);
  const decayed = before.penalty * 2 ** (-elapsedMs / HALF_LIFE_MS);
  const penalty = Math.min(MAX_PENALTY, decayed + (hasFailed ? PENALTY : 0));
  const isSuppressed = before.isSuppressed ? penalty >= REUSE_BELOW : penalty > SUPPRESS_ABOVE;
  return { penalty, at: now, isSuppressed };
}
