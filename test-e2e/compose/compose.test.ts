/**
 * docker-compose.yml for real, without an engine: each service's command in its own network namespace, with its volumes,
 * environment, user and name. The daemons are the bundle of the Dockerfile in the pinned runtime; Prometheus is Prometheus.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startCapture } from "./capture.ts";
import { root } from "./image.ts";
import { enter, type Inside } from "./inside.ts";
import { type Mesh, startMesh } from "./mesh.ts";
import { findPrometheus, missing } from "./needs.ts";
import { until } from "./until.ts";

const API = "http://127.0.0.1:8500";
const UPSTREAM = 9191; // echo, as web sees it
const WAIT_MS = 15_000;
const CONTROL_PLANE = ["catalog", "ca", "dns", "agent-a", "agent-b", "health-a", "health-b"];
const DAEMONS = [...CONTROL_PLANE, "echo-sidecar", "web-sidecar"];

const reason = missing();
if (reason) console.log(`compose: skipped: ${reason}`);

let mesh: Mesh;
let a: Inside; // node a's loopback: agent a, echo, Prometheus
let b: Inside; // node b's: agent b, web

beforeAll(async () => {
  if (reason) return;
  mesh = await startMesh(join(root, "docker-compose.yml"), { prometheus: findPrometheus() as string });
  [a, b] = ["node-a", "node-b"].map((name) => enter(mesh.network.namespaces.get(name)?.pid as number)) as [
    Inside,
    Inside,
  ];
}, 60_000);

afterAll(async () => {
  a?.close();
  b?.close();
  await mesh?.[Symbol.asyncDispose]();
}, 20_000);

beforeEach((ctx) => {
  if (reason) ctx.skip(reason);
});

describe("the compose mesh", { timeout: 40_000 }, () => {
  test("comes up: certificates made, every health check passes", async () => {
    expect(await mesh.container("certs").exited).toBe(0);
    for (const name of [...DAEMONS, "web", "echo", "prometheus"])
      await until(`${name} to be healthy`, WAIT_MS, () => mesh.isHealthy(name));
    expect(await mesh.container("agent-b").exec(["heddle", "catalog", "services"])).toBe(0);
  });

  test("each daemon is an ordinary user without capabilities, and has no key but its own", async () => {
    for (const name of DAEMONS) {
      const status = readFileSync(`/proc/${mesh.container(name).pid}/status`, "utf8");
      expect(status, name).toMatch(/^Uid:\t10001\t10001\t10001\t10001$/m);
      expect(status, name).toMatch(/^CapBnd:\t0+$/m);
      expect(status, name).toMatch(/^NoNewPrivs:\t1$/m);
      expect(status, name).toMatch(/^Umask:\t0077$/m);
    }
    const keys = (volume: string) =>
      readdirSync(join(mesh.folder, "volumes", volume)).filter((file) => file.endsWith("-key.pem"));
    expect(keys("tls-catalog")).toEqual(["dc1-catalog-key.pem"]);
    expect(keys("tls-node-b")).toEqual(["dc1-agent-key.pem", "dc1-agent-node-b-key.pem"]);
    const caKey = statSync(join(mesh.folder, "volumes/tls-authority/heddle-ca-key.pem"));
    expect([caKey.uid, caKey.mode & 0o777]).toEqual([0, 0o600]);
    expect([...mesh.services.values()].filter((s) => s.mounts.some((m) => m.source === "tls-authority"))).toHaveLength(
      1,
    );
  });

  test("on the network there are mutual TLS, DNS, what is published, and metrics; the agents' API is not", async () => {
    const open = (name: string) => {
      const pid = String(mesh.network.namespaces.get(name)?.pid);
      const sockets = execFileSync("nsenter", ["-t", pid, "--net", "ss", "-Htln"], { encoding: "utf8" })
        .trim()
        .split("\n");
      const addresses = sockets
        .map((line) => line.split(/\s+/)[3] ?? "")
        .filter((address) => !address.startsWith("127."));
      return [...new Set(addresses.map((address) => Number(address.slice(address.lastIndexOf(":") + 1))))].toSorted(
        (x, y) => x - y,
      );
    };
    expect(open("catalog")).toEqual([8300, 9300]);
    expect(open("ca")).toEqual([8310, 9310]);
    expect(open("dns")).toEqual([8600, 9600]);
    expect(open("node-a")).toEqual([8301, 9090, 9102, 9320, 9400, 21000]);
    expect(open("node-b")).toEqual([8080, 8301, 9102, 9320, 9400, 21000]);
    const ask = (from: string, options: string) =>
      mesh
        .container(from)
        .exec([
          "node",
          "-e",
          `require("https").get("https://catalog:8300/v1/catalog/nodes", ${options}, (res) => process.exit(res.statusCode === 200 ? 0 : 4)).once("error", () => process.exit(3))`,
        ]);
    const file = (name: string) => `require("fs").readFileSync("/tls/${name}.pem")`;
    expect(await ask("web", "{ rejectUnauthorized: false }")).toBe(3);
    expect(
      await ask(
        "agent-b",
        `{ ca: ${file("heddle-ca")}, cert: ${file("dc1-agent")}, key: ${file("dc1-agent-key")}, servername: "catalog" }`,
      ),
    ).toBe(0);
  });

  test("web talks to echo, and nobody on the bridge can read it", async () => {
    await until("the mesh to carry", WAIT_MS, async () => (await b.talk(UPSTREAM, "ready?")) === "ready?");
    const capture = await startCapture(mesh.network, mesh.folder);
    const marker = `marker-${"of the plain text ".repeat(4)}`;
    for (let i = 0; i < 20; i++) {
      const body = `${marker}${i}`;
      expect(await b.http("POST", "http://127.0.0.1:8080/", body)).toEqual({ status: 200, text: body });
    }
    // Prometheus scrapes node b in the clear: the capture does see what is plain.
    await until("a scrape on the bridge", WAIT_MS, () => capture.contains("heddle_proxy_connections_total"));
    await capture.stop();
    expect(capture.contains(marker)).toBe(false);
    const last = accessLog("echo-sidecar").findLast((entry) => entry.source === "web");
    expect(last).toMatchObject({ destination: "echo", decision: "allowed" });
  });

  test("Prometheus finds every daemon through our API, all are up, and it counted the connections", async () => {
    await until("every target to be up", WAIT_MS, allTargetsUp);
    const sent = async (service: string, direction: string) => {
      const query = `sum(heddle_proxy_connections_total{service="${service}",direction="${direction}",result="allowed",source="web",destination="echo"})`;
      const url = `http://127.0.0.1:9090/api/v1/query?query=${encodeURIComponent(query)}`;
      const { data } = await a.get<{ data: { result: { value: [number, string] }[] } }>(url);
      return Number(data.result[0]?.value[1] ?? 0);
    };
    await until("20 connections out of web", WAIT_MS, async () => (await sent("web-sidecar-proxy", "outbound")) >= 20);
    await until("20 connections into echo", WAIT_MS, async () => (await sent("echo-sidecar-proxy", "inbound")) >= 20);
  });

  test("a deny intention cuts and refuses, and both sides say by which rule", async () => {
    const flow = await b.flow(UPSTREAM);
    await until("the flow to flow", WAIT_MS, async () => (await flow.rounds()) > 0);
    const id = await deny(a);
    await until("the open connection to be cut", WAIT_MS, async () => !(await flow.isOpen()));
    expect(await b.talk(UPSTREAM, "denied")).toBe("");
    expect(await b.http("POST", "http://127.0.0.1:8080/", "denied")).toMatchObject({ status: 502 });
    for (const sidecar of ["web-sidecar", "echo-sidecar"]) {
      const refused = () => accessLog(sidecar).findLast((e) => e.source === "web" && e.msg === "connection refused");
      await until(`${sidecar} to tell`, WAIT_MS, () => refused() !== undefined);
      expect(refused(), sidecar).toMatchObject({ destination: "echo", decision: "refused" });
      expect(refused()?.rule, sidecar).toContain("DENY default/web => default/echo");
      expect(refused()?.rule, sidecar).toContain(id);
    }
    await allow(a, id);
  });

  test.for<[string, string[], () => Promise<void>]>([
    ["the catalog", ["catalog"], () => propagates(a)],
    ["the CA", ["ca"], () => signs("after-ca")],
    ["a health checker", ["health-a"], () => checksRun("after-health")],
    ["echo's agent", ["agent-a"], () => propagates(b)],
    ["web's agent", ["agent-b"], () => propagates(b)],
    ["everything but proxies and services", CONTROL_PLANE, () => everythingWorks()],
  ])("SIGKILL of %s under traffic: flows go on, and all is well after its restart", async ([, victims, converged]) => {
    const others = () =>
      [...mesh.services.keys()]
        .filter((n) => n !== "certs" && !victims.includes(n))
        .map((n) => [n, mesh.container(n).pid]);
    const before = others();
    const root = await rootId(b);
    const flow = await b.flow(UPSTREAM);
    const flows = async (rounds: number) => {
      const from = await flow.rounds();
      await until(`${rounds} rounds`, WAIT_MS, async () => (await flow.rounds()) >= from + rounds);
    };
    await flows(5);
    const key = `${API}/v1/kv/acknowledged/${victims.join()}`;
    expect(await b.http("PUT", key, "before")).toEqual({ status: 200, text: "true" });
    await Promise.all(victims.map((name) => mesh.kill(name)));
    await flows(30);
    expect(await b.talk(UPSTREAM, "new, while it is away")).toBe("new, while it is away");
    for (const name of victims) mesh.start(name);
    for (const name of DAEMONS) await until(`${name} to be ready`, WAIT_MS, () => mesh.isHealthy(name));
    await flows(5);
    expect(await b.http("GET", `${key}?raw`)).toEqual({ status: 200, text: "before" });
    expect(await rootId(b)).toBe(root);
    await converged();
    expect(others()).toEqual(before);
  });

  test("afterwards every target is up again, nothing failed that was not expected to", async () => {
    await until("every target to be up", WAIT_MS, allTargetsUp);
    const bad = /uncaught|unhandled|TypeError|ReferenceError|DeprecationWarning/i;
    for (const name of DAEMONS) {
      const lines = readFileSync(join(mesh.folder, name, "log"), "utf8").split("\n"); // of before a kill, too
      expect(
        lines.filter((line) => bad.test(line)),
        name,
      ).toEqual([]);
    }
  });

  test("SIGTERM ends every daemon with status 0", async () => {
    const statuses = await mesh.stop();
    for (const name of [...DAEMONS, "web", "echo", "prometheus"]) expect([name, statuses[name]]).toEqual([name, 0]);
  });
});

async function allTargetsUp(): Promise<boolean> {
  interface Target {
    health: string;
    labels: { service: string; node: string };
  }
  const { data } = await a.get<{ data: { activeTargets: Target[] } }>("http://127.0.0.1:9090/api/v1/targets");
  const names = data.activeTargets.map((t) => `${t.labels.service}@${t.labels.node}`).toSorted();
  const expected = [
    "echo-sidecar-proxy@node-a",
    "heddle-agent@node-a",
    "heddle-agent@node-b",
    "heddle-ca@node-a",
    "heddle-catalog@node-a",
    "heddle-dns@node-a",
    "heddle-health@node-a",
    "heddle-health@node-b",
    "web-sidecar-proxy@node-b",
  ];
  return names.join() === expected.join() && data.activeTargets.every((t) => t.health === "up");
}

interface AccessEntry {
  msg: string;
  source: string;
  destination: string;
  decision: string;
  rule?: string;
}

function accessLog(sidecar: string): AccessEntry[] {
  const lines = mesh.container(sidecar).lines.filter((line) => line.includes('"component":"proxy.access"'));
  return lines.map((line) => JSON.parse(line) as AccessEntry);
}

/** Denies web the way to echo, through one node's API. Resolves with the intention's id once it holds. */
async function deny(node: Inside): Promise<string> {
  const intention = { SourceName: "web", DestinationName: "echo", Action: "deny" };
  const { status, text } = await node.http("POST", `${API}/v1/connect/intentions`, intention);
  expect({ status, text }).toMatchObject({ status: 200 });
  await until("the denial to hold", WAIT_MS, async () => (await b.talk(UPSTREAM, "?")) === "");
  return (JSON.parse(text) as { ID: string }).ID;
}

