/** Several threads of one process: connections are dealt out, and rules, limits, leaves and metrics are one for all of them. */
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import type { Worker } from "node:worker_threads";
import { startFakeAgent } from "@heddle/data-plane/testing";
import { createMeshClient } from "@heddle/tls";
import { expect, onTestFinished, test } from "vitest";
import {
  type App,
  deny,
  dialApp,
  echo,
  freePort,
  isReady,
  listeningSockets,
  sidecar,
  startPair,
  startProxy,
  startService,
} from "./harness.ts";

const THREADS = 2;

/** The threads that run: Node tells of each one where it is made. */
const workers = new Set<Worker>();
process.on("worker", (worker) => {
  workers.add(worker);
  worker.once("exit", () => workers.delete(worker));
});

/** `web` and `db`, each on several threads, as one process each. */
async function startThreads(options: { config?: Record<string, unknown>; limits?: Record<string, unknown> } = {}) {
  const agent = await startFakeAgent();
  onTestFinished(() => agent.stop());
  const service = await startService(echo);
  const publicPort = await freePort();
  const upstreamPort = await freePort();
  agent.change((state) => {
    state.services["db-sidecar-proxy"] = sidecar(publicPort, service.port, options.config);
    state.services["web-sidecar-proxy"] = {
      Kind: "connect-proxy",
      ID: "web-sidecar-proxy",
      Proxy: {
        DestinationServiceName: "web",
        DestinationServiceID: "web",
        Upstreams: [{ DestinationName: "db", LocalBindPort: upstreamPort, Config: { limits: options.limits ?? {} } }],
      },
    };
    state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
  });
  const start = async (id: string) =>
    startProxy(
      [`-proxy-id=${id}-sidecar-proxy`, `-workers=${THREADS}`, `-metrics-addr=127.0.0.1:${await freePort()}`],
      { agent: agent.address },
    );
  const db = await start("db");
  const web = await start("web");
  await Promise.all([isReady(db), isReady(web)]);
  // Each thread has its own socket on the port.
  const standing = () => listeningSockets(publicPort) + listeningSockets(upstreamPort);
  await expect.poll(standing, { timeout: 20_000, interval: 20 }).toBe(2 * THREADS);
  return { agent, service, db, web, publicPort, upstreamPort };
}

/** Applications that said something and heard it back. */
async function talk(port: number, count: number): Promise<App[]> {
  const apps = await Promise.all(Array.from({ length: count }, () => dialApp(port)));
  for (const [i, app] of apps.entries()) app.socket.write(`hello ${i}.`);
  await Promise.all(apps.map((app, i) => app.sawText(`hello ${i}.`)));
  return apps;
}

async function valueOf(url: string, series: RegExp): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split("\n").find((l) => series.test(l));
  return Number(line?.split(" ").at(-1) ?? Number.NaN);
}

