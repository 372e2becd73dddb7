/** Nodes and servers at other times: a certificate that has expired, clocks that are apart. Both ends in this process, for only so they can be moved. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openNodeIdentity } from "@heddle/agent";
import { createApiClient, internalTls } from "@heddle/api-client";
import { createCa } from "@heddle/ca";
import {
  createLogHub,
  createRegistry,
  publicApi,
  silentLog,
  startHttpServer,
  startInternalServer,
} from "@heddle/daemon";
import { LocalStore, memoryBackend } from "@heddle/store";
import { expect, onTestFinished, test } from "vitest";

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

/** Both ends' clock: it runs, and is behind by so much. TLS itself has the machine's. */
const behind = { ms: 0 };
const clock = {
  now: () => Date.now() - behind.ms,
  after(ms: number, fn: () => void) {
    const timer = setTimeout(fn, Math.min(ms, 2 ** 31 - 1)).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Founded so long ago. */
async function startCa(ageMs = 50 * DAY_MS) {
  behind.ms = ageMs;
  const ca = await createCa({
    store: await LocalStore.open(memoryBackend()),
    datacenter: "dc1",
    initialConfig: { CSRMaxPerSecond: 0 },
    registry: createRegistry("ca"),
    joining: { address: "127.0.0.1:1", isAlive: () => false },
    clock,
    log: silentLog,
  });
  onTestFinished(() => ca.close());
  behind.ms = 0;
  const identity = await ca.serverIdentity();
  onTestFinished(() => identity[Symbol.dispose]());
  const open = ca.joining ? [ca.joining.open] : [];
  const hub = createLogHub({ write: () => {} });
  const logs: unknown[] = [];
  hub.tap("warn", ({ fields }) => logs.push(fields["error"]));
  const place = { host: "127.0.0.1", port: 0, log: hub.log };
  const internal = await startInternalServer({ ...place, identity, open, parts: [{ handle: ca.internal }] });
  onTestFinished(() => internal.close());
  const api = await startHttpServer({ ...place, handler: (req, res) => void route(req, res) });
  const route = publicApi(ca.table, { datacenter: "dc1", log: silentLog });
  onTestFinished(() => api.close());
  return {
    logs,
    async ask<T>(method: string, path: string): Promise<T> {
      const body = method === "PUT" ? { body: "{}" } : {};
      return (await (await fetch(`${api.url}/v1/connect/ca/${path}`, { method, ...body })).json()) as T;
    },
    async line() {
      const { Join } = await this.ask<{ Join: string }>("PUT", "join-tokens");
      return Join.replace("127.0.0.1:1", new URL(internal.url).host);
    },
  };
}

test("a node whose certificate has expired is taken back by its key, until it was away for too long or is revoked", async () => {
  const { dataDir } = place();
  const ca = await startCa();
  const stored = () =>
    JSON.parse(readFileSync(join(dataDir, "node-identity.json"), "utf8")) as { keyPem: string; notAfter: string };
  const open = async (line?: string) => {
    const identity = await openNodeIdentity({ dataDir, node: "n1", datacenter: "dc1", line, clock, log: silentLog });
    identity?.[Symbol.dispose]();
    return stored();
  };
  const line = await ca.line();
  behind.ms = 4 * DAY_MS;
  const first = await open(line);
  expect(Date.parse(first.notAfter)).toBeLessThan(Date.now());

  behind.ms = 0;
  const second = await open();
  expect(second.keyPem).toBe(first.keyPem);
  expect(Date.parse(second.notAfter)).toBeGreaterThan(Date.now());
  expect(await ca.ask("GET", "join-tokens")).toMatchObject([{ Used: 1, UsedBy: [{ Node: "n1" }] }]);
  // While it is valid nobody is asked.
  expect(await open()).toEqual(second);

  behind.ms = -4 * DAY_MS; // expired again
  expect(await ca.ask("DELETE", "joined-nodes/n1")).toBe(true);
  await expect(open()).rejects.toThrow(/node 'n1' was revoked at \S+: to join anew it wants another key/);
  // The key that was lost is still lost, whoever has a good token.
  await expect(open(await ca.line())).rejects.toThrow(/node 'n1' was revoked at/);
  rmSync(join(dataDir, "node-identity.json"));
  behind.ms = 40 * DAY_MS;
  await open(await ca.line());
  behind.ms = 0;
  await expect(open()).rejects.toThrow("node 'n1' has not joined before: want a join token");
}, 20_000);

const place = () => {
  const dataDir = mkdtempSync(join(tmpdir(), "heddle-rejoin-"));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  return { dataDir, node: "n1", datacenter: "dc1", clock };
};

test("a node whose clock is an hour and a half behind a new mesh's says so and waits, and joins when it is right", async () => {
  const ca = await startCa(0);
  const line = await ca.line();
  const hub = createLogHub({ write: () => {} });
  const told: unknown[] = [];
  hub.tap("warn", ({ fields }) => told.push(fields["error"]));
  behind.ms = 90 * MINUTE_MS;
  const joining = openNodeIdentity({ ...place(), line, log: hub.log });
  const why =
    /^cannot join at 127\.0\.0\.1:\d+ now: the mesh's root is not valid before \S+Z, (?:29|30) min from now by the clock here: that one is behind/;
  await expect.poll(() => told).toEqual([expect.stringMatching(why)]);
  behind.ms = 0;
  (await joining)?.[Symbol.dispose]();
}, 20_000);

test("a certificate of a CA whose clock was an hour and a half ahead is refused with the dates, on both ends", async () => {
  const ca = await startCa();
  behind.ms = -90 * MINUTE_MS;
  const line = await ca.line();
  const identity = await openNodeIdentity({ ...place(), line, log: silentLog });
  behind.ms = 0;
  const address = `https://${identity?.servers[0]}`;
  const client = createApiClient({ address, tls: internalTls(identity, ["server"]), log: silentLog });
  onTestFinished(() => {
    client.close();
    identity?.[Symbol.dispose]();
  });
  const why =
    /the caller's certificate is not valid before \S+Z, (?:29|30) min from now by the clock here: that one is behind, or the CA's is ahead$/;
  await expect(client.get("/v1/connect/ca/roots")).rejects.toThrow(why);
  // The node itself has asked, too: which servers there are.
  expect(ca.logs.length).toBeGreaterThan(0);
  for (const line of ca.logs) expect(line).toMatch(why);
}, 20_000);
