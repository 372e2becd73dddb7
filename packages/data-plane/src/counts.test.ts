import { describe, expect, test } from "vitest";
import { createCounts, createSharedCounts, forgetThread, shareOf, sharedMemory } from "./counts.ts";

const kinds = [
  ["for one thread", () => createCounts()],
  ["for several", () => createSharedCounts(sharedMemory(2), 1)],
] as const;

describe.each(kinds)("counts %s", (_name, make) => {
  test("go up and down by key, and tell what it is now", () => {
    const counts = make();
    expect([counts.add("a", 1), counts.add("a", 1), counts.add("b", 1), counts.add("a", -1)]).toEqual([1, 2, 1, 1]);
    expect([counts.of("a"), counts.of("b"), counts.of("c")]).toEqual([1, 1, 0]);
  });
});

test("threads see what the others count, and not what one counted that is gone", () => {
  const memory = sharedMemory(3);
  const [one, two, three] = [0, 1, 2].map((thread) => createSharedCounts(memory, thread));
  for (const counts of [one, two, three]) counts?.name("a", 7);
  one?.add("a", 1);
  two?.add("a", 1);
  expect(three?.add("a", 1)).toBe(3);
  forgetThread(memory, 1);
  expect(one?.of("a")).toBe(2);
});

test("a key with a column of its own is counted with no other, whatever addresses come", () => {
  const counts = createSharedCounts(sharedMemory(1), 0);
  counts.name("db inbound", 3);
  for (let i = 0; i < 20_000; i++) counts.add(`source 10.0.${i >> 8}.${i & 255}`, 1);
  expect(counts.of("db inbound")).toBe(0);
});

test.each([1, 4, 40, 1_000])("%d addresses that take all they get leave room for another", (addresses) => {
  const [all, configured] = [4_096, 1_024];
  const counts = createCounts();
  const take = (address: string): boolean => {
    if (counts.of(address) >= shareOf(configured, all - counts.of("all"))) return false;
    counts.add(address, 1);
    counts.add("all", 1);
    return true;
  };
  const names = Array.from({ length: addresses }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
  while (names.filter(take).length > 0);
  expect(counts.of("all")).toBeLessThan(all);
  expect(take("192.0.2.1")).toBe(true);
  if (addresses === 1) expect(counts.of("10.0.0.0")).toBe(configured);
});
