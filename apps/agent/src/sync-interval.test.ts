import { expect, test } from "vitest";
import { syncIntervalMs } from "./sync-interval.ts";

test.each([
  [0, 1],
  [1, 1],
  [128, 1],
  [129, 2],
  [256, 2],
  [512, 3],
  [1_000, 4],
  [10_000, 8],
])("%i nodes sync every %i minutes", (nodes, minutes) => {
  expect(syncIntervalMs(nodes)).toBe(minutes * 60_000);
});
