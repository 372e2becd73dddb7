import * as fc from "fast-check";
import { expect, test } from "vitest";
import { attemptBudgetMs, pickOrder, toEndpoints, toQueryEndpoints } from "./endpoints.ts";

test("an instance's own address counts before its node's, and what cannot be dialled is left out", () => {
  const entries = [
    { Node: { Node: "n", Address: "10.0.0.1" }, Service: { ID: "a", Address: "", Port: 1 } },
    { Node: { Node: "n", Address: "10.0.0.1" }, Service: { ID: "b", Address: "10.0.0.2", Port: 2 } },
    { Node: { Node: "n", Address: "10.0.0.1" }, Service: { ID: "c", Port: 0 } },
    { Service: { ID: "d", Port: 3 } },
  ];
  expect(toEndpoints(entries)).toEqual([
    { host: "10.0.0.1", port: 1, id: "a", node: "n" },
    { host: "10.0.0.2", port: 2, id: "b", node: "n" },
  ]);
});

test("an instance of a query's answer has to be the service that its proxy stands for", () => {
  const Node = { Node: "n", Address: "10.0.0.1", Datacenter: "dc2" };
  const proxy = { ID: "p", Kind: "connect-proxy", Service: "p", Port: 1, Proxy: { DestinationServiceName: "db" } };
  const Nodes = [
    { Node, Service: proxy },
    { Node: { ...Node, Datacenter: "" }, Service: { ID: "native", Service: "db", Port: 2 } },
    { Node, Service: { ...proxy, Proxy: {} } },
    { Node, Service: { ...proxy, Port: 0 } },
  ];
  expect(toQueryEndpoints({ Nodes, Datacenter: "dc1" })).toEqual([
    { host: "10.0.0.1", port: 1, id: "p", node: "n", service: { name: "db", datacenter: "dc2" } },
    { host: "10.0.0.1", port: 2, id: "native", node: "n", service: { name: "db", datacenter: "dc1" } },
  ]);
  expect(toQueryEndpoints({ Nodes: null })).toEqual([]);
});

test("every endpoint is tried once, and each is first about equally often", () => {
  const endpoints = ["a", "b", "c", "d"].map((id, i) => ({ id, node: "n", host: "h", port: i + 1 }));
  const first = new Map<string, number>();
  for (let i = 0; i < 4_000; i++) {
    const order = pickOrder(endpoints);
    expect(order.map((e) => e.id).sort()).toEqual(["a", "b", "c", "d"]);
    const { id } = order[0] as { id: string };
    first.set(id, (first.get(id) ?? 0) + 1);
  }
  for (const count of first.values()) expect(Math.abs(count - 1_000)).toBeLessThan(200);
});

test("an attempt never gets more than what is left, nor less than its share", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.1, max: 60_000, noNaN: true }), fc.integer({ min: 1, max: 100 }), (left, n) => {
      const budget = attemptBudgetMs(left, n);
      expect(budget).toBeLessThanOrEqual(left);
      expect(budget).toBeGreaterThanOrEqual(left / n - 1e-9);
    }),
  );
});

test("one that fails again and again gets a second where others follow, and what is left where it is the last", () => {
  expect(attemptBudgetMs(10_000, 2, true)).toBe(1_000);
  expect(attemptBudgetMs(600, 3, true)).toBe(200);
  expect(attemptBudgetMs(10_000, 1, true)).toBe(10_000);
});
