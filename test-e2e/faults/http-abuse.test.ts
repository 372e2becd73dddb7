/** API-01, API-04, API-09: bodies, heads, connections and peers that mean no good, against every HTTP daemon. */
import { beforeAll, describe, expect, test } from "vitest";
import { ask, daemon, type Daemon, freePort, get, metric, NODE, put, ROOT, run, serve, until } from "./daemon.ts";
import { exchange, latencies, percentile, raw, type RawClient } from "./tcp.ts";

const MIB = 1024 * 1024;
const daemons = new Map<string, Daemon>();
const of = (name: string): Daemon => daemons.get(name) as Daemon;

beforeAll(async () => {
  const start = async (name: string, started: Promise<Daemon>) => void daemons.set(name, await started);
  const [http, server] = [await freePort(), await freePort()];
  await start("catalog", serve("catalog", await freePort()));
  await start("ca", serve("ca", await freePort()));
  await start("health", serve("health", await freePort()));
  await start("agent", daemon(["agent", "-dev", `-http-port=${http}`, `-server-port=${server}`, "-dns-port=-1"], http));
});

/** Still there, and nothing went wrong that nobody expected. */
async function isWell(name: string): Promise<void> {
  const { url, child, output } = of(name);
  expect((await ask(`${url}/healthz`, { agent: false })).status).toBe(200);
  expect(child.exitCode).toBeNull();
  expect(
    output()
      .match(/^.*(?:\[ERROR\]|uncaught|unhandled).*$/gim)
      ?.at(-1),
  ).toBeUndefined();
}

const BODIES: [daemon: string, method: string, path: string][] = [
  ["catalog", "PUT", "/v1/kv/a"],
  ["catalog", "PUT", "/v1/catalog/register"],
  ["catalog", "PUT", "/v1/catalog/deregister"],
  ["catalog", "PUT", "/v1/session/create"],
  ["catalog", "POST", "/v1/connect/intentions"],
  ["ca", "POST", "/internal/v1/ca/sign"],
  ["ca", "PUT", "/v1/connect/ca/configuration"],
  ["agent", "PUT", "/v1/kv/a"],
  ["agent", "PUT", "/v1/agent/service/register"],
  ["agent", "PUT", "/v1/agent/check/register"],
  ["agent", "PUT", "/v1/agent/check/update/x"],
  ["agent", "POST", "/v1/agent/connect/authorize"],
  ["agent", "PUT", "/v1/catalog/register"],
  ["agent", "POST", "/v1/connect/intentions"],
];

describe.each(BODIES)("%s %s %s", (name, method, path) => {
  const head = (...lines: string[]) => [`${method} ${path} HTTP/1.1`, "Host: x", ...lines, "", ""].join("\r\n");

  test("a body that says it is too large is refused before it is sent", async () => {
    const client = await raw(of(name).port, head(`Content-Length: ${100 * MIB}`));
    const { text, afterMs } = await client.ended;
    expect(text).toMatch(/^HTTP\/1\.1 413 /);
    expect(text).toMatch(/limit|max size/);
    expect(afterMs).toBeLessThan(2_000);
    await isWell(name);
  });

  test("a body that does not say its length is cut off at the limit", async () => {
    const client = await raw(of(name).port, head("Transfer-Encoding: chunked"));
    const chunk = Buffer.from(`10000\r\n${"x".repeat(65_536)}\r\n`);
    let sent = 0;
    while (!client.socket.destroyed && sent < 100 * MIB && client.received() === "") {
      if (!client.socket.write(chunk))
        await Promise.race([new Promise((resolve) => client.socket.once("drain", resolve)), client.ended]);
      sent += chunk.length;
    }
    await Promise.race([
      client.ended,
      until(
        async () => client.received(),
        (text) => text !== "",
      ),
    ]);
    expect(client.received()).toMatch(/^HTTP\/1\.1 413 /);
    expect(sent).toBeLessThan(16 * MIB); // the limit and what two kernels hold
    await client.ended;
    await isWell(name);
  });

  test("a body that ends early changes nothing, and lies about lengths are refused", async () => {
    const index = async () => (await get(`${of("catalog").url}/v1/catalog/nodes`)).headers["x-consul-index"];
    const before = await index();
    expect(await exchange(of(name).port, `${head("Content-Length: 5000")}{"Node":`, true)).not.toMatch(/^HTTP\/1\.1 2/);
    const vanishing = await raw(of(name).port, `${head("Content-Length: 5000")}{"Node":`);
    vanishing.socket.resetAndDestroy();
    for (const lie of [
      head("Content-Length: 5", "Content-Length: 6"),
      head("Content-Length: 5", "Transfer-Encoding: chunked"),
      head("Content-Length: -5"),
      head("Content-Length: 5x"),
      head("Transfer-Encoding: chunked, identity"),
      `${head("Transfer-Encoding: chunked")}zz\r\n`,
      `${head("Transfer-Encoding: chunked")}ffffffffffffffffff\r\n`,
    ])
      expect([lie, await exchange(of(name).port, lie)]).toEqual([lie, expect.stringMatching(/^HTTP\/1\.1 400 /)]);
    expect(await index()).toBe(before);
    await isWell(name);
  });
});

