/** Waiting for conditions. */
import { setTimeout as pause } from "node:timers/promises";

const POLL_MS = 50;

/** Resolves when `condition` holds; rejects after `timeoutMs`, or at once with what it throws. */
export async function until(
  what: string,
  timeoutMs: number,
  condition: () => Promise<boolean> | boolean,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`timed out after ${timeoutMs} ms waiting for ${what}`);
    await pause(POLL_MS);
  }
}
