import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import { createApiClient } from "./client.ts";
import { readWatchPlan, watchChanges } from "./watch-changes.ts";
import { parseWatchPlan } from "./watch-plan.ts";

describe("the parameters of a watch", () => {
  it.each([
    [{ type: "key", key: "a b/c" }, "/v1/kv/a%20b/c", { stale: false }],
    [{ type: "keyprefix", prefix: "a/" }, "/v1/kv/a/", { recurse: true, stale: false }],
    [{ type: "services", datacenter: "dc2", stale: true }, "/v1/catalog/services", { dc: "dc2", stale: true }],
    [
      { type: "service", service: "web", tag: ["a", "b"], passingonly: true },
      "/v1/health/service/web",
      { tag: ["a", "b"], passing: true, stale: false },
    ],
    [{ type: "service", service: "w", tag: "a" }, "/v1/health/service/w", { tag: ["a"], passing: false, stale: false }],
    [{ type: "checks" }, "/v1/health/state/any", { stale: false }],
    [{ type: "checks", service: "web" }, "/v1/health/checks/web", { stale: false }],
    [{ type: "event", name: "deploy" }, "/v1/event/list", { name: "deploy" }],
    [{ type: "connect_roots" }, "/v1/agent/connect/ca/roots", {}],
    [{ type: "connect_leaf", service: "web" }, "/v1/agent/connect/ca/leaf/web", {}],
    [{ type: "agent_service", service_id: "web-1" }, "/v1/agent/service/web-1", {}],
  ])("%j reads %s", (parameters, path, query) => {
    expect(parseWatchPlan(parameters)).toMatchObject({ path, query });
  });

  it.each<[Record<string, unknown>, string]>([
    [{}, "Watch type must be specified"],
    [{ type: 1 }, "Expecting type to be a string"],
    [{ type: "constructor" }, "Unsupported watch type: constructor"],
    [{ type: "key" }, "Must specify a single key to watch"],
    [{ type: "key", key: 1 }, "Expecting key to be a string"],
    [{ type: "keyprefix" }, "Must specify a single prefix to watch"],
    [{ type: "service" }, "Must specify a single service to watch"],
    [{ type: "service", service: "a", tag: 1 }, "Expecting tag to be a string or []string"],
    [{ type: "service", service: "a", tag: ["a", 1] }, "Index 1 of tag expected to be string"],
    [{ type: "service", service: "a", passingonly: "true" }, "Expecting passingonly to be a boolean"],
    [{ type: "checks", service: "a", state: "any" }, "Cannot specify service and state"],
    [{ type: "nodes", key: "x", __proto__x: 1 }, "Invalid parameters: [key __proto__x]"],
  ])("%j is refused: %s", (parameters, message) => {
    expect(() => parseWatchPlan(parameters)).toThrow(message);
  });
});

it("a change is told once, and an event only if it is new", async () => {
  const answers = [
    { index: 1, body: [{ ID: "e1" }] },
    { index: 2, body: [{ ID: "e1" }] },
    { index: 3, body: [{ ID: "e1" }, { ID: "e2", Flags: "18446744073709551615" }] },
    { index: 4, body: [{ ID: "e2" }, { ID: "e3" }] },
  ];
  let asked = 0;
  const server = createServer((_req, res) => {
    const answer = answers[asked++];
    if (!answer) return; // blocks
    res.writeHead(200, { "Content-Type": "application/json", "X-Consul-Index": String(answer.index) });
    res.end(JSON.stringify(answer.body).replaceAll('"18446744073709551615"', "18446744073709551615"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const api = createApiClient({ address: `127.0.0.1:${(server.address() as AddressInfo).port}` });
  const controller = new AbortController();
  try {
    const told: [number, string][] = [];
    for await (const { index, json } of watchChanges(api, parseWatchPlan({ type: "event" }), {
      signal: controller.signal,
    })) {
      told.push([index, json]);
      if (told.length === 3) controller.abort();
    }
    expect(told).toEqual([
      [1, '[{"ID":"e1"}]'],
      [3, '[{"ID":"e2","Flags":18446744073709551615}]'],
      [4, '[{"ID":"e3"}]'],
    ]);
    asked = 2;
    expect((await readWatchPlan(api, parseWatchPlan({ type: "event" }))).json).toContain('"e1"');
  } finally {
    api.close();
    server.closeAllConnections();
    server.close();
  }
});
