/**
 * Rows of the proxy at their full size, by hand: what was seen is printed for docs/security-rows.md, and the status is 1 where a row was
 * not met. All on loopback; some ten minutes in all.
 *
 *     node tools/soak/proxy-rows.ts [prx-03] [prx-04] [prx-08] [prx-09]
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { sleep } from "@heddle/daemon";
import { NOISES } from "@heddle/tls/testing";
import { holdings, startPair } from "./pair.ts";
import { type Bench, latencies, onBench, percentile, until } from "./support.ts";

const HTTP = 18_760;
const QUIET_MS = 10_000; // for the collector
const SAME = 5; // descriptors that are no leak
const chosen = process.argv.slice(2).map((name) => name.toLowerCase());

type Seen = [seen: string, isMet: boolean];
type Pair = Awaited<ReturnType<typeof startPair>>;

/** The service that both proxies lead to, in this process; it echoes unless told otherwise. */
let behave: (socket: Socket) => void;
const echo = (socket: Socket): void => void socket.pipe(socket);
let served = 0;
const service = createServer({ allowHalfOpen: true }, (socket) => {
  served++;
  socket.on("error", () => {});
  behave(socket);
});

async function pairFor(bench: Bench, name: string): Promise<Pair> {
  behave = echo;
  if (!service.listening) await once(service.listen(0, "127.0.0.1"), "listening");
  const { port } = service.address() as AddressInfo;
  const dir = join(bench.dir, name);
  mkdirSync(dir);
  return startPair({ ...bench, dir }, HTTP, {
    service: { name: "echo", port, connect: { sidecar_service: {} } },
  });
}

const descriptors = ({ proxies }: Pair) => proxies.map((proxy) => holdings(proxy).descriptors);
const mib = ({ proxies }: Pair) => proxies.map((proxy) => holdings(proxy).mib);
const isAlive = ({ proxies }: Pair) => proxies.every(({ exitCode, signalCode }) => exitCode === null && !signalCode);

/** `once` would reject where an error comes first. */
const closeOf = (socket: Socket): Promise<void> => new Promise((resolve) => socket.once("close", () => resolve()));

/** So many, some at a time. */
async function each(count: number, together: number, one: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  const work = async () => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: together }, work));
}

async function end(pair: Pair): Promise<void> {
  for (const child of [...pair.proxies, pair.agent]) child.kill("SIGKILL");
  await until(async () => [...pair.proxies, pair.agent].every(({ signalCode }) => signalCode !== null));
}

/** Opened and closed, half of them by a reset: when the service hears of it, and what stays open. */
async function openedAndClosed(bench: Bench): Promise<Seen> {
  const [COUNT, TOGETHER, MOST_MS] = [50_000, 16, 100];
  const pair = await pairFor(bench, "prx-03");
  const heard = new Map<string, (how: string) => void>();
  const wrong = { end: 0, reset: 0, lost: 0 };
  behave = (socket) => {
    let id = "";
    socket.on("data", (chunk: Buffer) => {
      id += chunk.toString();
      if (id.length === 6) socket.write("y");
    });
    socket.on("error", () => heard.get(id)?.("reset"));
    socket.on("end", () => {
      heard.get(id)?.("end");
      socket.end();
    });
  };
  const before = descriptors(pair);
  const times: number[] = [];
  await each(COUNT, TOGETHER, async (n) => {
    const id = String(n).padStart(6, "0");
    const how = n % 2 === 0 ? "end" : "reset";
    const socket = connect(pair.upstream, "127.0.0.1").on("error", () => {});
    const closed = closeOf(socket);
    const isThere = new Promise<string>((resolve) => heard.set(id, resolve));
    socket.write(id);
    const isServed = new Promise<boolean>((resolve) => socket.once("data", () => resolve(true)));
    if (!(await Promise.race([isServed, closed]))) return void wrong.lost++;
    const startedAt = performance.now();
    if (how === "end") socket.end();
    else socket.resetAndDestroy();
    if ((await isThere) !== how) wrong[how]++;
    times.push(performance.now() - startedAt);
    heard.delete(id);
    await closed;
  });
  await until(async () => descriptors(pair).every((now, i) => now <= (before[i] as number) + SAME)).catch(() => {});
  const after = descriptors(pair);
  await end(pair);
  const sorted = times.toSorted((a, b) => a - b);
  const late = sorted.filter((ms) => ms > MOST_MS).length;
  const failed = wrong.lost + wrong.end + wrong.reset;
  return [
    `${COUNT} opened and closed, half by a reset, ${failed} not as they were; the service heard of it after ${percentile(sorted, 50)} (p50), ${percentile(sorted, 99)} (p99), ${percentile(sorted, 100 - 1e-9)} at most, ${late} after more than ${MOST_MS} ms; descriptors of the proxies ${before.join(", ")} before, ${after.join(", ")} after`,
    failed === 0 && late === 0 && after.every((now, i) => Math.abs(now - (before[i] as number)) <= SAME),
  ];
}

