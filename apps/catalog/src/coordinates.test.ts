import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Coordinate, distance, ORIGIN } from "./coordinates.ts";

const at = (x: number, more: Partial<Coordinate> = {}): Coordinate => ({
  Vec: [x, 0, 0, 0, 0, 0, 0, 0],
  Error: 0.1,
  Adjustment: 0,
  Height: 0.001,
  ...more,
});

describe("the distance of two coordinates", () => {
  test.each([
    [at(0), at(0.5), 0.502],
    [at(0), at(0), 0.002],
    [at(0, { Adjustment: 0.1 }), at(0.5), 0.602],
    [at(0, { Adjustment: -2 }), at(0.5), 0.502], // what would be below zero is left as it was measured
    [ORIGIN, ORIGIN, 2e-5],
  ])("%j to %j", (a, b, seconds) => {
    expect(distance(a, b)).toBeCloseTo(seconds, 9);
  });

  test("is the same both ways", () => {
    const number = fc.double({ min: -10, max: 10, noNaN: true });
    fc.assert(
      fc.property(number, number, number, (x, y, z) => {
        const [a, b] = [at(x), at(y, { Adjustment: z })];
        return Math.abs(distance(a, b) - distance(b, a)) < 1e-9;
      }),
    );
  });
});
