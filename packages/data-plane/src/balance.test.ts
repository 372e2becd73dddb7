import { expect, test } from "vitest";
import { createBalancer, type Instance } from "./balance.ts";
import type { Endpoint } from "./endpoints.ts";

const endpoint = (id: string, weight?: number): Endpoint => ({
  id,
  node: "n",
  host: id,
  port: 1,
  ...(weight && { weight }),
});

/** A balancer whose clock is moved by hand. */
function balancer() {
  const clock = { ms: 1_000_000 };
  return { clock, balance: createBalancer({ now: () => clock.ms }) };
}

/** How often each instance is chosen while connections stay open. */
function spread(
  count: number,
  balance: ReturnType<typeof createBalancer>,
  endpoints: Endpoint[],
): Record<string, number> {
  const chosen: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const first = balance.order(endpoints)[0] as Instance;
    first.active++;
    chosen[first.endpoint.id] = (chosen[first.endpoint.id] ?? 0) + 1;
  }
  return chosen;
}

const fail = (balance: ReturnType<typeof createBalancer>, instance: Instance, times: number) =>
  Array.from({ length: times }, () => balance.failed(instance)).at(-1);

const find = (balance: ReturnType<typeof createBalancer>, endpoints: Endpoint[], id: string): Instance =>
  balance.order(endpoints).find((i) => i.endpoint.id === id) as Instance;

test("open connections spread evenly, and by weight", () => {
  const even = spread(
    300,
    balancer().balance,
    ["a", "b", "c"].map((id) => endpoint(id)),
  );
  for (const id of ["a", "b", "c"]) expect(Math.abs((even[id] ?? 0) - 100)).toBeLessThan(10);
  const weighted = spread(400, balancer().balance, [endpoint("heavy", 3), endpoint("light")]);
  expect(Math.abs((weighted.heavy ?? 0) - 300)).toBeLessThan(10);
});

test("every instance is in the order, once", () => {
  const { balance } = balancer();
  const endpoints = ["a", "b", "c", "d"].map((id) => endpoint(id));
  fail(balance, find(balance, endpoints, "b"), 3);
  for (let i = 0; i < 50; i++) {
    const ids = balance.order(endpoints).map(({ endpoint: { id } }) => id);
    expect(ids.toSorted()).toEqual(["a", "b", "c", "d"]);
    expect(ids.at(-1)).toBe("b");
  }
});

test("three failures in a row leave an instance out, for longer each time; a success forgives", () => {
  const { balance, clock } = balancer();
  const endpoints = ["a", "b", "c"].map((id) => endpoint(id));
  const bad = find(balance, endpoints, "a");
  expect(fail(balance, bad, 2)).toBeUndefined();
  balance.worked(bad);
  expect(fail(balance, bad, 2)).toBeUndefined();
  expect(fail(balance, bad, 1)).toBe(1_000);
  expect(balance.counts()).toEqual({ healthy: 2, ejected: 1 });
  const times: (number | undefined)[] = [];
  for (let i = 0; i < 8; i++) {
    clock.ms = bad.ejectedUntil + 1;
    times.push(balance.failed(bad));
  }
  expect(times).toEqual([2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  clock.ms = bad.ejectedUntil + 1;
  balance.worked(bad);
  expect(balance.failed(bad)).toBeUndefined();
});

test("where most have failed, none is left out", () => {
  const { balance } = balancer();
  const endpoints = ["a", "b", "c"].map((id) => endpoint(id));
  for (const id of ["a", "b"]) fail(balance, find(balance, endpoints, id), 3);
  expect(Object.keys(spread(100, balance, endpoints)).toSorted()).toEqual(["a", "b", "c"]);
});

test("a new instance gets its share little by little, and what is known of the others stays", () => {
  const { balance, clock } = balancer();
  const old = ["a", "b"].map((id) => endpoint(id));
  spread(100, balance, old);
  const endpoints = [...old.map((e) => ({ ...e })), endpoint("new")];
  expect(find(balance, endpoints, "a").active).toBeGreaterThan(40);
  const cold = spread(30, balance, endpoints);
  expect(cold.new ?? 0).toBeLessThan(15);
  clock.ms += 60_000;
  const warm = spread(100, balance, endpoints);
  expect(warm.new ?? 0).toBeGreaterThan(35);
});

test("where so many fail that none is left out, one connection at a time tries each of those", () => {
  const { balance } = balancer();
  const endpoints = ["a", "b", "c"].map((id) => endpoint(id));
  for (const id of ["a", "b"]) fail(balance, find(balance, endpoints, id), 3);
  const isTried = (id: string) =>
    Array.from({ length: 100 }, () => balance.order(endpoints)[0]?.endpoint.id).includes(id);
  expect(["a", "b", "c"].map(isTried)).toEqual([true, true, true]);
  const a = find(balance, endpoints, "a");
  a.attempts++;
  expect(["a", "b", "c"].map(isTried)).toEqual([false, true, true]);
  expect(balance.order(endpoints)).toHaveLength(3);
  a.attempts--;
  balance.worked(a);
  expect([a, find(balance, endpoints, "b")].map((i) => balance.isDoubtful(i))).toEqual([false, true]);
});
