/** `-node`: one process for every sidecar of a node, as they come and go. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startFakeAgent } from "@heddle/data-plane/testing";
import { expect, onTestFinished, test } from "vitest";
import { deny, dialApp, freePort, isReady, isRefused, startProxy, startService, type TestProxy } from "./harness.ts";

async function startNode() {
  const dir = mkdtempSync(join(tmpdir(), "heddle-node-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const agent = await startFakeAgent();
  onTestFinished(() => agent.stop());
  /** Registers a sidecar of a service that answers with its name, with an upstream to each of the others. */
  const add = async (name: string, upstreams: Record<string, number> = {}) => {
    const service = await startService((socket) => {
      socket.on("data", (chunk: Buffer) => socket.write(`${name}:${chunk.toString()}`));
      socket.once("end", () => socket.end());
    });
    const port = await freePort();
    agent.change((state) => {
      state.services[`${name}-sidecar-proxy`] = {
        Kind: "connect-proxy",
        ID: `${name}-sidecar-proxy`,
        Port: port,
        Proxy: {
          DestinationServiceName: name,
          DestinationServiceID: name,
          LocalServicePort: service.port,
          Config: { bind_address: "127.0.0.1" },
          Upstreams: Object.entries(upstreams).map(([DestinationName, LocalBindPort]) => ({
            DestinationName,
            LocalBindPort,
          })),
        },
      };
      state.endpoints[name] = [{ host: "127.0.0.1", port }];
    });
  };
  const start = () => startProxy(["-node", `-state-dir=${dir}`], { agent: agent.address });
  return { agent, dir, add, start };
}

async function says(port: number, text: string): Promise<string> {
  const app = await dialApp(port);
  app.socket.write(text);
  await Promise.race([app.ended, expect.poll(() => app.received().length).toBeGreaterThan(0)]);
  app.socket.destroy();
  return app.received().toString();
}

const stands = (proxy: TestProxy, count: number) => {
  const states = () =>
    proxy.running
      .listeners()
      .map(({ name, address, error }) => (address ? "stands" : `${name}: ${error ?? "not yet"}`));
  return expect.poll(states).toEqual(Array.from({ length: count }, () => "stands"));
};

test("sidecars are served as long as they are registered, each as itself", async () => {
  const { agent, add, start } = await startNode();
  const [webToDb, apiToDb] = [await freePort(), await freePort()];
  await add("db");
  await add("web", { db: webToDb });
  // Registered itself: it is a process of its own.
  agent.change((state) => {
    state.services["alone-proxy"] = {
      Kind: "connect-proxy",
      ID: "alone-proxy",
      Proxy: { DestinationServiceName: "x" },
    };
  });
  const node = await start();
  await stands(node, 3);
  await isReady(node);
  expect(await says(webToDb, "hello")).toBe("db:hello");
  const { source, destination } = await node.logged("connection closed", { direction: "inbound" });
  expect([source, destination]).toEqual(["web", "db"]);

  await add("api", { db: apiToDb });
  await stands(node, 5);
  expect(await says(apiToDb, "hello")).toBe("db:hello");
  agent.change((state) => state.intentions.push(deny("web", "db")));
  await expect.poll(() => says(webToDb, "denied")).toBe("");
  expect(await says(apiToDb, "still")).toBe("db:still");

  const open = await dialApp(apiToDb);
  open.socket.write("open");
  await open.sawText("db:open");
  agent.change((state) => delete state.services["api-sidecar-proxy"]);
  await stands(node, 3);
  await isRefused(apiToDb);
  expect(await open.ended).toBe("ECONNRESET"); // after the drain time
  await add("api", { db: apiToDb });
  await stands(node, 5);
  expect(await says(apiToDb, "again")).toBe("db:again");
  expect(node.running.health().identity).toMatchObject({ ready: true });
});

test("it starts from what it saved while no agent answers", async () => {
  const { agent, dir, add, start } = await startNode();
  const webToDb = await freePort();
  await add("db");
  await add("web", { db: webToDb });
  await add("gone");
  const first = await start();
  await stands(first, 4);
  await expect.poll(() => readdirSync(dir).length).toBe(3);
  agent.change((state) => delete state.services["gone-sidecar-proxy"]);
  await expect.poll(() => readdirSync(dir).length).toBe(2);
  await first.running.close();
  await agent.stop();
  const second = await start();
  await stands(second, 3);
  expect(await says(webToDb, "saved")).toBe("db:saved");
  await agent.restart();
  agent.change((state) => state.intentions.push(deny("web", "db")));
  await expect.poll(() => says(webToDb, "denied")).toBe("");
});
