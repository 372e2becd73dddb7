import { expect, it } from "vitest";
import { daysLeft, expiryStage, nextStageAt } from "./index.ts";

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const years = { notBefore: 0, notAfter: 3_650 * DAY_MS };
const leaf = { notBefore: 0, notAfter: 72 * HOUR_MS };

it.each([
  ["years before", years, 3_600 * DAY_MS, 0],
  ["at 30 days", years, 3_620 * DAY_MS, 1],
  ["at 14 days", years, 3_636 * DAY_MS, 2],
  ["at 7 days", years, 3_643 * DAY_MS, 3],
  ["at 1 day", years, 3_649 * DAY_MS, 4],
  ["at its end", years, 3_650 * DAY_MS, 5],
  ["before a tenth of a short life is left", leaf, 64.7 * HOUR_MS, 0],
  ["when a tenth of a short life is left", leaf, 64.8 * HOUR_MS, 1],
  ["at a seventh of that", leaf, 71.8 * HOUR_MS, 4],
  ["long after its end", leaf, 100 * HOUR_MS, 5],
])("%s a certificate is in the stage that is told", (_name, validity, now, stage) => {
  expect(expiryStage(validity, now)).toBe(stage);
});

it.each([years, leaf])("each stage begins when the one before said that it would", (validity) => {
  let now = 0;
  for (let stage = 0; stage < 5; stage++) {
    expect(expiryStage(validity, now)).toBe(stage);
    now = nextStageAt(validity, now) as number;
    expect(expiryStage(validity, now - 1)).toBe(stage);
  }
  expect(now).toBe(validity.notAfter);
  expect(nextStageAt(validity, now)).toBeUndefined();
});

it("days are counted to a tenth, and below zero when it is over", () => {
  expect([daysLeft(leaf, 0), daysLeft(leaf, 60 * HOUR_MS), daysLeft(leaf, 96 * HOUR_MS)]).toEqual([3, 0.5, -1]);
});
