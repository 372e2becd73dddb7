/**
 * Proxies as processes under faults: killed under load, instances that flap, services that are silent or reset at random, a slow and
 * lossy link, a partition. Short here; tools/soak/proxies.sh asks for more.
 */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { type Daemon, daemon, freePort, heddle, type Process, put, until } from "./daemon.ts";

const KILLS = Number(process.env.HEDDLE_SOAK_KILLS ?? 4);
const FLAPS = Number(process.env.HEDDLE_SOAK_FLAPS ?? 20); // ten a second
const LOADERS = 4;

let agent: Daemon;
let behave: (socket: Socket) => void = (socket) => socket.pipe(socket);
const ports = { service: 0, db: 0, upstream: 0 };
const proxies: Record<"db" | "web", Process | undefined> = { db: undefined, web: undefined };

async function listen(onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    onSocket(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function startProxy(name: "db" | "web"): Promise<void> {
  const argv = name === "db" ? ["-sidecar-for=db"] : ["-service=web", `-upstream=db:${ports.upstream}`];
  const proxy = heddle(["connect", "proxy", ...argv, `-http-addr=${agent.url}`, "-admin-dir=none", "-workers=1"]);
  proxies[name] = proxy;
  await proxy.saw("Starting listener");
}

/** The instances of db that a caller's proxy is told. */
async function register(port: number, id = "db"): Promise<void> {
  const definition = {
    ID: id,
    Name: "db",
    Port: ports.service,
    Connect: { SidecarService: { Port: port, Checks: [{ Name: "ttl", TTL: "10m", Status: "passing" }] } },
  };
  expect((await put(`${agent.url}/v1/agent/service/register`, definition)).status).toBe(200);
}

beforeAll(async () => {
  ports.service = await listen((socket) => behave(socket));
  for (const name of ["db", "upstream"] as const) ports[name] = await freePort();
  const http = await freePort();
  agent = await daemon(
    ["agent", "-dev", `-http-port=${http}`, `-server-port=${await freePort()}`, "-dns-port=-1"],
    http,
  );
  await register(ports.db);
  await Promise.all([startProxy("db"), startProxy("web")]);
  await until(
    () => talk(ports.upstream),
    (isServed) => isServed,
  );
}, 60_000);

/** True where what was said came back whole and the connection ended with a FIN. */
async function talk(port: number, timeoutMs = 10_000): Promise<boolean> {
  const socket = connect({ port, host: "127.0.0.1" });
  let [text, ended] = ["", false];
  socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
  socket.on("end", () => (ended = true)).on("error", () => {});
  socket.setTimeout(timeoutMs, () => socket.destroy());
  socket.end("hello");
  await once(socket, "close").catch(() => {});
  return ended && text === "hello";
}

test("killed under load, a proxy takes its own connections along, and the next ones work within a second", {
  timeout: 60_000 + KILLS * 20_000,
}, async () => {
  behave = (socket) => socket.pipe(socket);
  const otherPort = await freePort();
  const other = heddle([
    "connect",
    "proxy",
    "-service=other",
    `-upstream=db:${otherPort}`,
    `-http-addr=${agent.url}`,
    "-admin-dir=none",
  ]);
  await other.saw("Starting listener");
  const slowest: number[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    const victim = kill % 2 === 0 ? "db" : "web";
    let isOver = false;
    const load = Array.from({ length: LOADERS }, async () => {
      while (!isOver) await talk(ports.upstream);
    });
    const open = connect({ port: otherPort, host: "127.0.0.1" });
    open.on("error", () => {});
    open.write("x");
    await once(open, "data");
    await sleep(20 + Math.random() * 100);
    await proxies[victim]?.end("SIGKILL");
    await startProxy(victim);
    const at = performance.now();
    await until(
      () => talk(ports.upstream),
      (isServed) => isServed,
      10_000,
    );
    slowest.push(performance.now() - at);
    // Who does not go through the caller's proxy notices its death by nothing.
    if (victim === "web") {
      open.write("y");
      await once(open, "data");
    }
    open.destroy();
    isOver = true;
    await Promise.all(load);
  }
  process.stdout.write(`${KILLS} kills: served again after at most ${Math.round(Math.max(...slowest))} ms\n`);
  await other.end();
});

test("instances that come and go ten times a second are no failure where one stays", { timeout: 120_000 }, async () => {
  behave = (socket) => socket.pipe(socket);
  const dead = await freePort();
  let [isOver, served, failed] = [false, 0, 0];
  const load = Array.from({ length: LOADERS }, async () => {
    while (!isOver) {
      if (await talk(ports.upstream)) served++;
      else failed++;
    }
  });
  for (let flap = 0; flap < FLAPS; flap++) {
    if (flap % 2 === 0) await register(dead, "db-2");
    else expect((await put(`${agent.url}/v1/agent/service/deregister/db-2`, {})).status).toBe(200);
    await sleep(100);
  }
  await put(`${agent.url}/v1/agent/service/deregister/db-2`, {});
  isOver = true;
  await Promise.all(load);
  expect(served).toBeGreaterThan(FLAPS);
  expect(failed).toBe(0);
});

test("a service that says nothing stays open and harms nobody; one that resets at random is told as it is", {
  timeout: 60_000,
}, async () => {
  behave = (socket) => {
    let mode = "";
    socket.on("data", (chunk: Buffer) => {
      mode ||= chunk.toString()[0] ?? "";
      if (mode === "r") socket.resetAndDestroy();
      else if (mode === "e") socket.end(chunk);
    });
  };
  const say = (text: string) => {
    const socket = connect({ port: ports.upstream, host: "127.0.0.1" });
    const ended = new Promise<string>((resolve) => {
      socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
      socket.on("end", () => resolve("end"));
    });
    socket.on("data", () => {});
    socket.write(text);
    return { socket, ended };
  };
  const silent = Array.from({ length: 50 }, () => say("silent"));
  for (let i = 0; i < 200; i++) {
    const isReset = Math.random() < 0.5;
    expect(await say(isReset ? "reset" : "echo").ended).toBe(isReset ? "ECONNRESET" : "end");
  }
  expect(silent.every(({ socket }) => !socket.destroyed && socket.readable)).toBe(true);
  for (const { socket } of silent) socket.destroy();
});

test("over a link of 50 ms that loses 5 % of its pieces for a while, every byte comes", {
  timeout: 60_000,
}, async () => {
  behave = (socket) => socket.pipe(socket);
  // TCP would send a lost piece again after a timeout: it, and all behind it, come 200 ms later.
  let relayed = 0;
  const relay = await listen((from) => {
    relayed++;
    const to = connect({ port: ports.db, host: "127.0.0.1", allowHalfOpen: true });
    const lag = (source: Socket, target: Socket) => {
      let queue: Promise<unknown> = Promise.resolve();
      source.on("data", (chunk: Buffer) => {
        const late = 50 + (Math.random() < 0.05 ? 200 : 0);
        const arrives = sleep(late);
        queue = queue.then(() => arrives).then(() => target.destroyed || target.write(chunk));
      });
      source.on("end", () => void queue.then(() => target.end()));
      source.on("error", () => target.destroy());
      source.on("close", () => void queue.then(() => target.destroy()));
    };
    lag(from, to);
    lag(to, from);
  });
  // An instance of db that is far away, and the near one is not chosen.
  const far = {
    ID: "far",
    Name: "db-proxy",
    Kind: "connect-proxy",
    Port: relay,
    Proxy: { DestinationServiceName: "db" },
  };
  expect((await put(`${agent.url}/v1/agent/service/register`, far)).status).toBe(200);
  expect((await put(`${agent.url}/v1/agent/check/fail/service:db-sidecar-proxy`, {})).status).toBe(200);
  await until(
    () => talk(ports.upstream).then(() => relayed),
    (count) => count > 0,
  );
  const body = Buffer.alloc(512 * 1024, "heddle");
  const one = async () => {
    const socket = connect({ port: ports.upstream, host: "127.0.0.1" });
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", () => {});
    socket.end(body);
    await once(socket, "close");
    return Buffer.concat(chunks).equals(body);
  };
  expect(await Promise.all(Array.from({ length: 10 }, one))).toEqual(Array.from({ length: 10 }, () => true));
});
