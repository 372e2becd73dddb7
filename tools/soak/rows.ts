/**
 * Rows of nodes, health and consistency that take a minute or more, by hand: what was seen is printed for docs/security-rows.md, and the
 * status is 1 where a row was not met. All on loopback; ten minutes in all.
 *
 *     node tools/soak/rows.ts [con-06] [con-08] [con-10] [chk-02] [chk-06] [chk-07]
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, createServer, type IncomingMessage, request } from "node:http";
import { connect, createServer as createTcpServer, type Socket } from "node:net";
import { join } from "node:path";
import type { ChildProcess } from "node:child_process";
import { type ApiClient, createApiClient } from "@heddle/api-client";
import { sleep } from "@heddle/daemon";
import { type Bench, onBench, percentile, until } from "./support.ts";

const HTTP = 18_720;
const [SERVER, SERF, RELAY, TARGET, NODE_HTTP, NODE_SERF] = [1, 2, 3, 4, 5, 6].map((i) => HTTP + i) as [
  number,
  number,
  number,
  number,
  number,
  number,
];
const MAX_CONNS = 1_200;
const sockets = new Agent({ keepAlive: true, maxSockets: MAX_CONNS - 100 });
const chosen = process.argv.slice(2).map((name) => name.toLowerCase());

interface Row {
  id: string;
  run: (bench: Bench) => Promise<[seen: string, isMet: boolean]>;
}

function startServer(bench: Bench, ...flags: string[]): ChildProcess {
  const ports = [`-http-port=${HTTP}`, `-server-port=${SERVER}`, `-serf-lan-port=${SERF}`, "-dns-port=-1"];
  return bench.heddle(
    ...["agent", "-server", "-bootstrap-expect=1", "-node=server", "-bind=127.0.0.1", "-log-level=err", ...ports],
    ...[`-data-dir=${join(bench.dir, "server")}`, ...flags, `-hcl=limits { http_max_conns_per_client = ${MAX_CONNS} }`],
  );
}

const server = createApiClient({ address: `127.0.0.1:${HTTP}` });
const serves = (api: ApiClient) => until(() => api.get("/v1/status/leader"));

async function end(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await until(async () => child.signalCode !== null);
}

/** A request whose connection may be one of a thousand. */
function get(path: string, signal?: AbortSignal): Promise<{ index: number; text: string }> {
  return new Promise((resolve, reject) => {
    const req = request({ port: HTTP, path, agent: sockets, signal }, (res: IncomingMessage) => {
      let text = "";
      res.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      res.on("end", () => resolve({ index: Number(res.headers["x-consul-index"]), text }));
      res.on("error", reject);
    });
    req.on("error", reject);
    req.end();
  });
}

