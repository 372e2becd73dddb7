/** How many are signed at once: a caller waits briefly for its turn and is refused otherwise. */
import { type Clock, RateLimitedError } from "@heddle/daemon";

const MAX_WAIT_MS = 500; // Consul's csrLimitWait
const MAX_WAITING = 10_000;

export interface ConcurrencyLimit {
  /** Runs `work` with at most `limit` at once; 0 is no limit. Throws RateLimitedError when no turn comes within half a second. */
  run<T>(limit: number, work: () => Promise<T>): Promise<T>;
}

export function createConcurrencyLimit(clock: Clock): ConcurrencyLimit {
  const waiting: (() => void)[] = [];
  let running = 0;
  const turn = () =>
    new Promise<void>((resolve, reject) => {
      const refuse = () =>
        reject(
          new RateLimitedError(
            "rate limited: more certificates are asked for at once than CSRMaxConcurrent allows, try again",
          ),
        );
      if (waiting.length >= MAX_WAITING) return refuse();
      const take = () => {
        timer.cancel();
        resolve();
      };
      const timer = clock.after(MAX_WAIT_MS, () => {
        waiting.splice(waiting.indexOf(take), 1);
        refuse();
      });
      waiting.push(take);
    });
  return {
    async run(limit, work) {
      // Who waits is given the place of one that has ended, so that nobody who comes just then can take it.
      if (limit > 0 && running >= limit) await turn();
      else running++;
      try {
        return await work();
      } finally {
        const next = waiting.shift();
        if (next) next();
        else running--;
      }
    },
  };
}
