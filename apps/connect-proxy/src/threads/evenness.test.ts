import { expect, test } from "vitest";
import { createEvenness } from "./evenness.ts";

test("the thread that works beside idle ones is named three times in a row, and then ever more rarely", () => {
  const evenness = createEvenness();
  const named = Array.from({ length: 10 }, () => evenness.look([0.1, 0.9, 0.3]) === 1);
  const [yes, no] = [true, false];
  expect(named).toEqual([yes, yes, yes, no, yes, no, no, no, yes, no]);
});

test("nobody where all work, or none does; what was even is tried anew, an idle while says nothing", () => {
  const evenness = createEvenness();
  for (const loads of [[0.9], [0.4, 0], [0.9, 0.3]]) expect(evenness.look(loads)).toBeUndefined();
  for (let i = 0; i < 4; i++) evenness.look([1, 0]);
  evenness.look([0, 0]);
  expect(evenness.look([1, 0])).toBe(0);
  expect(evenness.look([1, 0])).toBeUndefined();
  evenness.look([0.8, 0.7]);
  expect(evenness.look([1, 0])).toBe(0);
});
