import { expect, it } from "vitest";
import { dateProblem, formatSpan } from "./clocks.ts";

const NOW = Date.parse("2026-03-01T12:00:00Z");
const MINUTE_MS = 60_000;
const validity = (from: number, to: number) => ({ notBefore: NOW + from * MINUTE_MS, notAfter: NOW + to * MINUTE_MS });

it("a certificate that is valid has no problem, from its first to its last millisecond", () => {
  for (const dates of [validity(-1, 1), validity(0, 1), validity(-1, 0)])
    expect(dateProblem(dates, NOW)).toBeUndefined();
});

it("one that is not says which way the clocks are apart, and by how much", () => {
  expect(dateProblem(validity(9, 60), NOW)).toBe(
    "is not valid before 2026-03-01T12:09:00.000Z, 9 min from now by the clock here: that one is behind, or the CA's is ahead",
  );
  expect(dateProblem(validity(-60, -10), NOW)).toBe(
    "expired at 2026-03-01T11:50:00.000Z, 10 min ago by the clock here",
  );
});

it.each([
  [999, "0 s"],
  [119_999, "119 s"],
  [120_000, "2 min"],
  [7_199_999, "119 min"],
  [7_200_000, "2 h"],
  [172_800_000, "2 days"],
])("%i ms is %s", (ms, text) => {
  expect(formatSpan(ms)).toBe(text);
});