test("what all threads carry is in one value, and a deny cuts it on all of them", async () => {
  const { agent, db, web, upstreamPort } = await startThreads();
  const apps = await talk(upstreamPort, 60);
  const open = /^heddle_proxy_connections_open\{direction="\w+",source="web",destination="db"/;
  expect(await valueOf(web.running.url, open)).toBe(60);
  expect(await valueOf(db.running.url, open)).toBe(60);
  for (let thread = 0; thread < THREADS; thread++)
    expect(await valueOf(web.running.url, new RegExp(`event_loop_delay.*worker="${thread}"`))).toBeGreaterThanOrEqual(
      0,
    );
  expect(await valueOf(web.running.url, /^process_open_fds/)).toBeGreaterThan(60);

  agent.change((state) => state.intentions.push(deny("web", "db")));
  expect(await Promise.all(apps.map((app) => app.ended))).toEqual(apps.map(() => "ECONNRESET"));
  const again = await Promise.all(Array.from({ length: 30 }, () => dialApp(upstreamPort)));
  expect(await Promise.all(again.map((app) => app.ended))).toEqual(again.map(() => "ECONNRESET"));
  await expect.poll(() => valueOf(web.running.url, /^heddle_proxy_connections_open/)).toBe(0);
  await expect.poll(() => valueOf(db.running.url, /result="refused",reason="intention"/)).toBe(30);
  // Both threads had some: the kernel deals out by address and port.
  expect(web.entries.filter((e) => e.sentence === "connection closed").length).toBeGreaterThan(0);
  expect(web.threadLines.filter((line) => line.includes("connection closed")).length).toBeGreaterThan(0);
});

test("a second thread comes by itself once there is work, and takes its part of it", async () => {
  const { web, port } = await startPair({ webArgv: ["-workers=0"] });
  const rounds = async () => {
    for (const app of await talk(port, 40)) app.socket.destroy();
    return web.threadLines.some((line) => line.includes("connection closed"));
  };
  await expect.poll(rounds, { timeout: 20_000, interval: 1 }).toBe(true);
  expect(listeningSockets(port)).toBe(2);
});

test("a thread that ends takes its own connections along, and another takes its place", async () => {
  const { web, db, upstreamPort } = await startThreads();
  const [, ofWeb, ...others] = workers; // one of each proxy, in the order of their start
  expect(others).toEqual([]);
  const apps = await talk(upstreamPort, 40);
  await ofWeb?.terminate();
  await expect.poll(() => workers.size, { message: "another one runs" }).toBe(2);
  // The kernel ends what was on it, as with a process that is killed; the others go on.
  const over = new Set<App>();
  for (const app of apps) void app.ended.then(() => over.add(app));
  const isSettled = () => apps.every((app) => over.has(app) || app.received().toString().endsWith("still"));
  for (const app of apps) app.socket.write("still");
  await expect.poll(isSettled).toBe(true);
  expect(over.size).toBeGreaterThan(0);
  expect(over.size).toBeLessThan(apps.length);
  for (const app of apps) app.socket.destroy();
  const open = /^heddle_proxy_connections_open/;
  for (const proxy of [web, db]) await expect.poll(() => valueOf(proxy.running.url, open)).toBe(0);
  const standing = () => listeningSockets(upstreamPort);
  await expect.poll(standing, { message: "the new thread listens" }).toBe(THREADS);
  await talk(upstreamPort, 20);

  // Also with connections on them, threads end for good.
  await Promise.all([web.running.close(), db.running.close()]);
  await expect.poll(() => workers.size, { message: "no thread is left" }).toBe(0);
});

test("a limit holds for all threads together", async () => {
  const { upstreamPort } = await startThreads({ limits: { max_connections: 20 } });
  const apps = await Promise.all(Array.from({ length: 50 }, () => dialApp(upstreamPort)));
  const refused = new Set<App>();
  for (const app of apps) {
    app.socket.write("hello");
    void app.ended.then(() => refused.add(app));
  }
  const served = () => apps.filter((app) => app.received().toString() === "hello").length;
  await expect.poll(() => served() + refused.size).toBe(50);
  expect(served()).toBe(20);
  // What ends makes room, whichever thread had it.
  for (const app of apps) app.socket.end();
  await Promise.all(apps.map((app) => app.ended));
  await expect.poll(async () => (await talk(upstreamPort, 20)).length).toBe(20);
});

test("the service's own limit, too, and a renewed leaf is shown by each", async () => {
  const { agent, db, publicPort, upstreamPort } = await startThreads({ config: { max_inbound_connections: 10 } });
  const apps = await Promise.all(Array.from({ length: 30 }, () => dialApp(upstreamPort)));
  for (const app of apps) app.socket.write("hello");
  const ended = new Set<App>();
  for (const app of apps) void app.ended.then(() => ended.add(app));
  const served = () => apps.filter((app) => app.received().toString() === "hello").length;
  await expect.poll(() => served() + ended.size).toBe(30);
  expect(served()).toBe(10);

  const shown = async () => {
    const socket = connectTls({ ...createMeshClient(agent.mesh.identity("web")).options(), port: publicPort });
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    const serial = socket.getPeerX509Certificate()?.serialNumber;
    socket.destroy();
    return serial;
  };
  for (const app of apps) app.socket.destroy();
  await expect.poll(() => valueOf(db.running.url, /^heddle_proxy_connections_open/)).toBe(0);
  const before = await shown();
  agent.change((state) => {
    state.signing = { ...state.signing };
  });
  await expect.poll(() => db.count("Parsed TLS identity")).toBe(2);
  const after = async () => new Set(await Promise.all(Array.from({ length: 8 }, shown)));
  await expect.poll(async () => (await after()).has(before)).toBe(false);
  expect((await after()).size).toBe(1);
});
