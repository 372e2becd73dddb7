/**
 * Figures of nodes and health, by hand: `node tools/soak/liveness.ts [heddle|consul]… [-only service,node,checks,memory]`. An agent with its
 * servers (`-dev`) and a node beside it, 1,000 watchers by blocking queries; all on loopback, about three minutes for each of the two.
 *
 *     service   kill -9 of a service with a TCP check of 1 s to the last watcher knowing
 *     node      kill -9 of the node's agent to the last watcher knowing
 *     checks    processor time of 1,000 TCP checks of 10 s
 *     memory    resident memory for each of 5,000 services, on the node's agent and on the server
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { createServer } from "node:net";
import { homedir, loadavg, tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = new URL("../..", import.meta.url).pathname;
const COMMANDS: Record<string, string> = {
  heddle: process.env.HEDDLE_COMMAND || join(ROOT, "heddle"),
  consul: process.env.CONSUL_BINARY || `${homedir()}/.cache/heddle-peers/consul/usr/bin/consul`,
};
const WATCHERS = 1_000;
const ROUNDS = { service: 10, node: 4 };
const CHECKS = 1_000;
const SERVICES = 5_000;
const MEASURED_MS = 40_000;
const START_MS = 30_000;

const dir = mkdtempSync(join(tmpdir(), "heddle-liveness-"));
const children = new Set<ChildProcess>();
const calls = new Agent({ keepAlive: true, maxSockets: 16 });
const watching = new Agent({ keepAlive: true, maxSockets: WATCHERS });
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s`;

function launch(program: string, ...args: string[]): ChildProcess {
  const child = spawn(program, args, { stdio: "ignore" });
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

interface Answer {
  status: number;
  index: number;
  text: string;
}

function ask(method: string, url: string, body?: object, by = calls): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const text = body ? JSON.stringify(body) : "";
    const req = request(url, { method, agent: by, headers: { "Content-Length": Buffer.byteLength(text) } }, (res) => {
      let got = "";
      res.setEncoding("utf8").on("data", (chunk: string) => (got += chunk));
      res.on("error", reject);
      res.on("end", () =>
        resolve({ status: res.statusCode ?? 0, index: Number(res.headers["x-consul-index"]), text: got }),
      );
    });
    req.on("error", reject);
    req.end(text);
  });
}

async function put(url: string, body?: object): Promise<void> {
  const { status, text } = await ask("PUT", url, body);
  if (status !== 200) throw new Error(`PUT ${url}: ${status} ${text}`);
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + START_MS; ; await pause(20)) {
    if (await condition().catch(() => false)) return;
    if (performance.now() > end) throw new Error(`no ${what} in ${START_MS} ms`);
  }
}

const healthy = async (url: string, service: string): Promise<number> =>
  (JSON.parse((await ask("GET", `${url}/v1/health/service/${service}?passing`)).text) as unknown[]).length;

interface Place {
  url: string;
  child: ChildProcess;
}

const memory = ({ child }: Place): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]);
function cpuMs({ child }: Place): number {
  const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** A server, and a node beside it whose agent can be killed. */
async function startMesh(subject: string) {
  const [http = 0, server = 0, serf = 0, wan = 0] = await freePorts(4);
  const config = (name: string, ports: Record<string, number>) => {
    const path = join(dir, `${subject}-${name}.json`);
    const limits = { http_max_conns_per_client: WATCHERS + 100 };
    writeFileSync(path, JSON.stringify({ ports: { dns: -1, grpc: -1, ...ports }, limits, log_level: "err" }));
    return `-config-file=${path}`;
  };
  const command = COMMANDS[subject] as string;
  const dev = config("server", { http, server, serf_lan: serf, ...(subject === "consul" && { serf_wan: wan }) });
  const up = {
    ...{ url: `http://127.0.0.1:${http}`, serf, server },
    child: launch(command, "agent", "-dev", "-node=server", "-bind=127.0.0.1", dev),
  };
  await until("server", async () => (await ask("GET", `${up.url}/v1/catalog/nodes`)).text.includes("server"));
  const startNode = async (name: string): Promise<Place> => {
    const [http = 0, serf = 0, server = 0] = await freePorts(3);
    const own = config(name, { http, serf_lan: serf, ...(subject === "consul" && { server }) });
    const joined = subject === "consul" ? `127.0.0.1:${up.serf}` : `127.0.0.1:${up.server}`;
    const flags = ["-bind=127.0.0.1", `-data-dir=${join(dir, `${subject}-${name}`)}`, `-retry-join=${joined}`, own];
    const child = launch(command, "agent", `-node=${name}`, ...flags);
    const url = `http://127.0.0.1:${http}`;
    await until(name, async () => (await ask("GET", `${up.url}/v1/health/node/${name}`)).text.includes('"passing"'));
    await until(`API of ${name}`, async () => (await ask("GET", `${url}/v1/agent/self`)).status === 200);
    return { url, child };
  };
  return { up, startNode };
}

