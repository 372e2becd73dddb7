/** How fast certificates are signed: a token bucket of one, in which a caller waits briefly and is refused otherwise. */
import { type Clock, RateLimitedError } from "@heddle/daemon";

const MAX_WAIT_MS = 500; // Consul's csrLimitWait

export interface RateLimit {
  /** Throws RateLimitedError where `take` would: before a request is looked at, which costs more than to refuse it. */
  check(perSecond: number): void;
  /** Resolves when the caller's turn has come. Throws RateLimitedError when that is more than half a second away. */
  take(perSecond: number): Promise<void>;
}

export function createRateLimit(clock: Clock): RateLimit {
  let nextTurn = 0;
  // One for all: a stack for each would cost as much as the rest of refusing, and there are thousands in a flood.
  const tooMany = new RateLimitedError(
    "rate limited: more certificates are asked for than CSRMaxPerSecond allows, try again",
  );
  /** How long the next one would wait. */
  const wait = (perSecond: number): number => {
    const now = clock.now();
    // A clock that was set back must not keep everybody waiting.
    if (nextTurn > now + MAX_WAIT_MS + 1_000 / perSecond) nextTurn = now;
    const waitMs = Math.max(0, nextTurn - now);
    if (waitMs <= MAX_WAIT_MS) return waitMs;
    throw tooMany;
  };
  return {
    check(perSecond) {
      if (perSecond > 0) wait(perSecond);
    },
    async take(perSecond) {
      if (perSecond <= 0) return;
      const now = clock.now();
      const waitMs = wait(perSecond);
      nextTurn = Math.max(now, nextTurn) + 1_000 / perSecond;
      if (waitMs > 0) await new Promise<void>((resolve) => clock.after(waitMs, resolve));
    },
  };
}
