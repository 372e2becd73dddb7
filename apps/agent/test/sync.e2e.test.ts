import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { createApiClient } from "@heddle/api-client";
import { createLogHub, silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { parseServiceDefinition } from "@heddle/service-definition";
import { openStore } from "@heddle/store";
import { expect, test } from "vitest";
import { CatalogSync } from "../src/catalog-sync.ts";
import { LocalState } from "../src/local-state.ts";

// The agent's own code against a small catalog of this test: apps never import each other. The real ones meet in test-e2e.
type Call = { path: string; body: Record<string, unknown> };
type Held = { ID: string; Owner: string };
type Registration = { Service?: { ID: string }; Checks: { CheckID: string }[] };

async function fakeCatalog() {
  const { createServer: createHttp } = await import("node:http");
  const calls: Call[] = [];
  let held: Held[] = [];
  let changed: string[] = [];
  const server = createHttp((req, res) => {
    let text = "";
    req.on("data", (chunk: Buffer) => (text += chunk.toString()));
    req.on("end", () => {
      const path = req.url ?? "";
      res.setHeader("Content-Type", "application/json");
      if (req.method === "GET") return res.end(JSON.stringify({ Services: held, Checks: [], Members: 1 }));
      const body: unknown = JSON.parse(text);
      if (!Array.isArray(body)) {
        calls.push({ path, body: body as Call["body"] });
        return res.end("true");
      }
      for (const one of body as Call["body"][]) calls.push({ path, body: one });
      const outcomes = (body as Registration[]).map(({ Service, Checks }) => ({
        ...(Service && { Service: changed }),
        Checks: Object.fromEntries(Checks.map(({ CheckID }) => [CheckID, []])),
      }));
      res.end(JSON.stringify(outcomes));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    hold: (...services: Held[]) => {
      held = services;
    },
    /** From now on, services are found to differ in these fields. */
    change: (...fields: string[]) => {
      changed = fields;
    },
    close: () => server.closeAllConnections(),
    end: () => server.close(),
  };
}

async function setUp(address: string, log = silentLog) {
  const store = await openStore({ dataDir: "", name: "agent", log: silentLog });
  const state = new LocalState({ store, nodeName: "n1", clock: new ManualClock(), log: silentLog });
  const catalog = createApiClient({ address });
  const node = { ID: "", Node: "n1", Address: "10.0.0.1", TaggedAddresses: {}, NodeMeta: {} };
  const sync = new CatalogSync({ catalog, state, node: () => node, checkUpdateIntervalMs: 300_000, log });
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

test("what an agent put there and this one does not know is taken out, what somebody else registered is left alone", async () => {
  const catalog = await fakeCatalog();
  catalog.hold({ ID: "foreign", Owner: "" }, { ID: "lost", Owner: "agent" }, { ID: "of-a-file", Owner: "file" });
  const { sync, stop } = await setUp(catalog.address);
  await expect.poll(() => sync.health().ready).toBe(true);
  const removed = catalog.calls.filter((c) => c.path.endsWith("/deregister")).map((c) => c.body["ServiceID"]);
  expect(removed).toEqual(["lost", "of-a-file"]);
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

test("what others changed is put right at the next full sync, and logged; what changed here is not", async () => {
  const catalog = await fakeCatalog();
  const hub = createLogHub({ level: "warn", json: false, write: () => {} });
  const said: string[] = [];
  hub.tap("warn", ({ sentence, fields }) => said.push(`${sentence} ${JSON.stringify(fields)}`));
  const { state, sync, stop } = await setUp(catalog.address, hub.log);
  await state.addServices([local({ Name: "web", Port: 1 })]);
  await expect.poll(() => sync.health().ready).toBe(true);
  catalog.change("Port");
  await state.addServices([local({ Name: "web", Port: 2 })]);
  await sync.flush();
  expect(said).toEqual([]);
  sync.resync();
  await expect
    .poll(() => said)
    .toEqual([
      'a service of this node was changed in the catalog by others, putting it right {"service":"web","fields":"Port"}',
    ]);
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
