/**
 * How long a deny takes: N programs in the mesh, each with its watches open and a connection from `web`, and one rule that cuts them all.
 * Prints the time from the request until the last of web's connections is cut, and until the writer hears that all proxies hold the rule.
 *
 *     node tools/soak/deny.ts [programs] [rounds] [processes]      # 1000 3 4
 */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApiClient } from "@heddle/api-client";
import { type Connect, type MeshSocket, startConnect } from "@heddle/connect";
import { sleep } from "@heddle/daemon";

const ROOT = join(import.meta.dirname, "../..");
const HTTP = 18_600;
const TOGETHER = 16; // that start or dial at once
const START_MS = 60_000;
const HOLD_MS = 120_000;
const address = `127.0.0.1:${HTTP}`;

const [role = "", first = "", second = ""] = process.argv.slice(2);
if (role === "serve") await serve(Number(first), Number(second));
else await measure(Number(role) || 1_000, Number(first) || 3, Number(second) || 4);

/** One process: services db<from> to db<to>, each with a server. */
async function serve(from: number, to: number): Promise<void> {
  const names = Array.from({ length: to - from }, (_, i) => `db${from + i}`);
  const all: Connect[] = [];
  await each(names, async (service) => {
    const connect = await startConnect({ service, agent: { address }, readyTimeoutMs: START_MS, drainMs: 0 });
    await connect
      .createServer((socket) => void socket.on("error", () => {}).resume(), { register: true })
      .listen(0, "127.0.0.1");
    all.push(connect);
  });
  process.once("disconnect", () => process.exit(1)); // who measures is gone
  process.send?.("ready");
  await once(process, "message");
  await Promise.all(all.map((connect) => connect.close()));
  process.exit(0);
}

async function measure(programs: number, rounds: number, processes: number): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-deny-"));
  const children: ChildProcess[] = [];
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
  process.once("exit", () => children.forEach((child) => child.kill("SIGKILL")));
  try {
    await run({ dir, children, programs, rounds, processes });
  } finally {
    for (const child of children) child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
}

interface Run {
  dir: string;
  children: ChildProcess[];
  programs: number;
  rounds: number;
  processes: number;
}

async function run({ dir, children, programs, rounds, processes }: Run): Promise<void> {
  const config = {
    ports: { http: HTTP, dns: -1, server: HTTP + 1, grpc: -1 },
    limits: { http_max_conns_per_client: 50_000 },
    log_level: "err",
  };
  writeFileSync(join(dir, "agent.json"), JSON.stringify(config));
  children.push(
    spawn(join(ROOT, "heddle"), ["agent", "-dev", `-config-dir=${dir}`], { stdio: ["ignore", "ignore", "inherit"] }),
  );
  const api = createApiClient({ address });
  await until(async () => (await api.get("/v1/status/leader")).status === 200);

  const share = Math.ceil(programs / processes);
  for (let from = 0; from < programs; from += share) {
    const child = fork(import.meta.filename, ["serve", String(from), String(Math.min(programs, from + share))]);
    children.push(child);
    await once(child, "message");
  }
  const web = await startConnect({ service: "web", agent: { address }, readyTimeoutMs: START_MS, drainMs: 0 });
  console.log(`${programs} programs in ${children.length - 1} processes, web with ${programs} upstreams`);

  for (let round = 1; round <= rounds; round++) {
    const sockets: MeshSocket[] = [];
    await each(
      Array.from({ length: programs }, (_, i) => `db${i}`),
      async (name) => void sockets.push(await dial(web, name)),
    );
    const holders = async () => (await api.get<unknown[]>("/v1/agent/connect/proxies")).body.length;
    await until(async () => (await holders()) >= programs);
    await sleep(3_000); // what has just opened is told by then

    const [agent = 0, ...others] = children.map(({ pid }) => processorMs(pid));
    const own = process.cpuUsage();
    const startedAt = performance.now();
    const ends = sockets.map(
      (socket) =>
        new Promise<number>((resolve) =>
          socket.removeAllListeners("error").once("error", () => resolve(performance.now() - startedAt)),
        ),
    );
    const body = { SourceName: "web", DestinationName: "*", SourceType: "consul", Action: "deny" };
    const query = { "wait-cut": "60s" };
    const { body: effect } = await api.post<Effect>("/v1/connect/intentions", { body, query, timeoutMs: HOLD_MS });
    const toldMs = performance.now() - startedAt;
    const times = (await Promise.all(ends)).sort((a, b) => a - b);
    const at = (share: number) => Math.round(times[Math.ceil(times.length * share) - 1] ?? 0);
    console.log(
      `round ${round}: cut p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, last ${at(1)} ms; told after ${Math.round(toldMs)} ms: ` +
        `${effect.Cut} cut by ${effect.Reached} of ${effect.Holders}`,
    );
    const [agentNow = 0, ...othersNow] = children.map(({ pid }) => processorMs(pid));
    const ownMs = Object.values(process.cpuUsage(own)).reduce((a, b) => a + b, 0) / 1_000;
    const sum = (list: number[]) => list.reduce((a, b) => a + b, 0);
    console.log(
      `  processor time: agent ${agentNow - agent} ms, programs ${sum(othersNow) - sum(others)} ms, web ${Math.round(ownMs)} ms`,
    );
    await api.delete(`/v1/connect/intentions/${effect.ID}`, { query, timeoutMs: HOLD_MS });
  }
  for (const child of children.slice(1)) child.send("end");
  await web.close();
  api.close();
}

/** User and system time of a process so far, proc(5). */
function processorMs(pid = 0): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

interface Effect {
  ID: string;
  Cut: number;
  Reached: number;
  Holders: number;
}

async function dial(web: Connect, name: string): Promise<MeshSocket> {
  for (let attempt = 0; ; attempt++) {
    try {
      const socket = await web.dial(name, { timeoutMs: START_MS });
      return socket.on("error", () => {});
    } catch (error) {
      if (attempt >= 100) throw error;
      await sleep(100);
    }
  }
}

/** Bounded, and not all at once. */
async function each<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  await Promise.all(
    Array.from({ length: TOGETHER }, async () => {
      for (let item = left.shift(); item !== undefined; item = left.shift()) await act(item);
    }),
  );
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + START_MS;
  while (!(await isTrue().catch(() => false))) {
    if (performance.now() > deadline) throw new Error(`not so within ${START_MS} ms: ${isTrue.toString()}`);
    await sleep(100);
  }
}
