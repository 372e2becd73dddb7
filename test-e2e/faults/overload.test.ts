/**
 * API-15 and API-19, the part that a busy machine can judge: more requests than an agent can answer, and the dearest requests that the
 * limits let through. Memory, answers and processor time count here; rates and delays do not: tools/soak/overload.sh.
 */
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { ask, type Daemon, freePort, get, metric, put, ROOT, run, until } from "./daemon.ts";
import { raw } from "./tcp.ts";

const CONNECTIONS = 190; // of the 200 that one client may have
const AHEAD = 8; // requests that each sends without waiting for answers
const REQUESTS = 30_000;
const MAX_GROWTH_MIB = 100;
const MAX_CPU_SECONDS = 0.25; // API-19: none holds the event loop longer
let agent: Daemon;

beforeAll(async () => {
  const port = await freePort();
  const flags = ["agent", "-dev", `-http-port=${port}`, `-server-port=${await freePort()}`, "-dns-port=-1"];
  const started = run(join(ROOT, "heddle"), [...flags, "-log-level=err"]);
  agent = { ...started, port, url: `http://127.0.0.1:${port}` };
  await until(
    () => get(`${agent.url}/v1/catalog/nodes`),
    ({ text }) => text.includes('"Node"'),
    60_000,
  );
});

const mib = async () => (await metric(agent.url, "process_resident_memory_bytes")) / 1024 / 1024;

/** One of the mix: keys written and read, a list, and filters that are new each time. */
function requestOf(i: number): string {
  const line = [
    `PUT /v1/kv/k${i % 1_000}`,
    `GET /v1/health/service/web?passing&filter=Service.Port==${i % 1_000}`,
    "GET /v1/catalog/services",
    `GET /v1/kv/k${(i * 7) % 1_000}`,
  ][i % 4] as string;
  return `${line} HTTP/1.1\r\nHost: x\r\n${line.startsWith("PUT") ? "Content-Length: 1\r\n\r\nv" : "\r\n"}`;
}

/** Sends its share of the requests, some ahead of their answers, and counts the statuses that come back. */
async function flood(first: number, share: number, statuses: Map<string, number>): Promise<void> {
  const { socket, ended } = await raw(agent.port);
  let sent = 0;
  let answered = 0;
  let rest = "";
  const send = () => {
    while (sent < share && sent - answered < AHEAD) socket.write(requestOf(first + sent++));
  };
  socket.on("data", (chunk: Buffer) => {
    const text = rest + chunk.toString("latin1");
    for (const [, status = ""] of text.matchAll(/HTTP\/1\.1 (\d{3}) /g)) {
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      answered++;
    }
    // The beginning of a status line whose end is still to come.
    rest = /HTTP\/1\.1 ?\d{0,3}$|H(?:T(?:T(?:P(?:\/(?:1\.?)?)?)?)?)?$/.exec(text)?.[0] ?? "";
    if (answered === share) socket.end();
    else send();
  });
  send();
  await ended;
}

test(`${REQUESTS} requests, as fast as ${CONNECTIONS} connections can send them: all are answered, others too, memory stays`, {
  timeout: 120_000,
}, async () => {
  await put(`${agent.url}/v1/catalog/register`, { Node: "n", Address: "10.0.0.1", Service: { Service: "web" } });
  const statuses = new Map<string, number>();
  const share = Math.floor(REQUESTS / CONNECTIONS);
  await flood(0, 4_000, statuses);
  const before = await mib();
  let isOver = false;
  const floods = Promise.all(Array.from({ length: CONNECTIONS }, (_, i) => flood(i * share, share, statuses))).then(
    () => (isOver = true),
  );
  // Another client is served meanwhile.
  let served = 0;
  while (!isOver) {
    expect((await ask(`${agent.url}/v1/status/leader`, { timeoutMs: 30_000 })).status).toBe(200);
    served++;
  }
  await floods;
  expect(served).toBeGreaterThan(5);
  expect([...statuses.keys()].filter((status) => !["200", "404", "429", "503"].includes(status))).toEqual([]);
  expect([...statuses.values()].reduce((sum, n) => sum + n)).toBe(share * CONNECTIONS + 4_000);
  expect((await mib()) - before).toBeLessThan(MAX_GROWTH_MIB);
  expect(agent.child.exitCode).toBeNull();
  await expect.poll(async () => (await get(`${agent.url}/v1/kv/k0?raw`)).text).toBe("v");
});

const long = "x".repeat(500);
const operations = Array.from({ length: 128 }, (_, i) => ({
  KV: { Verb: "set", Key: `t/${i}`, Value: Buffer.alloc(2_000, i).toString("base64") },
}));
const EXPENSIVE: [what: string, method: string, target: string, body?: object][] = [
  ["a transaction of 128 operations and 256 KiB", "PUT", "/v1/txn", operations],
  ["a value of 512 KiB", "PUT", "/v1/kv/big", Buffer.alloc(512 * 1024, "x")],
  [
    "1,000 instances through a regular expression",
    "GET",
    `/v1/health/service/many?filter=${encodeURIComponent('Service.ID matches "(a|aa)+$"')}`,
  ],
  [
    "1,000 instances through a nested filter",
    "GET",
    `/v1/health/service/many?filter=${encodeURIComponent(Array.from({ length: 60 }, (_, i) => `Service.Meta.k${i} != "${i}"`).join(" and "))}`,
  ],
  ["every key", "GET", "/v1/kv/?recurse"],
  ["every service of the page's list", "GET", "/v1/internal/ui/services"],
  [
    "a config entry of 400 subsets",
    "PUT",
    "/v1/config",
    {
      Kind: "service-resolver",
      Name: "many",
      Subsets: Object.fromEntries(
        Array.from({ length: 400 }, (_, i) => [`s${i}`, { Filter: `Service.Meta.v == "${long}"` }]),
      ),
    },
  ],
  [
    "a node with 64 metadata",
    "PUT",
    "/v1/catalog/register",
    {
      Node: "n",
      Address: "10.0.0.1",
      NodeMeta: Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`k${i}`, long])),
    },
  ],
];

test("the dearest requests that the limits let through take less processor time than anybody may hold the event loop", {
  timeout: 120_000,
}, async () => {
  for (let i = 0; i < 1_000; i += 20)
    await Promise.all(
      Array.from({ length: 20 }, (_, j) =>
        put(`${agent.url}/v1/catalog/register`, {
          Node: `m${(i + j) % 50}`,
          Address: "10.0.0.2",
          Service: { ID: `many${i + j}`, Service: "many", Meta: { v: String(j) } },
        }),
      ),
    );
  for (const [what, method, target, body] of EXPENSIVE) {
    const send = () => ask(`${agent.url}${target}`, { method, timeoutMs: 30_000, ...(body && { body }) });
    await send(); // what is loaded when it is first used
    const seconds: number[] = [];
    for (let i = 0; i < 3; i++) {
      const before = await metric(agent.url, "process_cpu_seconds_total");
      const { status, text } = await send();
      expect([200, 400], `${what}: ${text}`).toContain(status);
      seconds.push((await metric(agent.url, "process_cpu_seconds_total")) - before);
    }
    // The least of three: what collects garbage or compiles meanwhile is another thread.
    expect(Math.min(...seconds), what).toBeLessThan(MAX_CPU_SECONDS);
  }
});