const JSON_BODIES = BODIES.filter(([, , path]) => !path.includes("/kv/"));
const BROKEN: [name: string, body: string | Buffer][] = [
  ["no JSON", "{"],
  ["another type", '"text"'],
  ["a list", "[1]"],
  ["a million brackets", "[".repeat(200_000)],
  ["a deep object", `${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}`],
  ["a prototype", '{"__proto__":{"polluted":1}}'],
  ["a constructor", '{"constructor":{"prototype":{"polluted":1}}}'],
  ["bytes that are no text", Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d])],
  [
    "wrong types all over",
    '{"Node":1,"Service":[],"Check":"x","Name":{},"SourceName":[],"csr":{},"Config":3,"Status":{}}',
  ],
];
test.each(JSON_BODIES)(
  "%s %s %s refuses what is no answer to its question with 4xx, by plain text or JSON",
  async (name, method, path) => {
    for (const [what, body] of BROKEN) {
      const answer = await ask(of(name).url + path, { method, body });
      // Consul answers 500 where a few of its handlers cannot read a body; clients have seen that.
      const said = `${answer.status} ${answer.text.slice(0, 100)}`;
      expect([what, said]).toEqual([
        what,
        expect.stringMatching(/^4\d\d \S|^500 (?:Failed to decode request body: |Missing node registration)/),
      ]);
      expect([what, answer.headers["x-content-type-options"]]).toEqual([what, "nosniff"]);
    }
    await isWell(name);
  },
);

