/** Several catalogs on one real etcd are one catalog: whoever is asked, whoever is told, whoever dies. */
import { randomUUID } from "node:crypto";
import { createApiClient, createStreamClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { freePort } from "@heddle/daemon/testing";
import { type EtcdCluster, hasEtcd, startEtcd } from "@heddle/store/testing";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { loadConfig, start } from "../src/index.ts";

describe.runIf(hasEtcd)("catalogs on one etcd", () => {
  let etcd: EtcdCluster;
  beforeAll(async () => void (etcd = await startEtcd()), 30_000);
  afterAll(() => etcd[Symbol.asyncDispose]());

  /** Starts one more catalog on the mesh `root`; ended with the test unless the test has ended it. */
  async function startOne(root: string, name: string, address = [`-port=0`, `-advertise=${name}.test:8300`]) {
    const store = `-store=${(etcd.endpoints[0] as string).replace("http", "etcd")}/${root}`;
    const argv = [...address, `-node=${name}`, store, "-session-ttl-min=1s"];
    const running = await start(loadConfig({ argv, env: {}, readFile: () => "{}" }), {
      log: silentLog,
    });
    const api = createApiClient({ address: running.url });
    onTestFinished(async () => {
      api.close();
      await running.close();
    });
    return { ...running, name, api };
  }
  type Catalog = Awaited<ReturnType<typeof startOne>>;
  const startSome = async (...names: string[]): Promise<Catalog[]> => {
    const root = randomUUID();
    const catalogs: Catalog[] = [];
    for (const name of names) catalogs.push(await startOne(root, name)); // the first of them leads
    return catalogs;
  };
  /** Where they tell each other something, they have to find each other. */
  const startReachable = async (...names: string[]): Promise<Catalog[]> => {
    const root = randomUUID();
    const started = names.map(async (name) => startOne(root, name, [`-port=${await freePort()}`]));
    return Promise.all(started);
  };
  const kv = async (catalog: Catalog, key: string): Promise<string | undefined> => {
    const { body, status } = await catalog.api.get<[{ Value: string }]>(`/v1/kv/${key}?consistent`, { allow: [404] });
    return status === 404 ? undefined : Buffer.from(body[0].Value, "base64").toString();
  };

  it("show a write to a consistent read of another one, with the same index", async () => {
    const [a, b] = (await startSome("a", "b")) as [Catalog, Catalog];
    for (let i = 0; i < 20; i++) {
      await (i % 2 ? a : b).api.put("/v1/kv/k", { body: `v${i}` });
      expect(await kv(i % 2 ? b : a, "k")).toBe(`v${i}`);
    }
    const [one, other] = await Promise.all([a, b].map((c) => c.api.get("/v1/kv/k?consistent")));
    expect(one?.body).toEqual(other?.body);
    expect(other?.headers).toMatchObject({ "x-consul-knownleader": "true" });
    expect(Number(other?.headers["x-consul-lastcontact"])).toBeLessThan(5_000);
  });

  it("wake a blocking query and a subscription on one for a write on the other", async () => {
    const [a, b] = (await startSome("a", "b")) as [Catalog, Catalog];
    const { index } = await b.api.get("/v1/health/service/web");
    const blocked = b.api.get<unknown[]>("/v1/health/service/web", {
      query: { index, wait: "60s" },
      timeoutMs: 70_000,
    });
    const stream = createStreamClient({ url: b.url, log: silentLog });
    onTestFinished(() => stream.close());
    const heard: unknown[] = [];
    stream.subscribe("/v1/health/service/web", { onAnswer: ({ body }) => heard.push(body) });
    await a.api.put("/v1/catalog/register", { body: { Node: "n", Address: "10.0.0.1", Service: { Service: "web" } } });
    expect((await blocked).body).toHaveLength(1);
    await expect.poll(() => heard.at(-1)).toHaveLength(1);
  });

  it("give a lock to one of many who ask at all of them, and hand it on when its session ends", async () => {
    const catalogs = await startSome("a", "b", "c");
    const sessions = await Promise.all(
      catalogs.map(async (catalog) => {
        await catalog.api.put("/v1/catalog/register", { body: { Node: catalog.name, Address: "10.0.0.1" } });
        const body = { Node: catalog.name, NodeChecks: [], LockDelay: "0s" };
        return (await catalog.api.put<{ ID: string }>("/v1/session/create", { body })).body.ID;
      }),
    );
    const acquire = (i: number) =>
      (catalogs[(i + 1) % 3] as Catalog).api.put<boolean>("/v1/kv/lock", { query: { acquire: sessions[i] as string } });
    const won = (await Promise.all([0, 1, 2].map(acquire))).map(({ body }) => body);
    expect(won.filter(Boolean)).toHaveLength(1);
    const winner = won.indexOf(true);
    await (catalogs[winner] as Catalog).api.put(`/v1/session/destroy/${sessions[winner]}`);
    expect((await acquire((winner + 1) % 3)).body).toBe(true);
  });

  it("keep a session alive that is renewed at any of them, and end it once nobody does", async () => {
    const [a, b] = (await startSome("a", "b")) as [Catalog, Catalog];
    await a.api.put("/v1/catalog/register", { body: { Node: "n", Address: "10.0.0.1" } });
    const body = { Node: "n", NodeChecks: [], TTL: "3s" };
    const { ID } = (await b.api.put<{ ID: string }>("/v1/session/create", { body })).body;
    const isThere = async () => (await a.api.get<unknown[]>(`/v1/session/info/${ID}?consistent`)).body.length === 1;
    const renewing = setInterval(() => void b.api.put(`/v1/session/renew/${ID}`).catch(() => {}), 200);
    const until = performance.now() + 6_000; // nearly twice as long as it lives by itself
    while (performance.now() < until) expect(await isThere()).toBe(true);
    clearInterval(renewing);
    await expect.poll(isThere, { timeout: 20_000 }).toBe(false);
  }, 40_000);

  it("tell who they are and who leads, and another one leads when that one has ended", async () => {
    const [a, b, c] = (await startSome("a", "b", "c")) as [Catalog, Catalog, Catalog];
    const leader = async (catalog: Catalog) => (await catalog.api.get<string>("/v1/status/leader")).body;
    await expect.poll(() => Promise.all([a, b, c].map(leader))).toEqual(Array(3).fill("a.test:8300"));
    const peers = async () => (await b.api.get<string[]>("/v1/status/peers")).body;
    await expect.poll(peers).toEqual(["a.test:8300", "b.test:8300", "c.test:8300"]);
    const { Servers } = (
      await c.api.get<{ Servers: { Node: string; Leader: boolean }[] }>("/v1/operator/raft/configuration")
    ).body;
    expect(Servers.map((s) => [s.Node, s.Leader])).toEqual([
      ["a", true],
      ["b", false],
      ["c", false],
    ]);
    const health = (await b.api.get<{ Healthy: boolean; FailureTolerance: number }>("/v1/operator/autopilot/health"))
      .body;
    expect(health).toMatchObject({ Healthy: true, FailureTolerance: 0 }); // one etcd: losing it loses all
    await a.close();
    await expect.poll(() => leader(b)).toMatch(/^[bc]\.test:8300$/);
    await expect.poll(peers).toEqual(["b.test:8300", "c.test:8300"]);
  });

  it("know which rules proxies hold, whichever of them an agent tells", async () => {
    const [a, b] = (await startReachable("a", "b")) as [Catalog, Catalog];
    await expect.poll(async () => (await a.api.get<string[]>("/v1/status/peers")).body).toHaveLength(2);
    const tell = (Version: number) => {
      const report = { ID: "p1", Process: "host/1", Proxy: "web-proxy", Service: "web", Version, Cuts: [], Pairs: [] };
      return a.api.put("/v1/internal/rule-holders", { body: { Node: "n1", Reports: [report] } });
    };
    const write = (source: string, wait: string) =>
      b.api.post<{ Version: number; Holders: number; Reached: number; Missing: { Proxy: string }[] }>(
        `/v1/connect/intentions?wait-cut=${wait}`,
        { body: { SourceName: source, DestinationName: "web", Action: "deny" }, timeoutMs: 70_000 },
      );
    await tell(1);
    let count = 0;
    // The other one is told beside the answer.
    await expect
      .poll(async () => (await write(`first-${++count}`, "1ms")).body)
      .toMatchObject({ Holders: 1, Reached: 0, Missing: [{ Proxy: "web-proxy" }] });
    const written = write("second", "60s");
    await tell(Number.MAX_SAFE_INTEGER);
    expect((await written).body).toMatchObject({ Holders: 1, Reached: 1, Missing: [] });
  });

  it("share external nodes among the checkers of all of them", async () => {
    const [a, b] = (await startSome("a", "b")) as [Catalog, Catalog];
    const names = Array.from({ length: 20 }, (_, i) => `legacy-${i}`);
    for (const Node of names) {
      const NodeMeta = { "external-node": "true", "external-probe": "true" };
      await a.api.put("/v1/catalog/register", { body: { Node, Address: "127.0.0.1", NodeMeta } });
    }
    const first = await holdExternal(a, "one");
    await expect.poll(() => first.nodes()).toEqual(names.toSorted());
    const second = await holdExternal(b, "two");
    const both = () => [...first.nodes(), ...second.nodes()].toSorted();
    await expect.poll(both).toEqual(names.toSorted());
    expect(first.nodes().length).toBeGreaterThan(0);
    expect(second.nodes().length).toBeGreaterThan(0);
    await expect(holdExternal(b, "one")).rejects.toThrow(/there is a checker 'one' already/);
    second.socket.terminate();
    await expect.poll(() => first.nodes()).toEqual(names.toSorted());
  });

  it("let an agent move from one to the other without its node failing, and find out about one that is gone", async () => {
    const [a, b] = (await startSome("a", "b")) as [Catalog, Catalog];
    const status = async () => {
      const { body } = await b.api.get<{ Node: string; Status: string }[]>("/v1/internal/members");
      return body.find(({ Node }) => Node === "web1")?.Status;
    };
    const seen: (string | undefined)[] = [];
    const first = await holdLease(a, "web1");
    await expect.poll(status).toBe("alive");
    first.terminate();
    const second = await holdLease(b, "web1");
    const watched = performance.now() + 8_000; // longer than a suspicion lasts on the first one
    while (performance.now() < watched) seen.push(await status());
    expect(new Set(seen)).toEqual(new Set(["alive"]));
    await a.close();
    expect(await status()).toBe("alive");
    second.terminate();
    await expect.poll(status, { timeout: 20_000 }).toBe("failed");
  }, 40_000);
});

/** A checker's end of external nodes; resolves with its first share. */
async function holdExternal(catalog: { url: string }, id: string) {
  const socket = new WebSocket(`${catalog.url.replace("http", "ws")}/internal/v1/external`);
  socket.on("error", () => {});
  onTestFinished(() => socket.terminate());
  let share: string[] = [];
  await new Promise<void>((resolve, reject) => {
    socket.once("close", (_code, reason) => reject(new Error(reason.toString())));
    socket.once("open", () => socket.send(JSON.stringify({ type: "hello", id })));
    socket.on("message", (data: Buffer) => {
      const { checks } = JSON.parse(data.toString()) as { checks: { CheckID: string }[] };
      share = checks.map(({ CheckID }) => CheckID.split("\n")[0] as string).toSorted();
      resolve();
    });
  });
  return { socket, nodes: () => share };
}

/** An agent's end of a lease, that beats until it is terminated. */
async function holdLease(catalog: { url: string }, node: string): Promise<WebSocket> {
  const socket = new WebSocket(`${catalog.url.replace("http", "ws")}/internal/v1/lease`);
  socket.on("error", () => {});
  const facts = { Node: node, ID: "3f1d6f63-1b87-4d2a-8b6f-4a3d9c1e2f00", Address: "10.0.0.1", Server: false };
  await new Promise<void>((resolve, reject) => {
    socket.once("close", (_code, reason) => reject(new Error(reason.toString())));
    socket.once("open", () => socket.send(JSON.stringify({ type: "hello", ...facts, ProbePort: 0, ProbeTLS: false })));
    socket.once("message", () => resolve());
  });
  const beating = setInterval(() => socket.send('{"type":"beat"}'), 500);
  socket.once("close", () => clearInterval(beating));
  onTestFinished(() => socket.terminate());
  return socket;
}
