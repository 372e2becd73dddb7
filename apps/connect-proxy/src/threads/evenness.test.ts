import { expect, test } from "vitest";
import { createEvenness } from "./evenness.ts";

test("the thread that works beside idle ones is named, then after two looks more, then after four", () => {
  const evenness = createEvenness();
  const named = Array.from({ length: 8 }, () => evenness.look([0.1, 0.9, 0.3]));
  expect(named).toEqual([1, undefined, 1, undefined, undefined, undefined, 1, undefined]);
});

test("nobody where all work, or none does; what was even for a while is tried anew at once", () => {
  const evenness = createEvenness();
  for (const loads of [[0.9], [0.4, 0], [0.9, 0.3]]) expect(evenness.look(loads)).toBeUndefined();
  for (let i = 0; i < 7; i++) evenness.look([1, 0]);
  expect(evenness.look([0.8, 0.7])).toBeUndefined();
  expect(evenness.look([1, 0])).toBe(0);
});
