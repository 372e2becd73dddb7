import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Topics, type Waiter } from "./topics.ts";

const touchKey = (topics: Topics, key: string, revision: number, deleted = false): Set<Waiter> => {
  const woken = new Set<Waiter>();
  topics.touchKey(key, revision, deleted, woken);
  return woken;
};

describe("topics", () => {
  it("start at the store's revision, and at 1 in an empty store", () => {
    expect(new Topics(0).index(["service/web"])).toBe(1);
    expect(new Topics(42).index(["service/web"])).toBe(42);
  });

  it("wake a waiter once for a commit that touches several of its topics", () => {
    const topics = new Topics(1);
    const waiter: Waiter = { topics: ["a", "b"], wake: () => {} };
    const off = topics.wait(waiter);
    const woken = new Set<Waiter>();
    topics.touch("a", 2, woken);
    topics.touch("b", 2, woken);
    topics.touch("c", 2, woken);
    expect([...woken]).toEqual([waiter]);
    off();
    expect(topics.waiting).toBe(0);
  });

  it("let a key's write wake who waits on the key or on a prefix of it, and nobody else", () => {
    const topics = new Topics(1);
    const key = topics.keyTopic("app/db/url", 0);
    const prefix = topics.prefixTopic("app/d", () => 0);
    const other = topics.prefixTopic("app/x", () => 0);
    const waiters = [key, prefix, other].map((topic): Waiter => ({ topics: [topic], wake: () => {} }));
    for (const waiter of waiters) topics.wait(waiter);
    expect([...touchKey(topics, "app/db/url", 7)]).toEqual(waiters.slice(0, 2));
    expect(topics.index([key])).toBe(7);
    expect(topics.index([other])).toBe(1);
  });

  it("remember a deletion for a prefix that is asked for afterwards", () => {
    const topics = new Topics(1);
    touchKey(topics, "a/1", 5, true);
    expect(topics.index([topics.prefixTopic("a/", () => 3)])).toBe(5);
    expect(topics.index([topics.keyTopic("a/1", 0)])).toBe(5);
  });

  it("never let the index of a question go back, whatever is written, deleted, asked and forgotten", () => {
    const step = fc.record({ key: fc.constantFrom("a", "a/b", "a/c", "b", "b/c/d"), deleted: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom("", "a", "a/", "b/"), (steps, prefix) => {
        const topics = new Topics(1);
        const live = new Map<string, number>();
        const newest = () =>
          Math.max(0, ...[...live].filter(([k]) => k.startsWith(prefix)).map(([, revision]) => revision));
        let revision = 1;
        let last = 0;
        for (const { key, deleted } of steps) {
          revision++;
          if (deleted) live.delete(key);
          else live.set(key, revision);
          touchKey(topics, key, revision, deleted);
          const index = topics.index([topics.prefixTopic(prefix, newest)]);
          expect(index).toBeGreaterThanOrEqual(last);
          if (key.startsWith(prefix)) expect(index).toBe(revision);
          last = index;
        }
      }),
      { seed: 20261122 },
    );
  });
});
