import { expect, test } from "vitest";
import { createGrowth } from "./growth.ts";

const looks = (...each: [loads: number[], idleCores: number][]) => {
  const growth = createGrowth();
  return each.map(([loads, idleCores]) => growth.look(loads, idleCores));
};

test("a second one as soon as the first works, however full the machine is", () => {
  expect(looks([[0.1], 1], [[0.3], 0])).toEqual([false, true]);
});

test("a third after three busy looks in a row, and then only after three more", () => {
  const busy = [1, 0.8];
  expect(looks([busy, 1], [busy, 1], [busy, 1], [busy, 1], [busy, 1], [busy, 1])).toEqual([
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
  const busy = [1, 1];
  expect(looks([busy, 0], [busy, 0.1], [busy, 0.2], [busy, 0.2], [busy, 0.3])).toEqual([
    false,
    false,
    false,
    false,
    true,
  ]);
});
