/**
 * How long this process has run, as a clock that counts for deadlines: it stands still while the process is stopped, and a
 * wall clock that jumps does not move it. Nobody is late because we were not there to hear of them.
 */
import type { Clock, Timer } from "@heddle/daemon";

export interface RunningTime {
  /** Milliseconds that were counted so far. */
  readonly now: number;
  close(): void;
}

/** Counts in ticks of `tickMs`, and calls `onTick` with each; a gap counts as two ticks at most. The caller closes it. */
export function startRunningTime(clock: Clock, tickMs: number, onTick: () => void): RunningTime {
  let time = 0;
  let tickedAt = clock.now();
  let timer: Timer | undefined;
  let isClosed = false;
  const arm = () => {
    timer = clock.after(tickMs, () => {
      const now = clock.now();
      time += Math.min(Math.max(now - tickedAt, 0), 2 * tickMs);
      tickedAt = now;
      onTick();
      if (!isClosed) arm();
    });
  };
  arm();
  return {
    get now() {
      return time;
    },
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}