const HEADS: [name: string, bytes: string][] = [
  ["HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
  ["no protocol", "GET /\r\n\r\n"],
  ["an unknown method", "BREW /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n"],
  ["no host", "GET /v1/kv/a HTTP/1.1\r\n\r\n"],
  ["CONNECT", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"],
  ["a line folded into a header", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\nConnection: close\r\n\r\n"],
  ["a header with NUL", "GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n"],
  ["bare line feeds", "GET /v1/kv/a HTTP/1.1\nHost: x\n\n"],
  [
    "a websocket without a key",
    "GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
  ],
  ["an upgrade to something else", "GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"],
  [
    "a websocket of nowhere",
    "GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
  ],
  ["noise", Buffer.from(Array.from({ length: 4_096 }, (_, i) => (i * 7919) % 256)).toString("latin1")],
];
const TARGETS = [
  "*",
  "http://other/v1/kv/a",
  "/v1/kv/%",
  "/v1/kv/%zz",
  "/v1/kv/%00",
  "/v1/kv/..%2f..%2fetc",
  "/v1/../../etc",
  "//v1//kv//a",
  "/v1/kv/a?index=-1",
  "/v1/kv/a?wait=-1",
  "/v1/kv/a?index=99999999999999999999",
  "/v1/__proto__",
  "/v1/catalog/service/__proto__",
  "/v1/health/service/constructor",
  "/v1/kv/__proto__",
  "/v1/health/state/toString",
  "/v1/stream",
  "/internal/v1/../v1/kv/a",
  "/internal/v1/ca/sign",
  "/internal/v1/checks",
  `/v1/kv/${"a".repeat(8_000)}`,
];

describe.each(["catalog", "ca", "health", "agent"])("%s", (name) => {
  test("odd heads and targets are answered with a reason or closed, never 5xx", async () => {
    for (const [what, bytes] of HEADS) {
      const text = await exchange(of(name).port, Buffer.from(bytes, "latin1"));
      expect([what, text.slice(0, 60)]).toEqual([what, expect.stringMatching(/^$|^HTTP\/1\.1 [1234]/)]);
    }
    for (const target of TARGETS) {
      const text = await exchange(of(name).port, `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      // Consul answers 500 where text is no number for its parser; a caller's words, not ours.
      expect([target, text.slice(0, 400)]).toEqual([
        target,
        expect.stringMatching(/^HTTP\/1\.1 ([1234]|500 [^]*strconv)/),
      ]);
    }
    await isWell(name);
  });

  test("a head is served up to the documented cap, then 431", async () => {
    const { url } = of(name);
    const fits = await ask(`${url}/healthz?filter=${"x".repeat(15_000)}`, { headers: { a: "x".repeat(15_000) } });
    expect(fits.status).toBe(200);
    for (const text of [
      await exchange(of(name).port, `GET /healthz HTTP/1.1\r\nHost: x\r\nA: ${"x".repeat(200_000)}`),
      await exchange(of(name).port, `GET /${"x".repeat(200_000)}`),
    ])
      expect(text).toMatch(/^HTTP\/1\.1 431 /);
    await isWell(name);
  });

  test("the connection past the limit of one client is told so by name, other clients are served", async () => {
    const { port, url } = of(name);
    const [limit, setting] =
      name === "agent" ? [200, "limits.http_max_conns_per_client"] : [2_000, "fixed, of the internal API"];
    const clients = await Promise.all(Array.from({ length: limit }, () => raw(port, "", "127.0.0.7")));
    const { text } = await (await raw(port, "", "127.0.0.7")).ended;
    expect(text).toMatch(/^HTTP\/1\.1 429 /);
    expect(text).toContain(`too many connections from 127.0.0.7: the limit is ${limit} (${setting})`);
    expect((await get(`${url}/healthz`)).status).toBe(200);
    for (const { socket } of clients) socket.destroy();
    await until(
      () => exchange(port, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
      (answer) => answer.startsWith("HTTP/1.1 200"),
    );
    await isWell(name);
  });

  test("peers that vanish in the middle leave nothing behind", async () => {
    const { port, url } = of(name);
    const descriptors = await metric(url, "process_open_fds");
    for (let round = 0; round < 5; round++) {
      const clients = await Promise.all(
        Array.from({ length: 100 }, (_, i) =>
          raw(
            port,
            i % 3 === 0
              ? "GET /v1/kv/a?index=1000000 HTTP/1.1\r\nHost: x\r\n\r\n"
              : i % 3 === 1
                ? "PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"
                : "GET /healthz HT",
          ),
        ),
      );
      clients.forEach(({ socket }, i) => (i % 2 ? socket.resetAndDestroy() : socket.destroy()));
      await Promise.all(clients.map((c) => c.ended));
    }
    await until(
      () => metric(url, "process_open_fds"),
      (now) => now <= descriptors + 5,
    );
    await isWell(name);
  });
});

test("a hundred endless bodies at once: little memory, and others are answered in time", async () => {
  const { port, url } = of("catalog");
  const before = await metric(url, "process_resident_memory_bytes");
  const stop = new AbortController();
  const measuring = latencies(() => put(`${url}/v1/kv/good`, "1"), stop.signal);
  const chunk = Buffer.from(`10000\r\n${"x".repeat(65_536)}\r\n`);
  const pump = async ({ socket, ended }: RawClient) => {
    while (!socket.destroyed)
      if (!socket.write(chunk)) await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), ended]);
  };
  const clients = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      raw(port, `PUT /v1/kv/big${i} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`, "127.0.0.8"),
    ),
  );
  await Promise.all(clients.map(pump));
  stop.abort();
  const took = await measuring;
  expect(percentile(took, 99)).toBeLessThan(5_000);
  // 100 × 512 KiB are under way at once; what counts is that it does not grow with what is sent.
  expect((await metric(url, "process_resident_memory_bytes")) - before).toBeLessThan(150 * MIB);
  expect((await get(`${url}/v1/kv/?keys`)).json<string[]>().filter((k) => k.startsWith("big"))).toEqual([]);
  await isWell("catalog");
});

test("a daemon that is out of descriptors goes on when it has some again", async () => {
  const port = await freePort();
  const argv = [NODE, `${ROOT}apps/cli/src/main.ts`, "serve", "catalog", `-port=${port}`];
  const catalog = run("sh", ["-c", 'ulimit -n 64; exec "$@"', "sh", ...argv]);
  await catalog.saw("is serving");
  const clients = await Promise.all(Array.from({ length: 120 }, () => raw(port)));
  for (const { socket } of clients) socket.destroy();
  await until(
    () => ask(`http://127.0.0.1:${port}/v1/kv/a`, { agent: false, timeoutMs: 1_000 }),
    ({ status }) => status === 404,
    2_000,
  );
  expect(await catalog.end()).toEqual([0, null]);
});