async function allow(node: Inside, id: string): Promise<void> {
  expect(await node.http("DELETE", `${API}/v1/connect/intentions/${id}`)).toMatchObject({ status: 200 });
  await until("the way to be free", WAIT_MS, async () => (await b.talk(UPSTREAM, "?")) === "?");
}

/** What is written through a node's API reaches the sidecar of echo, by way of the catalog and agent a. */
async function propagates(node: Inside): Promise<void> {
  await allow(node, await deny(node));
}

/** A service that did not exist before gets its certificate. */
async function signs(service: string): Promise<void> {
  expect(await a.http("PUT", `${API}/v1/agent/service/register`, { Name: service })).toMatchObject({ status: 200 });
  const leaf = await a.get<{ CertPEM: string }>(`${API}/v1/agent/connect/ca/leaf/${service}`);
  expect(leaf.CertPEM).toContain("BEGIN CERTIFICATE");
  expect(await a.http("PUT", `${API}/v1/agent/service/deregister/${service}`)).toMatchObject({ status: 200 });
}

/** A check that did not exist before is run, and its result reaches the catalog. */
async function checksRun(name: string): Promise<void> {
  const check = { TCP: "127.0.0.1:9000", Interval: "1s" };
  expect(
    await a.http("PUT", `${API}/v1/agent/service/register`, { Name: name, Port: 9000, Check: check }),
  ).toMatchObject({ status: 200 });
  await until("the check to pass in the catalog, seen from the other node", WAIT_MS, async () => {
    return (await b.get<unknown[]>(`${API}/v1/health/service/${name}?passing=1`)).length === 1;
  });
  expect(await a.http("PUT", `${API}/v1/agent/service/deregister/${name}`)).toMatchObject({ status: 200 });
}

async function everythingWorks(): Promise<void> {
  await propagates(a);
  await signs("after-all");
  await checksRun("after-all");
}

const rootId = async (node: Inside): Promise<string> =>
  (await node.get<{ ActiveRootID: string }>(`${API}/v1/agent/connect/ca/roots`)).ActiveRootID;
