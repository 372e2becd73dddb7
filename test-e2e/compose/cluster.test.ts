/** docker-compose.cluster.yml for real, as compose.test.ts does the small one: it works, and goes on whichever server is killed. */
import { join } from "node:path";
import { hasEtcd } from "@heddle/store/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { root } from "./image.ts";
import { enter, type Inside } from "./inside.ts";
import { type Mesh, startMesh } from "./mesh.ts";
import { missingNamespaces } from "./needs.ts";
import { until } from "./until.ts";

const API = "http://127.0.0.1:8500";
const UPSTREAM = 9191; // echo, as web sees it
const WAIT_MS = 20_000;
const SERVERS = ["etcd-1", "etcd-2", "etcd-3", "catalog-1", "catalog-2", "catalog-3", "ca-1", "ca-2"];

const reason = hasEtcd ? missingNamespaces() : "needs etcd (Debian package etcd-server)";
if (reason) console.log(`cluster compose: skipped: ${reason}`);

let mesh: Mesh;
let nodes: Record<"a" | "b" | "c", Inside>;

beforeAll(async () => {
  if (reason) return;
  mesh = await startMesh(join(root, "docker-compose.cluster.yml"));
  const inside = (name: string) => enter(mesh.network.namespaces.get(`node-${name}`)?.pid as number);
  nodes = { a: inside("a"), b: inside("b"), c: inside("c") };
}, 90_000);

afterAll(async () => {
  for (const node of Object.values(nodes ?? {})) node.close();
  await mesh?.[Symbol.asyncDispose]();
}, 20_000);

beforeEach((ctx) => {
  if (reason) ctx.skip(reason);
});

/** A rule that is written at one node holds at another's proxies, and is taken back. */
async function propagates(from: Inside): Promise<void> {
  const rule = { SourceName: "web", DestinationName: "echo", Action: "deny" };
  let id = "";
  // The first try may meet the server that was just killed.
  await until("the rule to be written", WAIT_MS, async () => {
    const { status, text } = await from.http("POST", `${API}/v1/connect/intentions`, rule);
    if (status === 200) id = (JSON.parse(text) as { ID: string }).ID;
    return status === 200;
  });
  await until("the denial to hold", WAIT_MS, async () => (await nodes.b.talk(UPSTREAM, "?")) === "");
  await until("the rule to be gone", WAIT_MS, async () => {
    return (await from.http("DELETE", `${API}/v1/connect/intentions/${id}`)).status === 200;
  });
  await until("the way to be free", WAIT_MS, async () => (await nodes.b.talk(UPSTREAM, "?")) === "?");
}

/** A service that did not exist before gets its certificate. */
async function signs(service: string): Promise<void> {
  await until("a certificate", WAIT_MS, async () => {
    await nodes.a.http("PUT", `${API}/v1/agent/service/register`, { Name: service });
    const { status, text } = await nodes.a.http("GET", `${API}/v1/agent/connect/ca/leaf/${service}`);
    return status === 200 && text.includes("BEGIN CERTIFICATE");
  });
}

describe("the cluster's compose mesh", { timeout: 60_000 }, () => {
  test("comes up: three catalogs are one, and web talks to both echoes", async () => {
    const peers = () => nodes.a.get<string[]>(`${API}/v1/status/peers`);
    await until("three peers", WAIT_MS, async () => (await peers()).length === 3);
    expect(await peers()).toEqual(["catalog-1:8300", "catalog-2:8300", "catalog-3:8300"]);
    const health = () =>
      nodes.c.get<{ Healthy: boolean; FailureTolerance: number }>(`${API}/v1/operator/autopilot/health`);
    expect(await health()).toMatchObject({ Healthy: true, FailureTolerance: 1 });
    await until("both echoes", WAIT_MS, async () => {
      return (await nodes.b.get<unknown[]>(`${API}/v1/health/connect/echo?passing`)).length === 2;
    });
    await until("the mesh to carry", WAIT_MS, async () => (await nodes.b.talk(UPSTREAM, "ready?")) === "ready?");
    await propagates(nodes.a);
  });

  test.for(SERVERS)("SIGKILL of %s: flows, writes and certificates go on without it", async (victim) => {
    const flow = await nodes.b.flow(UPSTREAM);
    await until("the flow to flow", WAIT_MS, async () => (await flow.rounds()) > 0);
    const key = `${API}/v1/kv/acknowledged/${victim}`;
    await until(
      "a write before",
      WAIT_MS,
      async () => (await nodes.c.http("PUT", key, "before")).text.trim() === "true",
    );
    await mesh.kill(victim);
    await propagates(nodes.c);
    await signs(`after-${victim}`);
    expect((await nodes.a.http("GET", `${key}?raw&consistent`)).text).toBe("before");
    mesh.start(victim);
    await until(`${victim} to be ready`, WAIT_MS, () => mesh.isHealthy(victim));
  });

  test("SIGTERM ends every daemon with status 0", async () => {
    const statuses = await mesh.stop();
    for (const name of [...SERVERS.filter((s) => !s.startsWith("etcd")), "agent-a", "agent-b", "agent-c", "dns"])
      expect([name, statuses[name]]).toEqual([name, 0]);
  });
});
