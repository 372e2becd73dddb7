import { expect, test } from "vitest";
import { judgeSuspect, MAX_UNHEARD_MS, suspicionMs } from "./suspicion.ts";

test("the more agents confirm it, the sooner a node is declared failed", () => {
  expect([0, 1, 2, 3].map(suspicionMs)).toEqual([5_000, 3_000, 2_000, 2_000]);
});

test.each([
  ["just suspected", { suspectedMs: 0 }, "wait"],
  ["alone, until its time is over", { suspectedMs: 4_999 }, "wait"],
  ["alone, when its time is over", { suspectedMs: 5_000 }, "failed"],
  ["confirmed by one", { suspectedMs: 3_000, confirmations: 1 }, "failed"],
  ["confirmed by two, too early", { suspectedMs: 1_999, confirmations: 2 }, "wait"],
  ["confirmed by two", { suspectedMs: 2_000, confirmations: 2 }, "failed"],
  ["gone: its port is closed", { suspectedMs: 2_000, refusals: 3 }, "failed"],
  ["perhaps on its way back", { suspectedMs: 2_000, refusals: 2 }, "wait"],
  ["gone, but only for a moment", { suspectedMs: 1_999, refusals: 7 }, "wait"],
  ["reached by one, whatever others say", { suspectedMs: 3_000, confirmations: 2, isReached: true }, "wait"],
  ["reached: asked again", { suspectedMs: 5_000, isReached: true }, "ask"],
  ["reached, but silent for too long", { suspectedMs: 5_000, isReached: true, silentMs: MAX_UNHEARD_MS }, "failed"],
] as const)("%s", (_, given, verdict) => {
  expect(judgeSuspect({ silentMs: 6_000, confirmations: 0, refusals: 0, isReached: false, ...given })).toBe(verdict);
});
