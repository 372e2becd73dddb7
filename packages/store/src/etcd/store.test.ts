/** What a store on etcd promises beside the contract: other servers, lost watches and answers, members that die. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogHub, describeError, silentLog } from "@heddle/daemon";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { Command, Store } from "../record.ts";
import { type EtcdCluster, hasEtcd, startEtcd, TEST_SERVER } from "../testing.ts";
import { createEtcdClient } from "./client.ts";
import { openSeenFile } from "./seen.ts";
import { EtcdStore } from "./store.ts";

const increment: Command<number> = (view) => {
  const value = (view.get<number>("kv", "counter")?.value ?? 0) + 1;
  return { writes: [{ table: "kv", key: "counter", value }], result: value };
};
const put =
  (key: string, value: unknown): Command<undefined> =>
  () => ({ writes: [{ table: "kv", key, value }], result: undefined });

const logInto = (said: string[]) => createLogHub({ level: "info", write: (line) => void said.push(line) }).log;

let meshes = 0;
const nextRoot = () => `mesh${++meshes}`;

describe.runIf(hasEtcd)("stores on one etcd", () => {
  let etcd: EtcdCluster;
  beforeAll(async () => void (etcd = await startEtcd()), 30_000);
  afterAll(() => etcd[Symbol.asyncDispose]());
  const open = (root: string, endpoints = etcd.endpoints) =>
    EtcdStore.open({ client: createEtcdClient({ endpoints }), root, name: "test", log: silentLog });

  it("run each command as if it were alone, whoever runs it", async () => {
    const root = nextRoot();
    await using a = await open(root);
    await using b = await open(root);
    const results = await Promise.all(Array.from({ length: 100 }, (_, i) => (i % 2 ? a : b).run(increment)));
    expect(results.map((r) => r.result).toSorted((x, y) => x - y)).toEqual(
      Array.from({ length: 100 }, (_, i) => i + 1),
    );
    expect(new Set(results.map((r) => r.revision)).size).toBe(100);
    await Promise.all([a.catchUp(), b.catchUp()]);
    expect(a.snapshot()).toEqual(b.snapshot());
  });

  it("see what a prefix gained and lost since they read it", async () => {
    const root = nextRoot();
    await using a = await open(root);
    await using b = await open(root);
    // As many as there may be, one a name: who reads the list at the same time as somebody else must not pass him.
    const claim =
      (name: string): Command<boolean> =>
      (view) =>
        view.list("seats", "row/").length < 10
          ? { writes: [{ table: "seats", key: `row/${name}`, value: 1 }], result: true }
          : { writes: [], result: false };
    const free: Command<number> = (view) => {
      const taken = view.list("seats", "row/");
      return { writes: taken.slice(0, 1).map(({ table, key }) => ({ table, key })), result: taken.length };
    };
    const claims = await Promise.all(Array.from({ length: 40 }, (_, i) => (i % 2 ? a : b).run(claim(`n${i}`))));
    expect(claims.filter((c) => c.result)).toHaveLength(10);
    const counts = await Promise.all(Array.from({ length: 10 }, (_, i) => (i % 2 ? a : b).run(free)));
    expect(counts.map((c) => c.result).toSorted((x, y) => x - y)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it("never refuse for what they have not heard of yet", async () => {
    const root = nextRoot();
    await using a = await open(root);
    await using b = await open(root);
    for (let i = 0; i < 50; i++) {
      await a.run(put(`session${i}`, 1));
      const use: Command<true> = (view) => {
        if (!view.get("kv", `session${i}`)) throw new Error("invalid session");
        return { writes: [], result: true };
      };
      expect((await b.run(use)).result).toBe(true);
      expect(b.get("kv", `session${i}`)).toBeDefined();
    }
  });

  it("hold everything that was committed before once they have caught up", async () => {
    const root = nextRoot();
    await using a = await open(root);
    await using b = await open(root);
    for (let i = 0; i < 50; i++) {
      const { revision } = await a.run(put("k", i));
      await b.catchUp();
      expect(b.get("kv", "k")).toMatchObject({ value: i, modifyIndex: revision });
    }
    expect(b.contact()).toMatchObject({ knowsLeader: true });
  });

  it("follow each other's restores, and a write under way waits for it", async () => {
    const root = nextRoot();
    await using a = await open(root);
    await using b = await open(root);
    await b.run(put("gone", 1));
    const before = b.revision;
    const seen: number[] = [];
    b.subscribe((commit) => seen.push(commit.revision));
    const restored = a.restore([{ table: "kv", key: "old", value: 1, createIndex: 3, modifyIndex: 900_000 }], 900_000);
    const [, written] = await Promise.all([restored, restored.then(() => b.run(put("new", 1)))]);
    expect(written.revision).toBeGreaterThan(900_000);
    await a.catchUp();
    expect(a.list("kv").map((r) => r.key)).toEqual(["new", "old"]);
    expect(b.snapshot()).toEqual(a.snapshot());
    expect(seen.every((revision) => revision > before)).toBe(true);
    await using fresh = await open(root);
    expect(fresh.snapshot()).toEqual(a.snapshot());
  });

  it("tell the difference where etcd has forgotten what they missed", async () => {
    const root = nextRoot();
    await using link = await breakableLink(etcd.endpoints[0] as string);
    await using a = await open(root);
    await using b = await open(root, [link.url]);
    await a.run(put("kept", 1));
    await a.run(put("changed", 1));
    await a.run(put("gone", 1));
    await b.catchUp();
    const changes: string[] = [];
    b.subscribe((commit) => changes.push(...commit.changes.map((c) => `${c.key}=${String(c.after?.value)}`)));
    link.cut();
    await a.run(put("changed", 2));
    await a.run(() => ({ writes: [{ table: "kv", key: "gone" }], result: undefined }));
    await a.run(put("made", 1));
    compactNow(etcd.endpoints[0] as string);
    link.mend();
    await b.catchUp();
    expect(changes.toSorted()).toEqual(["changed=2", "gone=undefined", "made=1"]);
    expect(b.events.get("reload")).toBe(1);
    expect(b.snapshot()).toEqual(a.snapshot());
  });

  it("commit once, however often the answer is lost", async () => {
    const root = nextRoot();
    await using link = await breakableLink(etcd.endpoints[0] as string);
    await using store = await open(root, [link.url]);
    for (let i = 1; i <= 30; i++) {
      const done = store.run(increment);
      // At another moment each time: before the request has gone, while it is on its way, after the answer.
      setTimeout(() => link.reset(), i % 6);
      expect((await done).result).toBe(i);
    }
    expect(store.events.get("retry")).toBeGreaterThan(0);
  });

  it("refuse what does not fit into one transaction, and say so", async () => {
    await using store = await open(nextRoot());
    const writes = Array.from({ length: 4 }, (_, i) => ({ table: "kv", key: `k${i}`, value: "x".repeat(512 * 1024) }));
    await expect(store.run(() => ({ writes, result: 0 }))).rejects.toThrow(/the write is of 4 records and \d+ bytes/);
    expect(store.count("kv")).toBe(0);
  });

  it("refuse data of a newer version, naming both", async () => {
    const root = nextRoot();
    const client = createEtcdClient({ endpoints: etcd.endpoints });
    const value = JSON.stringify({ version: 99, generation: "0", base: 1 });
    await client.txn({ compares: [], success: [{ type: "put", key: `${root}/test/format`, value }] });
    client.close();
    await expect(open(root)).rejects.toThrow(/newer version \(format 99, this heddle knows 1\)/);
  });
});

describe.runIf(hasEtcd)("stores on an etcd that was restored to an older revision", () => {
  it("say so, have what it has, and go on above the indexes that were lost", async () => {
    await using etcd = await startEtcd();
    const said: string[] = [];
    const open = () => EtcdStore.open({ client: etcd.client(), root: "m", name: "test", log: logInto(said) });
    await using a = await open();
    await using b = await open();
    await a.run(put("kept", 1));
    await a.run(put("changed", 1));
    const saved = etcd.save();
    await a.run(put("changed", 2));
    const { revision: lost } = await a.run(put("made", 1));
    await b.catchUp();
    const seen: { revision: number; changes: string[] }[] = [];
    b.subscribe(({ revision, changes }) =>
      seen.push({ revision, changes: changes.map((c) => `${c.key}=${String(c.after?.value)}`).toSorted() }),
    );
    await etcd.restoreFrom(saved);
    for (const store of [a, b]) {
      await expect.poll(() => store.get("kv", "changed")?.value).toBe(1);
      expect(store.get("kv", "made")).toBeUndefined();
      expect(store.get("kv", "kept")?.value).toBe(1);
      expect(store.revision).toBeGreaterThan(lost);
    }
    // Who waits past what was lost is told at once, and of everything.
    expect(seen[0]).toEqual({ revision: expect.any(Number), changes: ["changed=1", "kept=1", "made=undefined"] });
    expect(seen[0]?.revision).toBeGreaterThan(lost);
    expect(said.join("\n")).toMatch(/etcd's data was restored or replaced/);
    const { revision } = await a.run(put("made", 2));
    expect(revision).toBeGreaterThan(b.get("kv", "changed")?.modifyIndex ?? Infinity);
    await Promise.all([a.catchUp(), b.catchUp()]);
    expect(b.snapshot()).toEqual(a.snapshot());
  }, 30_000);

  it("notice it although none of them ran meanwhile", async () => {
    await using etcd = await startEtcd();
    const said: string[] = [];
    const dir = mkdtempSync(join(tmpdir(), "heddle-seen-"));
    onTestFinished(() => rmSync(dir, { recursive: true }));
    const open = () =>
      EtcdStore.open({
        ...{ client: etcd.client(), root: "m", name: "test", log: logInto(said) },
        seen: openSeenFile(dir, "test", silentLog),
      });
    let lost = 0;
    let saved = "";
    {
      await using store = await open();
      await store.run(put("kept", 1));
      saved = etcd.save();
      lost = (await store.run(put("lost", 1))).revision;
    }
    await (await open()).close();
    expect(said.join()).not.toMatch(/restored or replaced/);
    await etcd.restoreFrom(saved);
    // Its history goes on past what was lost before anybody looks.
    const other = EtcdStore.open({ client: etcd.client(), root: "other", name: "test", log: silentLog });
    await using busy = await other;
    for (let i = 0; i < 10; i++) await busy.run(increment);
    await using store = await open();
    expect(said.join()).toMatch(/etcd's data was restored or replaced/);
    expect(store.get("kv", "lost")).toBeUndefined();
    expect(store.revision).toBeGreaterThan(lost);
    expect(store.get("kv", "kept")?.value).toBe(1);
  }, 30_000);

  it("notice it where it has come past their revision meanwhile", async () => {
    await using etcd = await startEtcd();
    await using link = await breakableLink(etcd.endpoints[0] as string);
    const open = (endpoints = etcd.endpoints) =>
      EtcdStore.open({ client: createEtcdClient({ endpoints }), root: "m", name: "test", log: silentLog });
    await using cutOff = await open([link.url]);
    await cutOff.run(put("kept", 1));
    const saved = etcd.save();
    await cutOff.run(put("lost", 1));
    const lost = cutOff.revision;
    link.cut();
    await etcd.restoreFrom(saved);
    await using fresh = await open();
    for (let i = 0; i < 10; i++) await fresh.run(increment);
    expect(fresh.revision).toBeGreaterThan(lost);
    link.mend();
    await expect.poll(() => cutOff.get("kv", "counter")?.value).toBe(10);
    expect(cutOff.get("kv", "lost")).toBeUndefined();
    await Promise.all([cutOff.catchUp(), fresh.catchUp()]);
    expect(cutOff.snapshot()).toEqual(fresh.snapshot());
  }, 30_000);
});

describe.runIf(hasEtcd)("a store on an etcd that is slow or broken", () => {
  it("commits although an answer takes longer than a first try waits", async () => {
    await using etcd = await startEtcd();
    await using link = await breakableLink(etcd.endpoints[0] as string);
    await using store = await EtcdStore.open({
      client: createEtcdClient({ endpoints: [link.url] }),
      ...{ root: "m", name: "test", log: silentLog },
    });
    link.delay(700); // either way
    expect((await store.run(increment)).result).toBe(1);
    expect((await store.run(increment)).result).toBe(2);
    link.delay(0);
  }, 30_000);

  it("goes on with what it has where etcd holds what cannot be read, and says which key it is", async () => {
    await using etcd = await startEtcd();
    const said: string[] = [];
    await using store = await EtcdStore.open({
      client: etcd.client(),
      ...{ root: "m", name: "test", log: logInto(said) },
    });
    const cluster = await store.join(TEST_SERVER);
    await store.run(put("kept", 1));
    const client = etcd.client();
    const write = (key: string, value: string) => client.txn({ compares: [], success: [{ type: "put", key, value }] });
    const broken = "m/test/r/0/kv/broken";
    await write(broken, "no JSON");
    await write("m/test.live/facts/kind/id", "no JSON");
    await expect.poll(() => said.join("\n")).toContain(broken);
    expect(store.get("kv", "kept")?.value).toBe(1);
    await client.txn({ compares: [], success: [{ type: "delete", key: broken }] });
    client.close();
    await expect.poll(() => store.run(put("after", 1)).then(() => "written", describeError)).toBe("written");
    await cluster.say("kind", "other", 1);
    await expect.poll(() => cluster.fact("kind", "other")?.value).toBe(1);
  }, 30_000);
});

describe.runIf(hasEtcd)("a store on an etcd with users", () => {
  it("works as its user, takes a new token when the old one is gone, and is told of a wrong password", async () => {
    await using etcd = await startEtcd();
    const endpoint = etcd.endpoints[0] as string;
    const etcdctl = (...args: string[]) =>
      execFileSync("etcdctl", ["--endpoints", endpoint, ...args], {
        env: { PATH: process.env.PATH, ETCDCTL_API: "3" },
        stdio: ["ignore", "pipe", "pipe"],
      });
    etcdctl("user", "add", "root:s3cret");
    etcdctl("role", "add", "root");
    etcdctl("user", "grant-role", "root", "root");
    etcdctl("user", "add", "heddle:pw");
    etcdctl("role", "add", "mesh");
    etcdctl("role", "grant-permission", "mesh", "--prefix=true", "readwrite", "mesh/");
    etcdctl("user", "grant-role", "heddle", "mesh");
    etcdctl("auth", "enable");
    const open = (password: string, root = "mesh") =>
      EtcdStore.open({
        client: createEtcdClient({ endpoints: [endpoint], user: { name: "heddle", password } }),
        ...{ root, name: "test", log: silentLog },
      });
    const why = (opened: Promise<Store>) => opened.then(() => "opened", describeError);
    expect(await why(open("wrong"))).toMatch(/refuses: .*authentication failed, invalid user ID or password/);
    expect(await why(open("pw", "elsewhere"))).toMatch(/refuses: .*permission denied/);
    await using store = await open("pw");
    expect((await store.run(increment)).result).toBe(1);
    // Its tokens are in its memory: this life of etcd knows none of them.
    await etcd.signal(0, "SIGKILL");
    await etcd.restart(0);
    expect((await store.run(increment)).result).toBe(2);
    await store.catchUp();
  }, 30_000);
});

describe.runIf(hasEtcd)("a store on three members", () => {
  it("goes on when any of them dies, and says when none is left to commit", async () => {
    await using etcd = await startEtcd({ members: 3 });
    await using store: Store = await EtcdStore.open({ client: etcd.client(), root: "m", name: "test", log: silentLog });
    let expected = 0;
    for (const member of [0, 1, 2]) {
      await etcd.signal(member, "SIGKILL");
      for (let i = 0; i < 5; i++) expect((await store.run(increment)).result).toBe(++expected);
      await etcd.restart(member);
    }
    await Promise.all([etcd.signal(0, "SIGSTOP"), etcd.signal(1, "SIGSTOP")]);
    await expect(store.run(increment)).rejects.toThrow(/No cluster leader/);
    expect(store.get("kv", "counter")?.value).toBe(expected);
    expect(store.contact().knowsLeader).toBe(false);
    await Promise.all([etcd.signal(0, "SIGCONT"), etcd.signal(1, "SIGCONT")]);
    // The write that was given up may have taken place when the others came back; nothing else may.
    const { result } = await store.run(increment);
    expect([expected + 1, expected + 2]).toContain(result);
    await expect.poll(() => store.contact().knowsLeader).toBe(true);
  }, 60_000);
});

/** A relay of TCP that can be cut for a while, or have its connections reset. */
async function breakableLink(target: string) {
  const { port } = new URL(target);
  const open = new Set<Socket>();
  let isCut = false;
  let delayMs = 0;
  const server = createServer((client) => {
    if (isCut) return void client.resetAndDestroy();
    const etcd = connect(Number(port), "127.0.0.1");
    for (const socket of [client, etcd]) {
      open.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        open.delete(socket);
        client.destroy();
        etcd.destroy();
      });
    }
    for (const [from, to] of [
      [client, etcd],
      [etcd, client],
    ] as const)
      from.on("data", (chunk) => {
        if (delayMs === 0) to.write(chunk);
        else setTimeout(() => to.write(chunk), delayMs);
      });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const reset = () => {
    for (const socket of open) socket.resetAndDestroy();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    reset,
    cut: () => {
      isCut = true;
      reset();
    },
    mend: () => void (isCut = false),
    /** How much later bytes arrive. Back at 0, what is under way would be overtaken: the connections are reset. */
    delay: (ms: number) => {
      delayMs = ms;
      if (ms === 0) reset();
    },
    async [Symbol.asyncDispose]() {
      reset();
      await new Promise((done) => server.close(done));
    },
  };
}

/** Has etcd forget everything before its current revision, as its own compaction does from time to time. */
function compactNow(endpoint: string): void {
  const status = execFileSync("etcdctl", ["--endpoints", endpoint, "endpoint", "status", "-w", "json"], {
    env: { PATH: process.env.PATH, ETCDCTL_API: "3" },
  });
  const [{ Status }] = JSON.parse(status.toString()) as [{ Status: { header: { revision: number } } }];
  execFileSync("etcdctl", ["--endpoints", endpoint, "compact", String(Status.header.revision)], {
    env: { PATH: process.env.PATH, ETCDCTL_API: "3" },
  });
}