/** Bytes that the kernel holds for who connected to a port of this machine, or for who listens there, proc(5). */
function queued(port: number, towards: "caller" | "listener"): number {
  const at = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  let bytes = 0;
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1)) {
    const [, local = "", remote = "", state, queues = ""] = line.trim().split(/\s+/);
    if (state !== "01" || !(local.endsWith(at) || remote.endsWith(at))) continue;
    const [unsent, unread] = queues.split(":").map((hex) => Number.parseInt(hex, 16)) as [number, number];
    bytes += local.endsWith(at) === (towards === "caller") ? unsent : unread;
  }
  return bytes;
}

async function bytesOf(port: number, flow: "in" | "out"): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const lines = text.matchAll(new RegExp(`^heddle_proxy_bytes_total\\{[^}]*flow="${flow}"[^}]*\\} (\\d+)$`, "gm"));
  return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
}

/** Who writes as fast as it can, to who reads 10 KiB a second, both ways; what proxies and tunnel hold, and whether others wait. */
async function slowReaders(bench: Bench): Promise<Seen> {
  const [READERS, MS, STEP_MS, PIECE, MOST_KIB] = [50, 60_000, 100, 1_024, 128];
  const pair = await pairFor(bench, "prx-04");
  const servicePort = (service.address() as AddressInfo).port;
  const chunk = Buffer.alloc(64 * 1_024, "w");
  const writeAlways = (socket: Socket) => {
    const more = () => {
      while (socket.writable && socket.write(chunk));
    };
    socket.on("drain", more);
    more();
  };
  const slow: Socket[] = [];
  const isSlow = { up: new Set<Socket>(), down: new Set<Socket>() };
  behave = (socket) =>
    socket.once("data", (first: Buffer) => {
      if (first[0] === 0x64) writeAlways(socket.resume());
      else if (first[0] === 0x75) {
        socket.pause();
        slow.push(socket);
        isSlow.up.add(socket);
      } else {
        socket.write(first);
        echo(socket);
      }
    });
  const before = mib(pair);
  const apps: Socket[] = [];
  for (let i = 0; i < READERS; i++)
    for (const way of ["u", "d"]) {
      const app = connect({ port: pair.upstream, host: "127.0.0.1" }).on("error", () => {});
      apps.push(app);
      app.write(way);
      if (way === "u") writeAlways(app);
      else {
        app.pause();
        slow.push(app);
        isSlow.down.add(app);
      }
    }
  const timer = setInterval(() => {
    for (const socket of slow) socket.read(PIECE);
  }, STEP_MS);
  const stop = new AbortController();
  const others = latencies(pair.talk, stop.signal);
  await until(async () => slow.length === 2 * READERS);
  const taken = (sockets: Set<Socket>) => [...sockets].reduce((sum, { bytesRead }) => sum + bytesRead, 0);
  let [mostUp, mostDown] = [0, 0];
  const startedAt = performance.now();
  while (performance.now() - startedAt < MS) {
    await sleep(5_000);
    // What one proxy has read and the far reader's kernel has not been given. Other connections' bytes come and go whole.
    const up = (await bytesOf(pair.metrics[1], "in")) - taken(isSlow.up) - queued(servicePort, "listener");
    const down = (await bytesOf(pair.metrics[0], "out")) - taken(isSlow.down) - queued(pair.upstream, "caller");
    mostUp = Math.max(mostUp, up / READERS / 1_024);
    mostDown = Math.max(mostDown, down / READERS / 1_024);
  }
  const after = mib(pair);
  stop.abort();
  const sorted = await others;
  clearInterval(timer);
  const [up, down] = [taken(isSlow.up), taken(isSlow.down)].map((n) => n / READERS / (MS / 1_000) / 1_024) as [
    number,
    number,
  ];
  for (const app of apps) app.destroy();
  await end(pair);
  return [
    `${READERS} readers of ${(PIECE * 1_000) / STEP_MS / 1_024} KiB/s each way for ${MS / 1_000} s (they took ${up.toFixed(1)} and ${down.toFixed(1)} KiB/s): both proxies and the tunnel held at most ${mostUp.toFixed(0)} KiB of each towards the service, ${mostDown.toFixed(0)} towards the application; memory ${before.join(", ")} MiB before, ${after.join(", ")} after; ${sorted.length} new connections meanwhile, p50 ${percentile(sorted, 50)}, p99 ${percentile(sorted, 99)}`,
    mostUp <= MOST_KIB && mostDown <= MOST_KIB,
  ];
}

