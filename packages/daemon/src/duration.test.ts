import * as fc from "fast-check";
import { expect, test } from "vitest";
import { InvalidArgumentError } from "./errors.ts";
import { formatDuration, parseDuration } from "./duration.ts";

const NS_PER_MS = 1e6;

test.each([
  ["0", 0],
  ["-0", 0],
  ["10s", 10_000],
  ["1h30m", 5_400_000],
  ["1.5h", 5_400_000],
  [".5s", 500],
  ["1.s", 1_000],
  ["+5m", 300_000],
  ["-1.5s", -1_500],
  ["250ms", 250],
  ["3us4µs5μs", 0.012],
  ["1ns", 1e-6],
  ["9223372036s", 9_223_372_036_000],
])("%s is %d ms", (text, ms) => {
  expect(parseDuration(text)).toBeCloseTo(ms, 9);
});

test.each([
  "",
  " ",
  "1",
  "s",
  ".s",
  ".",
  "-",
  "+-1s",
  "1e3s",
  "1 s",
  "1S",
  "10s ",
  "1d",
  "0x1s",
  "9223372037s",
  "1".repeat(400),
])("'%s' is none", (text) => {
  expect(() => parseDuration(text)).toThrow(InvalidArgumentError);
});

test("whatever the text, it is a finite duration or an InvalidArgumentError", () => {
  const piece = fc.oneof(
    fc.constantFrom("1", ".", "-", "h", "ms", "µs", "ns", "e", "9".repeat(20)),
    fc.string({ maxLength: 3 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      try {
        expect(Number.isFinite(parseDuration(pieces.join("")))).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidArgumentError);
      }
    }),
    { seed: 20_261_124, numRuns: 5_000 },
  );
});

test("what is written is read, to the nanosecond", () => {
  fc.assert(
    fc.property(fc.integer({ min: -4e15, max: 4e15 }), (ns) => {
      expect(Math.round(parseDuration(formatDuration(ns / NS_PER_MS)) * NS_PER_MS)).toBe(ns === 0 ? 0 : ns);
    }),
    { seed: 20_261_124, numRuns: 2_000 },
  );
});
