/** Keeps exactly the wanted watches running: each has a key, and a key's loop starts when wanted and stops when not. */

export type WatchLoop = (signal: AbortSignal) => Promise<void>;

export interface WatchSet {
  /** Starts what is new, stops what is gone, leaves the rest alone. */
  want(loops: Map<string, WatchLoop>): void;
  close(): Promise<void>;
}

export function createWatchSet(onFailure: (key: string, error: unknown) => void): WatchSet {
  const running = new Map<string, AbortController>();
  const loops = new Set<Promise<void>>();
  let isClosed = false;
  const stop = (key: string) => {
    running.get(key)?.abort(new Error("no longer wanted"));
    running.delete(key);
  };
  return {
    want(wanted) {
      if (isClosed) return;
      for (const key of running.keys()) if (!wanted.has(key)) stop(key);
      for (const [key, loop] of wanted) {
        if (running.has(key)) continue;
        const controller = new AbortController();
        running.set(key, controller);
        const done: Promise<void> = loop(controller.signal)
          .catch((error: unknown) => {
            if (!controller.signal.aborted) onFailure(key, error);
          })
          .finally(() => loops.delete(done));
        loops.add(done);
      }
    },
    async close() {
      isClosed = true;
      for (const key of running.keys()) stop(key);
      await Promise.all(loops);
    },
  };
}