const rssMib = ({ pid }: ChildProcess): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
function cpuMs({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** 500 watchers of 50 keys, 1,000 changes; killed and started again in the middle, and set back to an older snapshot. */
async function watchers(bench: Bench): Promise<[string, boolean]> {
  const [WATCHERS, KEYS, CHANGES] = [500, 50, 1_000];
  let child = startServer(bench);
  await serves(server);
  for (let k = 0; k < KEYS; k++) await server.put(`/v1/kv/k${k}`, { body: "begin" });
  const ackedAt = new Map<string, number>();
  const wakes: number[] = [];
  const last = Array.from({ length: WATCHERS }, () => "");
  const stop = new AbortController();
  let lowest = Infinity;
  let isCalm = true;
  const watch = async (i: number): Promise<void> => {
    let index = 0;
    while (!stop.signal.aborted) {
      const answer = await get(`/v1/kv/k${i % KEYS}?raw&index=${index}&wait=60s`, stop.signal).catch(() => undefined);
      if (!answer || !(answer.index > 0)) {
        await sleep(20);
        continue;
      }
      lowest = Math.min(lowest, answer.index);
      index = answer.index < index ? 0 : answer.index; // as Consul's own clients do
      if (answer.text === last[i]) continue;
      last[i] = answer.text;
      const acked = ackedAt.get(answer.text);
      if (isCalm && acked !== undefined) wakes.push(Math.max(0, performance.now() - acked));
    }
  };
  const all = last.map((_, i) => watch(i));
  const write = async (n: number): Promise<void> => {
    const value = `v${n}`;
    await until(async () => (await server.put(`/v1/kv/k${n % KEYS}`, { body: value })).body);
    ackedAt.set(value, performance.now());
  };
  let snapshot: Buffer | undefined;
  let afterRestoreMs = 0;
  for (let n = 0; n < CHANGES; n++) {
    if (n === 300) snapshot = (await server.get("/v1/snapshot")).raw;
    if (n === 500) {
      isCalm = false;
      await end(child);
      child = startServer(bench);
      await serves(server);
    }
    if (n === 520) isCalm = true;
    if (n === 700) {
      isCalm = false;
      await server.put("/v1/snapshot", { body: snapshot });
      const began = performance.now();
      await write(n);
      const watching = last.flatMap((_, i) => (i % KEYS === n % KEYS ? [i] : []));
      await until(async () => watching.every((i) => last[i] === `v${n}`));
      afterRestoreMs = performance.now() - began;
      isCalm = true;
      continue;
    }
    await write(n);
    await sleep(10);
  }
  const expected = (i: number) => `v${CHANGES - KEYS + (i % KEYS)}`;
  await until(async () => last.every((value, i) => value === expected(i))).catch(() => {});
  const lost = last.filter((value, i) => value !== expected(i)).length;
  stop.abort();
  await Promise.all(all);
  await end(child);
  const sorted = wakes.toSorted((a, b) => a - b);
  const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? Infinity;
  return [
    `${WATCHERS} watchers, ${CHANGES} changes, a kill and a restore: ${lost} watchers without the last state, lowest index ${lowest}; woken within ${percentile(sorted, 50)} (p50), ${percentile(sorted, 99)} (p99); the first change after the restore seen in ${afterRestoreMs.toFixed(0)} ms`,
    lost === 0 && lowest >= 1 && p99 < 100 && afterRestoreMs < 1_000,
  ];
}

/** What `wait` may be, and 5,000 who wait and go away. */
async function waits(bench: Bench): Promise<[string, boolean]> {
  const child = startServer(bench);
  await serves(server);
  await server.put("/v1/kv/k", { body: "v" });
  const { index } = await server.get("/v1/kv/k");
  const took = async (wait: string) => {
    const began = performance.now();
    const { status } = await server.get("/v1/kv/k", { query: { index, wait }, allow: [400] });
    return { status, ms: performance.now() - began };
  };
  const short = await took("1ms");
  const refused = await Promise.all(["junk", "-1x", "1", "10 m"].map(took));
  const round = async (count: number) => {
    for (let at = 0; at < count; at += 250) {
      const gone = new AbortController();
      const all = Array.from({ length: 250 }, () =>
        get(`/v1/kv/k?index=${index}&wait=10m`, gone.signal).catch(() => {}),
      );
      await sleep(50);
      gone.abort();
      await Promise.all(all);
    }
  };
  const waiting = async () => /^heddle_catalog_waiters (\d+)$/m.exec((await get("/metrics")).text)?.[1];
  const own = await waiting(); // the agent's
  // Memory goes up and down with the collector: the lowest of some rounds is what stays.
  const lowest = async (): Promise<number> => {
    let low = Infinity;
    for (let i = 0; i < 5; i++) {
      await round(5_000);
      low = Math.min(low, rssMib(child));
    }
    return low;
  };
  // V8 finds the size that its heap is to have within the first 50,000: what comes after that stays.
  for (let i = 0; i < 10; i++) await round(5_000);
  const before = await lowest();
  const after = await lowest();
  await round(5_000);
  const began = performance.now();
  await until(async () => (await waiting()) === own).catch(() => {});
  const freedMs = performance.now() - began;
  const more = after - before;
  await end(child);
  return [
    `1ms answered in ${short.ms.toFixed(0)} ms; junk answered ${refused.map(({ status }) => status).join(", ")}; 5,000 waiters that went away: freed within ${freedMs.toFixed(0)} ms, ${more.toFixed(1)} MiB more after 25,000 of them, 75,000 having gone before`,
    short.ms < 100 && refused.every(({ status }) => status === 400) && freedMs < 1_000 && more < 5,
  ];
}

/** A relay between an agent and its server that can be cut, as a cable is: nothing passes, nothing is told. */
async function startRelay() {
  const open = new Set<Socket>();
  let isCut = false;
  const relay = createTcpServer((client) => {
    const target = connect(SERVER, "127.0.0.1");
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      open.add(from);
      from.on("error", () => {});
      from.on("data", (chunk) => to.write(chunk));
      from.on("close", () => (open.delete(from), to.destroy()));
      if (isCut) from.pause();
    }
  }).listen(RELAY, "127.0.0.1");
  await until(async () => relay.listening);
  return {
    cut: (value: boolean) => {
      isCut = value;
      for (const socket of open) {
        if (value) socket.pause();
        else socket.resume();
      }
    },
    close: () => {
      for (const socket of open) socket.destroy();
      relay.close();
    },
  };
}

/** An agent that is cut off for a minute, while 50 things change on either side. */
async function cutOff(bench: Bench): Promise<[string, boolean]> {
  const child = startServer(bench);
  await serves(server);
  const relay = await startRelay();
  const node = createApiClient({ address: `127.0.0.1:${NODE_HTTP}` });
  const ports = [`-http-port=${NODE_HTTP}`, `-serf-lan-port=${NODE_SERF}`, "-dns-port=-1", "-grpc-port=-1"];
  const agent = bench.heddle(
    ...["agent", "-node=n1", "-bind=127.0.0.1", "-log-level=err", `-data-dir=${join(bench.dir, "n1")}`, ...ports],
    `-retry-join=127.0.0.1:${RELAY}`,
  );
  await until(() => node.get("/v1/agent/self"));
  const register = (id: string, Port: number) =>
    node.put("/v1/agent/service/register", { body: { Name: id, ID: id, Port } });
  for (let i = 0; i < 50; i++) await register(`s${i}`, 1_000 + i);
  const there = async () => {
    const { body } = await server.get<{ Services: { ID: string; Port: number }[] }>("/v1/catalog/node-services/n1");
    return body.Services.map(({ ID, Port }) => `${ID}:${Port}`).toSorted();
  };
  await until(async () => (await there()).length === 50);
  relay.cut(true);
  const began = performance.now();
  // Half of its services change here and are taken out there; others come, here and there.
  for (let i = 0; i < 25; i++) await register(`s${i}`, 2_000 + i);
  for (let i = 50; i < 75; i++) await register(`s${i}`, 1_000 + i);
  for (let i = 0; i < 25; i++) await server.put("/v1/catalog/deregister", { body: { Node: "n1", ServiceID: `s${i}` } });
  for (let i = 0; i < 25; i++) {
    const Service = { Service: `external-${i}`, Port: 3_000 + i };
    await server.put("/v1/catalog/register", { body: { Node: "n1", SkipNodeUpdate: true, Service } });
  }
  await sleep(Math.max(0, 60_000 - (performance.now() - began)));
  const health = async () => (await server.get<{ Status: string }[]>("/v1/health/node/n1")).body[0]?.Status;
  const whileCut = await health();
  relay.cut(false);
  const healedAt = performance.now();
  const want = [
    ...Array.from({ length: 75 }, (_, i) => `s${i}:${i < 25 ? 2_000 + i : 1_000 + i}`),
    ...Array.from({ length: 25 }, (_, i) => `external-${i}:${3_000 + i}`),
  ].toSorted();
  const isSame = async () => (await there()).join() === want.join() && (await health()) === "passing";
  await until(isSame).catch(() => {});
  const ms = performance.now() - healedAt;
  const isMet = await isSame();
  relay.close();
  await end(agent);
  await end(child);
  return [
    `cut off for 60 s (its node was ${whileCut}), 50 changes on either side: ${isMet ? `the same within ${(ms / 1_000).toFixed(1)} s, what is registered at the agent as it says, what others registered still there` : "not the same after 60 s"}`,
    isMet && ms < 60_000,
  ];
}

/** 1,000 checks each second, and one that asks for more. */
async function everySecond(bench: Bench): Promise<[string, boolean]> {
  const [CHECKS, MS] = [1_000, 120_000];
  const arrivals = new Map<string, number[]>();
  const target = createServer((req, res) => {
    const list = arrivals.get(req.url ?? "");
    if (list) list.push(performance.now());
    else arrivals.set(req.url ?? "", [performance.now()]);
    res.end("ok");
  }).listen(TARGET, "127.0.0.1");
  const child = startServer(bench);
  await serves(server);
  const register = (name: string, Interval: string) => {
    const body = { Name: name, HTTP: `http://127.0.0.1:${TARGET}/${name}`, Interval, Timeout: "1s" };
    return server.put("/v1/agent/check/register", { body });
  };
  for (let i = 0; i < CHECKS; i++) await register(`c${i}`, "1s");
  await register("eager", "1ns");
  await sleep(10_000);
  for (const list of arrivals.values()) list.length = 0;
  const before = cpuMs(child);
  await sleep(MS);
  const share = (cpuMs(child) - before) / MS;
  const gaps = [...arrivals.values()].flatMap((list) => list.slice(1).map((at, i) => at - (list[i] as number)));
  const skews = gaps.map((gap) => Math.abs(gap - 1_000)).toSorted((a, b) => a - b);
  const p99 = skews[Math.floor(skews.length * 0.99)] ?? Infinity;
  const eager = (arrivals.get("/eager")?.length ?? 0) / (MS / 1_000);
  target.closeAllConnections();
  target.close();
  await end(child);
  return [
    `${CHECKS} HTTP checks of 1 s for ${MS / 1_000} s: apart by 1 s within ${percentile(skews, 50)} (p50), ${percentile(skews, 99)} (p99); ${(share * 100).toFixed(0)} % of a core for agent and servers in one process; "1ns" ran ${eager.toFixed(2)} times a second`,
    p99 < 200 && share < 1 && eager < 1.05,
  ];
}

/** TTL updates that change nothing, 5,000 a second. */
async function heartbeats(bench: Bench): Promise<[string, boolean]> {
  const [MS, RATE] = [60_000, 5_000];
  const child = startServer(bench);
  await serves(server);
  await server.put("/v1/agent/check/register", { body: { Name: "ttl", TTL: "10m" } });
  await server.put("/v1/agent/check/pass/ttl", { query: { note: "fine" } });
  await sleep(3_000);
  const indexOf = async () => (await server.get("/v1/health/state/any")).index;
  const before = await indexOf();
  const answered = await sendAtRate("PUT", "/v1/agent/check/pass/ttl?note=fine", RATE, MS);
  const after = await indexOf();
  await end(child);
  const perSecond = Math.round(answered / (MS / 1_000));
  return [
    `${perSecond} unchanged TTL updates a second for ${MS / 1_000} s: the catalog's index of checks went from ${before} to ${after}`,
    before === after && perSecond >= RATE * 0.99,
  ];
}

/** Requests at a rate, several on the way on each connection, so that the client is not what is measured. Resolves with how many got a 200. */
async function sendAtRate(method: string, path: string, perSecond: number, ms: number): Promise<number> {
  const [CONNECTIONS, MAX_UNDER_WAY] = [16, 4_000];
  const text = `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n`;
  let [sent, answered] = [0, 0];
  const open = Array.from({ length: CONNECTIONS }, () => {
    const socket = connect(HTTP, "127.0.0.1").setEncoding("latin1");
    let rest = "";
    socket.on("data", (chunk: string) => {
      const parts = (rest + chunk).split("HTTP/1.1 200 ");
      answered += parts.length - 1;
      rest = (parts.at(-1) ?? "").slice(-12); // a status line may come in two pieces
    });
    return socket;
  });
  const beganAt = performance.now();
  for (let n = 0; performance.now() - beganAt < ms; n++) {
    await sleep(5);
    const due = Math.min(((performance.now() - beganAt) * perSecond) / 1_000 - sent, MAX_UNDER_WAY - (sent - answered));
    if (due < 1) continue;
    open[n % CONNECTIONS]?.write(text.repeat(Math.floor(due)));
    sent += Math.floor(due);
  }
  await until(async () => answered === sent);
  for (const socket of open) socket.destroy();
  return answered;
}

/** A script that forks, ignores SIGTERM and floods, again and again: its group ends, and the daemon's memory stays. */
async function flood(bench: Bench): Promise<[string, boolean]> {
  const [ROUNDS, MARK] = [10, `chk02-${process.pid}`];
  const script = `trap "" TERM; for i in $(seq 50); do (trap "" TERM; exec -a ${MARK} sleep 600) & done; head -c 104857600 /dev/zero | tr "\\0" x; sleep 600`;
  mkdirSync(join(bench.dir, "checks"), { recursive: true });
  const child = startServer(bench, "-enable-local-script-checks", `-config-dir=${join(bench.dir, "checks")}`);
  await serves(server);
  const living = () =>
    readdirSync("/proc").filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith(`${MARK}\0`);
      } catch {
        return false; // gone meanwhile
      }
    }).length;
  const checks = async () =>
    (await server.get<Record<string, { Output: string; Status: string }>>("/v1/agent/checks")).body;
  const file = join(bench.dir, "checks/check.json");
  const reload = () => server.put("/v1/agent/reload");
  const round = async (): Promise<{ goneMs: number; kept: number; status: string }> => {
    writeFileSync(
      file,
      JSON.stringify({
        check: { id: "flood", name: "flood", args: ["bash", "-c", script], interval: "1h", timeout: "2s" },
      }),
    );
    await reload();
    await until(async () => living() === 50);
    const beganAt = performance.now();
    await until(async () => (await checks()).flood?.Output.startsWith("Timed out"));
    await until(async () => living() === 0);
    const { Output = "", Status = "" } = (await checks()).flood ?? {};
    const seen = { goneMs: performance.now() - beganAt, kept: Output.length, status: Status };
    rmSync(file);
    await reload();
    return seen;
  };
  await round(); // what runs for the first time is loaded
  const before = rssMib(child);
  const seen = [];
  for (let i = 0; i < ROUNDS; i++) seen.push(await round());
  const more = rssMib(child) - before;
  await end(child);
  const slowest = Math.max(...seen.map(({ goneMs }) => goneMs));
  const longest = Math.max(...seen.map(({ kept }) => kept));
  return [
    `${ROUNDS} scripts with 50 sleepers and 100 MiB of output each, all deaf to SIGTERM: ${seen.map(({ status }) => status)[0]}, the whole group gone within ${(slowest / 1_000).toFixed(1)} s, at most ${longest} bytes kept with what is said of them, ${more.toFixed(1)} MiB more`,
    slowest < 4_000 && longest < 4_096 + 100 && more < 10 && seen.every(({ status }) => status === "critical"),
  ];
}

const rows: Row[] = [
  { id: "con-06", run: watchers },
  { id: "con-08", run: waits },
  { id: "con-10", run: cutOff },
  { id: "chk-02", run: flood },
  { id: "chk-06", run: everySecond },
  { id: "chk-07", run: heartbeats },
];

await onBench(async (bench) => {
  let areMet = true;
  for (const { id, run } of rows) {
    if (chosen.length > 0 && !chosen.includes(id)) continue;
    const [seen, isMet] = await run({ ...bench, dir: join(bench.dir, id) });
    console.log(`${id.toUpperCase()} ${isMet ? "met" : "NOT MET"}: ${seen}`);
    areMet &&= isMet;
  }
  return areMet;
});
