import { expect, test } from "vitest";
import { createGrowth } from "./growth.ts";

const looks = (...each: [loads: number[], idleCores: number][]) => {
  const growth = createGrowth();
  return each.map(([loads, idleCores]) => growth.look(loads, idleCores));
};

test("one more after three busy looks in a row, and then only after three more", () => {
  expect(looks([[1], 1], [[0.9], 1], [[0.8], 1], [[1], 1], [[1], 1], [[1], 1])).toEqual([
    false,
    false,
    true,
    false,
    false,
    true,
  ]);
});

test("none while one of them has time, which begins the count anew", () => {
  expect(looks([[1, 1], 1], [[1, 1], 1], [[1, 0.5], 1], [[1, 1], 1], [[1, 1], 1])).not.toContain(true);
});

test("none on a machine that has nothing left, and one as soon as it has", () => {
  expect(looks([[1], 0], [[1], 0.1], [[1], 0.2], [[1], 0.2], [[1], 0.3])).toEqual([false, false, false, false, true]);
});
