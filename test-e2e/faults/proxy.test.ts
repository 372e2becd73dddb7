/** PRX-02, PRX-03, PRX-09 and SV-07 with proxies as processes: what comes through them, what bounces off them, what they leave. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { promisify } from "node:util";
import { NOISES } from "@heddle/tls/testing";
import { beforeAll, expect, test } from "vitest";
import { daemon, freePort, get, heddle, metric, type Process, put, until } from "./daemon.ts";
import { earlyDataAt, makeEarlyDataSession } from "./early-data.ts";
import { raw } from "./tcp.ts";

const exec = promisify(execFile);
const MIB = 1024 * 1024;
const ports = { upstream: 0, publicPort: 0, dbMetrics: 0, webMetrics: 0 };
const proxies: Process[] = [];
let behave: (socket: Socket) => void = (socket) => socket.pipe(socket);
let served = 0;

beforeAll(async () => {
  const service = createServer({ allowHalfOpen: true }, (socket) => {
    served++;
    socket.on("error", () => {});
    behave(socket);
  }).listen(0, "127.0.0.1");
  await once(service, "listening");
  const http = await freePort();
  const agent = await daemon(
    ["agent", "-dev", `-http-port=${http}`, `-server-port=${await freePort()}`, "-dns-port=-1"],
    http,
  );
  for (const name of ["upstream", "publicPort", "dbMetrics", "webMetrics"] as const) ports[name] = await freePort();
  const definition = {
    Name: "db",
    Port: (service.address() as AddressInfo).port,
    Connect: { SidecarService: { Port: ports.publicPort } },
  };
  expect((await put(`${agent.url}/v1/agent/service/register`, definition)).status).toBe(200);
  for (const [argv, metrics] of [
    [["-sidecar-for=db"], ports.dbMetrics],
    [["-service=web", `-upstream=db:${ports.upstream}`], ports.webMetrics],
  ] as const) {
    const proxy = heddle([
      "connect",
      "proxy",
      ...argv,
      `-metrics-addr=127.0.0.1:${metrics}`,
      `-http-addr=${agent.url}`,
    ]);
    await proxy.saw("Starting listener");
    proxies.push(proxy);
  }
  await until(
    async () => (await roundTrip("x")).length,
    (n) => n === 1,
  );
}, 60_000);

/** Sends all, ends, and reads until the other side has ended. */
async function roundTrip(bytes: string | Buffer): Promise<Buffer> {
  const socket = connect({ port: ports.upstream, host: "127.0.0.1", allowHalfOpen: true });
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.on("error", reject).on("end", resolve);
  socket.end(bytes);
  await promise;
  return Buffer.concat(chunks);
}

const urls = () => [`http://127.0.0.1:${ports.dbMetrics}`, `http://127.0.0.1:${ports.webMetrics}`];
const descriptors = () => Promise.all(urls().map((url) => metric(url, "process_open_fds")));
const isWell = async () => {
  for (const url of urls()) expect((await get(`${url}/healthz`)).status).toBe(200);
  for (const { child, output } of proxies) {
    expect(child.exitCode).toBeNull();
    expect(output()).not.toMatch(/uncaught|unhandled|^\s+at .*:\d+:\d+/im);
  }
};

test("PRX-02: a megabyte, a FIN, a megabyte back; and a service that ends first", async () => {
  const request = Buffer.alloc(MIB, "q");
  const reply = Buffer.alloc(MIB, "r");
  behave = (socket) => {
    let size = 0;
    socket.on("data", (chunk: Buffer) => (size += chunk.length));
    socket.on("end", () => socket.end(size === MIB ? reply : "short"));
  };
  for (let batch = 0; batch < 10; batch++)
    for (const answer of await Promise.all(Array.from({ length: 10 }, () => roundTrip(request))))
      expect(answer.equals(reply)).toBe(true);
  const sizes: number[] = [];
  behave = (socket) => {
    let size = 0;
    socket.end(reply);
    socket.on("data", (chunk: Buffer) => (size += chunk.length));
    socket.on("end", () => sizes.push(size));
  };
  for (const answer of await Promise.all(Array.from({ length: 20 }, () => roundTrip(request))))
    expect(answer.equals(reply)).toBe(true);
  await until(
    async () => sizes.length,
    (n) => n === 20,
  );
  expect(new Set(sizes)).toEqual(new Set([MIB]));
  await isWell();
});

