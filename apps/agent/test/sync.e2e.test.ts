import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { createApiClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { parseServiceDefinition } from "@heddle/service-definition";
import { openStore } from "@heddle/store";
import { expect, test } from "vitest";
import { CatalogSync } from "../src/catalog-sync.ts";
import { LocalState } from "../src/local-state.ts";

// The agent's own code against a small catalog of this test: apps never import each other. The real ones meet in test-e2e.
type Call = { path: string; body: Record<string, unknown> };

async function fakeCatalog() {
  const { createServer: createHttp } = await import("node:http");
  const calls: Call[] = [];
  let held: Record<string, unknown> = {};
  const server = createHttp((req, res) => {
    let text = "";
    req.on("data", (chunk: Buffer) => (text += chunk.toString()));
    req.on("end", () => {
      const path = req.url ?? "";
      res.setHeader("Content-Type", "application/json");
      if (req.method === "GET")
        return res.end(JSON.stringify(path.startsWith("/v1/catalog/node/") ? { Services: held } : []));
      calls.push({ path, body: JSON.parse(text) as Call["body"] });
      res.end("true");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    hold: (services: Record<string, unknown>) => {
      held = services;
    },
    close: () => server.closeAllConnections(),
    end: () => server.close(),
  };
}

async function setUp(address: string) {
  const store = await openStore({ dataDir: "", name: "agent", log: silentLog });
  const state = new LocalState({ store, nodeName: "n1", clock: new ManualClock(), log: silentLog });
  const catalog = createApiClient({ address });
  const node = { ID: "", Node: "n1", Address: "10.0.0.1", TaggedAddresses: {}, NodeMeta: {} };
  const sync = new CatalogSync({ catalog, state, node, checkUpdateIntervalMs: 300_000, log: silentLog });
  const stop = new AbortController();
  const running = sync.run(stop.signal);
  return {
    state,
    sync,
    async stop() {
      stop.abort(new Error("over"));
      await running;
      catalog.close();
    },
  };
}

const local = (body: object) => ({ definition: parseServiceDefinition(body), source: "api" as const });

test("a change is in the catalog when flush resolves", async () => {
  const catalog = await fakeCatalog();
  const { state, sync, stop } = await setUp(catalog.address);
  await expect.poll(() => sync.health().ready).toBe(true);
  await state.addServices([local({ Name: "web", Check: { TTL: "1m" } })]);
  await sync.flush();
  expect(catalog.calls.at(-1)?.body).toMatchObject({ Service: { ID: "web" }, Checks: [{ CheckID: "service:web" }] });
  await state.removeService("web");
  await sync.flush();
  expect(catalog.calls.slice(-2).map((c) => c.body)).toContainEqual({ Node: "n1", ServiceID: "web" });
  await stop();
  catalog.end();
});

test("what somebody else registered on this node is left alone", async () => {
  const catalog = await fakeCatalog();
  catalog.hold({ foreign: { ID: "foreign", Service: "foreign" } });
  const { sync, stop } = await setUp(catalog.address);
  await expect.poll(() => sync.health().ready).toBe(true);
  expect(catalog.calls.filter((c) => c.path.endsWith("/deregister"))).toEqual([]);
  await stop();
  catalog.end();
});

test("output alone is not brought to the catalog at once, a status is", async () => {
  const catalog = await fakeCatalog();
  const { state, sync, stop } = await setUp(catalog.address);
  await state.addServices([local({ Name: "web", Check: { CheckID: "c", TTL: "1m" } })]);
  await expect.poll(() => sync.health().ready).toBe(true);
  state.setCheckState("c", "passing", "1");
  await sync.flush();
  const count = catalog.calls.length;
  state.setCheckState("c", "passing", "2");
  await sync.flush();
  expect(catalog.calls).toHaveLength(count);
  state.setCheckState("c", "warning", "3");
  await sync.flush();
  expect(catalog.calls.at(-1)?.body).toMatchObject({ Checks: [{ Status: "warning", Output: "3" }] });
  await stop();
  catalog.end();
});

test("while the catalog is away the agent goes on, is not ready, and says why", async () => {
  const placeholder = createServer();
  placeholder.listen(0, "127.0.0.1");
  await once(placeholder, "listening");
  const { port } = placeholder.address() as AddressInfo;
  placeholder.close();
  const { state, sync, stop } = await setUp(`http://127.0.0.1:${port}`);
  await state.addServices([local({ Name: "web" })]);
  await sync.flush();
  await expect.poll(() => sync.health().details).toContain("connection refused");
  expect(sync.health().ready).toBe(false);
  await stop();
});