/** A port whose kernel drops what wants to connect: its process is stopped and its queue is full. */
async function blackHole(): Promise<{ port: number; close: () => void }> {
  const script = `const s = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(s.address().port));`;
  const child: ChildProcess = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  process.once("exit", () => child.kill("SIGKILL"));
  const [text] = (await once(child.stdout as NodeJS.ReadableStream, "data")) as [Buffer];
  const port = Number(text);
  child.kill("SIGSTOP");
  const filling: Socket[] = [];
  for (let isFull = false; !isFull; ) {
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    filling.push(socket);
    isFull = await Promise.race([once(socket, "connect").then(() => false), sleep(500).then(() => true)]);
  }
  return {
    port,
    close: () => {
      for (const socket of filling) socket.destroy();
      child.kill("SIGKILL");
    },
  };
}

/** Three instances: one that is well, one that refuses, one that drops what comes. */
async function deadAndSilent(bench: Bench): Promise<Seen> {
  const [COUNT, TOGETHER, CONNECT_TIMEOUT_MS] = [1_000, 4, 10_000];
  const pair = await pairFor(bench, "prx-08");
  const hole = await blackHole();
  const dead = createServer().listen(0, "127.0.0.1");
  await once(dead, "listening");
  const { port: deadPort } = dead.address() as AddressInfo;
  await new Promise((resolve) => dead.close(resolve));
  for (const [ID, Port] of [
    ["dead", deadPort],
    ["silent", hole.port],
  ] as const) {
    const Proxy = { DestinationServiceName: "echo" };
    const body = { ID, Name: "echo-proxy", Kind: "connect-proxy", Port, Proxy };
    await pair.api.put("/v1/agent/service/register", { body });
  }
  await until(async () => (await pair.api.get<unknown[]>("/v1/health/connect/echo?passing")).body.length === 3);
  await sleep(500); // the proxy hears of them as soon as we do
  const times: number[] = [];
  let failed = 0;
  await each(COUNT, TOGETHER, async () => {
    const startedAt = performance.now();
    await pair.talk().catch(() => failed++);
    times.push(performance.now() - startedAt);
  });
  hole.close();
  await end(pair);
  const sorted = times.toSorted((a, b) => a - b);
  const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? Infinity;
  return [
    `${COUNT} connects with one instance that is well, one that refuses and one whose machine drops what comes: ${failed} failed; ${percentile(sorted, 50)} (p50), ${percentile(sorted, 99)} (p99), ${percentile(sorted, 100 - 1e-9)} at most, of a connect timeout of ${CONNECT_TIMEOUT_MS} ms`,
    failed === 0 && p99 < CONNECT_TIMEOUT_MS + 100,
  ];
}

/** Noise at the public listener. */
async function noise(bench: Bench): Promise<Seen> {
  const [COUNT, TOGETHER, WARM, MOST_MIB] = [100_000, 50, 5_000, 20];
  const pair = await pairFor(bench, "prx-09");
  const [proxy] = pair.proxies as [ChildProcess];
  const reached = served;
  const send = async (n: number): Promise<void> => {
    const bytes = NOISES[n % NOISES.length] as Buffer;
    const socket = connect(pair.publicPort, "127.0.0.1").on("error", () => {});
    const closed = closeOf(socket.resume());
    await Promise.race([new Promise((resolve) => socket.once("connect", resolve)), closed]);
    await new Promise((resolve) => socket.write(bytes, resolve));
    if (Math.floor(n / NOISES.length) % 2 === 0) socket.resetAndDestroy();
    else socket.end();
    await closed;
  };
  await each(WARM, TOGETHER, send);
  await sleep(QUIET_MS);
  const [before, fds] = [holdings(proxy), descriptors(pair)];
  await each(COUNT, TOGETHER, send);
  await sleep(QUIET_MS);
  const after = holdings(proxy);
  const isServed = await pair.talk().then(
    () => true,
    () => false,
  );
  const came = served - reached - (isServed ? 1 : 0);
  const isWell = isServed && isAlive(pair);
  await end(pair);
  return [
    `${COUNT} of ${NOISES.length} kinds of noise: ${isWell ? "the proxy serves as before" : "the proxy does NOT serve"}, ${came} reached the service; ${before.mib} MiB after the first ${WARM}, ${after.mib} in the end; descriptors ${fds[0]} and ${after.descriptors}`,
    isWell && came === 0 && after.mib - before.mib < MOST_MIB && Math.abs(after.descriptors - (fds[0] ?? 0)) <= SAME,
  ];
}

const rows: { id: string; run: (bench: Bench) => Promise<Seen> }[] = [
  { id: "prx-03", run: openedAndClosed },
  { id: "prx-04", run: slowReaders },
  { id: "prx-08", run: deadAndSilent },
  { id: "prx-09", run: noise },
];

await onBench(async (bench) => {
  let areMet = true;
  for (const { id, run } of rows) {
    if (chosen.length > 0 && !chosen.includes(id)) continue;
    const [seen, isMet] = await run(bench);
    console.log(`${id.toUpperCase()} ${isMet ? "met" : "NOT MET"}: ${seen}`);
    areMet &&= isMet;
  }
  return areMet;
});