test("PRX-03: 1,500 connections opened and closed, half of them by a reset, leave no descriptor behind", async () => {
  const ends = { end: 0, reset: 0 };
  behave = (socket) => {
    socket.on("error", () => ends.reset++);
    socket.on("end", () => {
      ends.end++;
      socket.end();
    });
    socket.resume();
  };
  const before = await descriptors();
  const start = served;
  const total = 1_500;
  const one = async (n: number) => {
    const socket = connect(ports.upstream, "127.0.0.1");
    socket.on("error", () => {});
    await once(socket, "connect");
    socket.write("x");
    await until(
      async () => served,
      (now) => now > start + Math.min(n, total) - 200,
      5_000,
    );
    if (n % 2) socket.resetAndDestroy();
    else socket.end();
    await new Promise((resolve) => socket.once("close", resolve));
  };
  for (let n = 0; n < total; n += 100) await Promise.all(Array.from({ length: 100 }, (_, i) => one(n + i)));
  await until(descriptors, (now) => now.every((fds, i) => fds <= (before[i] as number) + 5), 15_000);
  // Those that were reset before they reached the service are no connections of it.
  await until(
    async () => ends.end,
    (n) => n >= total / 2,
  );
  await isWell();
}, 60_000);

test("PRX-09: noise, plain HTTP and broken TLS records bounce off the public listener", async () => {
  behave = (socket) => socket.pipe(socket);
  const reached = served;
  const [db] = urls();
  const before = await metric(db as string, "process_resident_memory_bytes");
  const fds = await descriptors();
  for (let round = 0; round < 100; round++) {
    await Promise.all(
      NOISES.map(async (bytes, i) => {
        const client = await raw(ports.publicPort, bytes);
        if ((round + i) % 2) client.socket.resetAndDestroy();
        else client.socket.destroy();
        const { text } = await client.ended;
        expect(text).not.toContain("HTTP/1.1 200");
      }),
    );
  }
  expect(served).toBe(reached);
  await until(descriptors, (now) => now.every((n, i) => n <= (fds[i] as number) + 5), 15_000);
  expect((await metric(db as string, "process_resident_memory_bytes")) - before).toBeLessThan(40 * MIB);
  expect((await roundTrip("still here")).toString()).toBe("still here");
  await isWell();
}, 40_000);

test("SV-07: no old protocol, no weak cipher, nobody without a certificate", async () => {
  const reached = served;
  const client = async (...argv: string[]) => {
    const { stdout, stderr } = await exec("sh", [
      "-c",
      'sleep 0.3 | timeout 5 openssl s_client "$@" || true',
      "sh",
      "-connect",
      `127.0.0.1:${ports.publicPort}`,
      ...argv,
    ]);
    return stdout + stderr;
  };
  const [old, older, weak, bare] = await Promise.all([
    client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
    client("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
    client("-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA:DES-CBC3-SHA:@SECLEVEL=0"),
    client("-tls1_2"),
  ]);
  for (const text of [old, older, weak]) expect(text).toMatch(/Cipher is \(NONE\)/);
  expect(bare).toMatch(/handshake failure|certificate required|alert/);
  expect(served).toBe(reached);
  await isWell();
});

test("SV-07: no session is taken, and so no early data", async () => {
  const reached = served;
  expect(await makeEarlyDataSession()).toMatch(/Early data was accepted/);
  const text = await earlyDataAt(ports.publicPort);
  expect(text).toMatch(/Early data was rejected/);
  expect(text).toMatch(/^New, TLSv1.3/m);
  expect(served).toBe(reached);
  await isWell();
});

test("SIGTERM drains: an open connection may finish, a new one is refused, and both end with 0", async () => {
  behave = (socket) => socket.pipe(socket);
  const open = await raw(ports.upstream, "first");
  await until(
    async () => open.received(),
    (text) => text === "first",
  );
  const ending = proxies.map((proxy) => proxy.end());
  await Promise.all(proxies.map((proxy) => proxy.saw("draining")));
  open.socket.write(" last");
  await until(
    async () => open.received(),
    (text) => text === "first last",
  );
  open.socket.end();
  await open.ended;
  expect(await Promise.all(ending)).toEqual([
    [0, null],
    [0, null],
  ]);
});
