/**
 * The figures of docs/scale.md, by hand: `node tools/soak/scale.ts size|writes|consul|agents`. Real catalogs and a real etcd of three
 * members (with Debian's etcd-server) on this machine; each part takes a minute or two.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "@heddle/daemon";
import { freePort } from "@heddle/daemon/testing";
import { openStore, type StoredRecord } from "@heddle/store";
import { type EtcdCluster, startEtcd } from "@heddle/store/testing";
import { WebSocket } from "ws";

const ROOT = new URL("../..", import.meta.url).pathname;
const NODE = join(ROOT, "node_modules/node/bin/node");
const HEDDLE = join(ROOT, "apps/cli/src/main.ts");
const CONSUL = process.env.CONSUL_BINARY || `${homedir()}/.cache/heddle-peers/consul/usr/bin/consul`;
const children: ChildProcess[] = [];
const agent = new Agent({ keepAlive: true, maxSockets: 256 });

interface Answer {
  status: number;
  index: number;
  text: string;
}

function ask(method: string, url: string, body = ""): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request(url, { method, agent, headers: { "Content-Length": Buffer.byteLength(body) } }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      res.on("end", () => resolve({ status: res.statusCode ?? 0, index: Number(res.headers["x-consul-index"]), text }));
      res.on("error", reject);
    });
    req.on("error", reject);
    req.end(body);
  });
}

async function startCatalog(etcd: EtcdCluster, root: string, name: string) {
  const port = await freePort();
  const store = `-store=etcd://${etcd.endpoints.map((url) => new URL(url).host).join(",")}/${root}`;
  const began = performance.now();
  const child = spawn(NODE, [
    HEDDLE,
    "serve",
    "catalog",
    `-port=${port}`,
    `-node=${name}`,
    store,
    "-ca-url=http://127.0.0.1:1",
  ]);
  children.push(child);
  await new Promise<void>((resolve, reject) => {
    child.stdout.on("data", (chunk: Buffer) => chunk.includes("is serving") && resolve());
    child.once("exit", () => reject(new Error("the catalog has ended")));
  });
  return { url: `http://127.0.0.1:${port}`, child, startMs: performance.now() - began };
}

const status = (pid: number | undefined, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
const cpuMs = (pid: number | undefined): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
};
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const quantile = (list: number[], q: number): number =>
  list.toSorted((a, b) => a - b)[Math.floor((list.length - 1) * q)] ?? 0;

/** Nodes with ten instances each, of services with twenty instances, each with a check. */
function instances(count: number): StoredRecord[] {
  const records: StoredRecord[] = [];
  const add = (table: string, key: string, value: object) =>
    records.push({ table, key, value, createIndex: 5, modifyIndex: 5 });
  for (let i = 0; i < count; i++) {
    const Node = `node-${Math.floor(i / 10)}`;
    const [ID, Service] = [`svc-${i}`, `service-${Math.floor(i / 20)}`];
    if (i % 10 === 0)
      add("nodes", Node, { ID: "", Node, Address: "10.0.0.1", Datacenter: "dc1", TaggedAddresses: null, Meta: {} });
    const weights = { Passing: 1, Warning: 1 };
    const service = {
      ID,
      Service,
      Tags: ["v1"],
      Address: "",
      Meta: { version: "1" },
      Port: 8080,
      Weights: weights,
      EnableTagOverride: false,
    };
    add("services", `${Node}\0${ID}`, { Node, Service: { ...service, Proxy: {}, Connect: {} } });
    const check = {
      Node,
      CheckID: `service:${ID}`,
      Name: "alive",
      Status: "passing",
      Notes: "",
      Output: "HTTP GET: 200 OK",
    };
    add("checks", `${Node}\0service:${ID}`, {
      ...check,
      ServiceID: ID,
      ServiceName: Service,
      ServiceTags: ["v1"],
      Type: "http",
      Definition: {},
    });
  }
  return records;
}

async function size(): Promise<void> {
  await using etcd = await startEtcd();
  const etcdSettings = (root: string) => ({ endpoints: etcd.endpoints, root, tls: undefined, user: undefined });
  const empty = await startCatalog(etcd, "empty", "a");
  const base = status(empty.child.pid, "VmRSS");
  console.log(`empty: start ${empty.startMs.toFixed(0)} ms, ${(base / 2 ** 20).toFixed(0)} MiB`);
  for (const count of [1_000, 10_000, 100_000]) {
    const store = await openStore({ dataDir: "", etcd: etcdSettings(`s${count}`), name: "catalog", log: silentLog });
    const began = performance.now();
    const records = instances(count);
    await store.restore(records, 5);
    const wrote = performance.now() - began;
    await store.close();
    const catalog = await startCatalog(etcd, `s${count}`, "a");
    await pause(1_000);
    const rss = status(catalog.child.pid, "VmRSS") - base;
    const { text } = await ask("GET", `${catalog.url}/v1/health/service/service-1`);
    console.log(
      `${count} instances (${records.length} records): written in ${wrote.toFixed(0)} ms, start ${catalog.startMs.toFixed(0)} ms, ` +
        `+${(rss / 2 ** 20).toFixed(0)} MiB, ${(rss / records.length).toFixed(0)} bytes a record, answers ${(JSON.parse(text) as unknown[]).length}`,
    );
    catalog.child.kill("SIGKILL");
  }
}

