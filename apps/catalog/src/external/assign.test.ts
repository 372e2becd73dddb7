import { expect, test } from "vitest";
import { assign } from "./assign.ts";

const nodes = Array.from({ length: 1_000 }, (_, i) => `node-${i}`);
const ownerOf = (checkers: string[]) =>
  new Map([...assign(nodes, checkers)].flatMap(([id, share]) => share.map((node) => [node, id] as const)));

test("every node has one checker, and shares are of about one size", () => {
  const shares = assign(nodes, ["a", "b", "c", "d"]);
  expect([...shares.values()].flat().toSorted()).toEqual(nodes.toSorted());
  for (const share of shares.values()) expect(share.length).toBeGreaterThan(150);
});

test("a checker that goes moves its own share alone, and gets the same one back", () => {
  const before = ownerOf(["a", "b", "c"]);
  const without = ownerOf(["a", "c"]);
  for (const [node, id] of before) if (id !== "b") expect(without.get(node)).toBe(id);
  expect(ownerOf(["c", "b", "a"])).toEqual(before);
});

test("without checkers nobody probes", () => expect(assign(nodes, []).size).toBe(0));