/** Has all watchers wait, does something, and resolves with the time until each saw that no instance is healthy. */
async function timeToLast(url: string, service: string, act: () => Promise<void>): Promise<number[]> {
  const path = `${url}/v1/health/service/${service}?passing`;
  const { index } = await ask("GET", path);
  let begun = 0;
  const watch = async (): Promise<number> => {
    for (let at = index; ; ) {
      const { text, index: next } = await ask("GET", `${path}&index=${at}&wait=60s`, undefined, watching);
      if (text.trim() === "[]") return performance.now() - begun;
      at = next;
    }
  };
  const all = Array.from({ length: WATCHERS }, watch);
  await pause(2_000); // all of them wait
  await act();
  begun = performance.now();
  return Promise.all(all);
}

async function report(what: string, subject: string, rounds: number, once: () => Promise<number[]>): Promise<void> {
  const lasts: number[] = [];
  for (let i = 0; i < rounds; i++) lasts.push(Math.max(...(await once())));
  lasts.sort((a, b) => a - b);
  const [best, middle, worst] = [lasts[0], lasts[Math.floor(lasts.length / 2)], lasts.at(-1)] as [
    number,
    number,
    number,
  ];
  console.log(
    `${subject}: kill -9 of a ${what} to the last of ${WATCHERS} watchers: ${seconds(middle)} (${seconds(best)} to ${seconds(worst)}, ${rounds} times)`,
  );
}

const parts: Record<string, (subject: string, mesh: Awaited<ReturnType<typeof startMesh>>) => Promise<void>> = {
  async service(subject, { up, startNode }) {
    const node = await startNode("with-service");
    let count = 0;
    const listen = "require('net').createServer((s) => s.on('error', () => {})).listen(+process.argv[1], '127.0.0.1')";
    await report("service", subject, ROUNDS.service, async () => {
      // A new one each time: one that comes and goes is held critical for flapping.
      const [port = 0] = await freePorts(1);
      const name = `web-${++count}`;
      const service = launch(process.execPath, "-e", listen, String(port));
      const check = { TCP: `127.0.0.1:${port}`, Interval: "1s", Timeout: "1s" };
      await put(`${node.url}/v1/agent/service/register`, { Name: name, Port: port, Check: check });
      await until("healthy service", async () => (await healthy(up.url, name)) === 1);
      return timeToLast(up.url, name, () => kill(service));
    });
    await kill(node.child);
  },
  async node(subject, { up, startNode }) {
    let count = 0;
    const witness = await startNode("witness"); // who is asked whether the other one lives
    await report("node", subject, ROUNDS.node, async () => {
      const node = await startNode(`victim-${++count}`);
      const name = `on-victim-${count}`;
      await put(`${node.url}/v1/agent/service/register`, { Name: name });
      await until("service", async () => (await healthy(up.url, name)) === 1);
      return timeToLast(up.url, name, async () => {
        node.child.kill("SIGKILL");
      });
    });
    await kill(witness.child);
  },
  async checks(subject, { startNode }) {
    const node = await startNode("with-checks");
    const target = createServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1");
    await once(target, "listening");
    const { port } = target.address() as { port: number };
    await pause(5_000);
    const idle = cpuMs(node);
    await pause(MEASURED_MS);
    const idleMs = cpuMs(node) - idle;
    const check = { TCP: `127.0.0.1:${port}`, Interval: "10s", Timeout: "1s" };
    for (let i = 0; i < CHECKS; i++) await put(`${node.url}/v1/agent/check/register`, { Name: `check-${i}`, ...check });
    await pause(15_000); // each has run once
    const before = cpuMs(node);
    await pause(MEASURED_MS);
    const share = (cpuMs(node) - before - idleMs) / MEASURED_MS;
    console.log(`${subject}: ${CHECKS} TCP checks of 10 s: ${(share * 100).toFixed(1)} % of a core`);
    target.close();
    await kill(node.child);
  },
  async memory(subject, { up, startNode }) {
    const node = await startNode("with-services");
    await pause(5_000);
    const before = { node: memory(node), up: memory(up) };
    const tags = ["v1", "primary"];
    for (let i = 0; i < SERVICES; i++)
      await put(`${node.url}/v1/agent/service/register`, { Name: `service-${i}`, Port: 8_080, Tags: tags });
    await until("last service", async () => (await healthy(up.url, `service-${SERVICES - 1}`)) === 1);
    await pause(10_000);
    const each = (kib: number) => (kib / SERVICES).toFixed(1);
    console.log(
      `${subject}: ${SERVICES} services: ${each(memory(node) - before.node)} KiB each on their agent, ${each(memory(up) - before.up)} KiB each on the server`,
    );
    await kill(node.child);
  },
};

const args = process.argv.slice(2);
const at = args.indexOf("-only");
const only = at < 0 ? Object.keys(parts) : (args[at + 1] ?? "").split(",");
const subjects = (at < 0 ? args : args.slice(0, at)).filter((name) => name in COMMANDS);
try {
  for (const subject of subjects.length > 0 ? subjects : Object.keys(COMMANDS)) {
    console.log(
      `${subject}: load of the machine ${loadavg()
        .map((l) => l.toFixed(1))
        .join(", ")}`,
    );
    const mesh = await startMesh(subject);
    for (const name of only) await parts[name]?.(subject, mesh);
    await kill(mesh.up.child);
  }
} finally {
  for (const child of children) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}
process.exit(0);