/** `concurrent` clients for some seconds; the rate of each thing, and its latency. */
async function load(
  name: string,
  seconds: number,
  concurrent: number,
  step: (n: number) => Promise<Answer>,
): Promise<void> {
  const end = performance.now() + seconds * 1_000;
  const times: number[] = [];
  let count = 0;
  let failed = 0;
  await Promise.all(
    Array.from({ length: concurrent }, async () => {
      while (performance.now() < end) {
        const began = performance.now();
        const answer = await step(count++);
        if (answer.status !== 200) failed++;
        times.push(performance.now() - began);
      }
    }),
  );
  console.log(
    `${name}, ${concurrent} clients: ${(times.length / seconds).toFixed(0)}/s, p50 ${quantile(times, 0.5).toFixed(1)} ms, p99 ${quantile(times, 0.99).toFixed(1)} ms${failed ? `, ${failed} failed` : ""}`,
  );
}

const VALUE = "x".repeat(200);
async function loads(what: string, urls: string[]): Promise<void> {
  const pick = (n: number) => urls[n % urls.length] as string;
  await Promise.all(Array.from({ length: 1_000 }, (_, n) => ask("PUT", `${pick(n)}/v1/kv/k${n}`, VALUE)));
  for (const clients of [1, 64]) {
    await load(`${what}: PUT /v1/kv`, 5, clients, (n) => ask("PUT", `${pick(n)}/v1/kv/k${n % 1_000}`, VALUE));
    await load(`${what}: GET /v1/kv`, 2, clients, (n) => ask("GET", `${pick(n)}/v1/kv/k${n % 1_000}`));
    await load(`${what}: GET ?stale`, 3, clients, (n) => ask("GET", `${pick(n)}/v1/kv/k${n % 1_000}?stale`));
    await load(`${what}: GET ?consistent`, 3, clients, (n) => ask("GET", `${pick(n)}/v1/kv/k${n % 1_000}?consistent`));
  }
}

async function writes(): Promise<void> {
  await using etcd = await startEtcd({ members: 3 });
  const one = await startCatalog(etcd, "w1", "a");
  await loads("1 catalog, 3 etcd", [one.url]);
  one.child.kill("SIGKILL");
  const three = await Promise.all(["a", "b", "c"].map((name) => startCatalog(etcd, "w3", name)));
  await loads(
    "3 catalogs, 3 etcd",
    three.map(({ url }) => url),
  );
}

async function consul(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-scale-"));
  const servers: { http: number; lan: number; server: number }[] = [];
  for (let i = 0; i < 3; i++) {
    const [http, lan, wan, server] = [await freePort(), await freePort(), await freePort(), await freePort()];
    const join3 = servers[0] ? [`-retry-join=127.0.0.1:${servers[0].lan}`, "-retry-interval=1s"] : [];
    const ports = [`-http-port=${http}`, `-serf-lan-port=${lan}`, `-serf-wan-port=${wan}`, `-server-port=${server}`];
    const child = spawn(CONSUL, [
      ...["agent", "-server", "-bootstrap-expect=3", `-node=s${i}`, "-bind=127.0.0.1", `-data-dir=${dir}/${i}`],
      ...["-dns-port=-1", "-grpc-port=-1", "-log-level=err", "-hcl=performance { raft_multiplier = 1 }"],
      ...["-hcl=limits { http_max_conns_per_client = 5000 }", ...ports, ...join3],
    ]);
    children.push(child);
    servers.push({ http, lan, server });
  }
  const urls = servers.map(({ http }) => `http://127.0.0.1:${http}`);
  for (const url of urls)
    for (;;) {
      const put = await ask("PUT", `${url}/v1/kv/ready`, "1").catch(() => undefined);
      if (put?.status === 200) break;
      await pause(200);
    }
  await loads("Consul, 3 servers", urls);
  rmSync(dir, { recursive: true, force: true });
}

async function agents(): Promise<void> {
  await using etcd = await startEtcd({ members: 3 });
  const catalogs = await Promise.all(["a", "b", "c"].map((name) => startCatalog(etcd, "a", name)));
  const before = catalogs.map(({ child }) => ({ cpu: cpuMs(child.pid), rss: status(child.pid, "VmRSS") }));
  const began = performance.now();
  const held: Promise<void>[] = [];
  for (let i = 0; i < 1_000; i++) {
    const { url } = catalogs[i % 3] as { url: string };
    const socket = new WebSocket(`${url.replace("http", "ws")}/internal/v1/lease`);
    socket.on("error", (error) => console.log(error.message));
    socket.once("open", () =>
      socket.send(
        JSON.stringify({ type: "hello", Node: `n${i}`, ID: "", Address: "10.0.0.1", Server: false, ProbePort: 0 }),
      ),
    );
    held.push(
      new Promise((resolve) =>
        socket.once("message", () => {
          setInterval(() => socket.send('{"type":"beat"}'), 1_000);
          resolve();
        }),
      ),
    );
  }
  await Promise.all(held);
  const joined = performance.now() - began;
  await pause(2_000);
  const middle = catalogs.map(({ child }) => cpuMs(child.pid));
  await pause(10_000);
  const cpu = catalogs.map(({ child }, i) => (cpuMs(child.pid) - (middle[i] as number)) / 10_000);
  const rss = catalogs.map(({ child }, i) => status(child.pid, "VmRSS") - (before[i]?.rss ?? 0));
  console.log(
    `1,000 agents joined in ${joined.toFixed(0)} ms; heartbeats each second then cost ${cpu.map((c) => (c * 100).toFixed(1)).join(", ")} % of a core a catalog, ` +
      `${(rss.reduce((a, b) => a + b, 0) / 1_000 / 1024).toFixed(0)} KiB an agent`,
  );
}

const parts: Record<string, () => Promise<void>> = { size, writes, consul, agents };
const chosen = process.argv.slice(2);
try {
  for (const name of chosen.length > 0 ? chosen : Object.keys(parts)) await parts[name]?.();
} finally {
  for (const child of children) child.kill("SIGKILL");
}
process.exit(0);
