import { expect, test } from "vitest";
import { damp, type Flapping, HALF_LIFE_MS, MAX_PENALTY, NOT_FLAPPING } from "./flapping.ts";

/** Failures every `everyMs`, from time 0 on. */
function fail(times: number, everyMs: number): Flapping {
  let state = NOT_FLAPPING;
  for (let i = 0; i < times; i++) state = damp(state, i * everyMs, true);
  return state;
}

test.each([
  [1, 10_000, false],
  [4, 1_000, false],
  [5, 1_000, true],
  [6, 10_000, true],
  [100, 300_000, false],
])("%i failures, one each %i ms: suppressed %s", (times, everyMs, isSuppressed) => {
  expect(fail(times, everyMs).isSuppressed).toBe(isSuppressed);
});

test("decays by half a minute, and counts again only below the second threshold", () => {
  const state = fail(5, 0);
  expect(state).toEqual({ penalty: 5_000, at: 0, isSuppressed: true });
  expect(damp(state, HALF_LIFE_MS, false)).toEqual({ penalty: 2_500, at: HALF_LIFE_MS, isSuppressed: true });
  expect(damp(state, 2 * HALF_LIFE_MS, false).isSuppressed).toBe(false);
  expect(damp(state, -HALF_LIFE_MS, false).penalty).toBe(5_000); // a clock that was put back
});

test("whatever it did, it counts again three minutes after its last failure", () => {
  const state = fail(1_000, 100);
  expect(state.penalty).toBe(MAX_PENALTY);
  expect(damp(state, state.at + 3 * HALF_LIFE_MS + 1, false).isSuppressed).toBe(false);
});
