/** What every store promises, whatever is underneath: the same tests in memory, on SQLite and on a real etcd. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "@heddle/daemon";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Draft } from "./draft.ts";
import { EtcdStore } from "./etcd/store.ts";
import { openStore } from "./open.ts";
import type { Command, Commit, Store, StoredRecord, Write } from "./record.ts";
import { type EtcdCluster, hasEtcd, startEtcd } from "./testing.ts";

const put =
  (key: string, value: unknown): Command<number> =>
  (view) => ({ writes: [{ table: "kv", key, value }], result: view.list("kv").length });

const remove =
  (...keys: string[]): Command<undefined> =>
  () => ({ writes: keys.map((key) => ({ table: "kv", key })), result: undefined });

const compareAndSet =
  (key: string, index: number, value: unknown): Command<boolean> =>
  (view) =>
    (view.get("kv", key)?.modifyIndex ?? 0) === index
      ? { writes: [{ table: "kv", key, value }], result: true }
      : { writes: [], result: false };

const dirs: string[] = [];
function dataDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "heddle-store-"));
  dirs.push(dir);
  return dir;
}

let etcd: EtcdCluster | undefined;
let meshes = 0;
beforeAll(async () => {
  if (hasEtcd) etcd = await startEtcd();
}, 30_000);
afterAll(async () => {
  await etcd?.[Symbol.asyncDispose]();
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

const onDisk = (dir: string): Promise<Store> =>
  openStore({ dataDir: dir, name: "test", log: silentLog, emptyRevision: 1, onFatal: () => {} });
const onEtcd = (mesh: string): Promise<Store> =>
  EtcdStore.open({ client: (etcd as EtcdCluster).client(), root: mesh, name: "test", log: silentLog });

const kinds: [name: string, place: () => string, open: (place: string) => Promise<Store>][] = [
  ["memory", () => "", onDisk],
  ["sqlite", dataDir, onDisk],
  ...(hasEtcd ? [["etcd", () => `mesh${++meshes}`, onEtcd] satisfies [string, () => string, typeof onEtcd]] : []),
];

describe.each(kinds)("a store on %s", (name, place, open) => {
  it("starts at an index of at least 1 and knows that it is empty", async () => {
    await using store = await open(place());
    expect(store.wasEmpty).toBe(true);
    expect(store.revision).toBeGreaterThanOrEqual(1);
  });

  it("gives each commit a higher revision and keeps the create index", async () => {
    await using store = await open(place());
    const empty = store.revision;
    const first = (await store.run(put("a", 1))).revision;
    const second = (await store.run(put("a", 2))).revision;
    expect(first).toBeGreaterThan(empty);
    expect(second).toBeGreaterThan(first);
    expect(store.revision).toBe(second);
    expect(store.get("kv", "a")).toMatchObject({ value: 2, createIndex: first, modifyIndex: second });
  });

  it("runs a command against the commits still under way", async () => {
    await using store = await open(place());
    const first = store.run(compareAndSet("k", 0, "first"));
    const second = store.run(compareAndSet("k", 0, "second"));
    const third = store.run((view) => {
      const { modifyIndex = 0, value } = view.get<string>("kv", "k") ?? {};
      return { writes: [{ table: "kv", key: "k", value: `${String(value)}, third` }], result: modifyIndex };
    });
    expect((await first).result).toBe(true);
    expect((await second).result).toBe(false);
    expect((await third).result).toBe((await first).revision);
    expect(store.get("kv", "k")?.value).toBe("first, third");
  });

  it("lists by prefix in key order, with what is under way", async () => {
    await using store = await open(place());
    const counts = await Promise.all(["b/2", "a", "b/1", "c"].map((key) => store.run(put(key, key))));
    expect(counts.map((c) => c.result)).toEqual([0, 1, 2, 3]);
    expect(store.list("kv", "b/").map((r) => r.key)).toEqual(["b/1", "b/2"]);
    await store.run(remove("b/1"));
    expect(store.list("kv").map((r) => r.key)).toEqual(["a", "b/2", "c"]);
  });

  it("tells its listeners what each commit changed, in order", async () => {
    await using store = await open(place());
    const seen: Commit[] = [];
    store.subscribe((commit) => seen.push(commit));
    const [first, second] = await Promise.all([store.run(put("a", 1)), store.run(put("a", 2))]);
    const third = await store.run(remove("a", "none"));
    const changes = (c: Commit) =>
      c.changes.map((x) => `${x.key}=${String(x.before?.value)}>${String(x.after?.value)}`);
    expect(seen.map((c) => [c.revision, ...changes(c)])).toEqual([
      [first.revision, "a=undefined>1"],
      [second.revision, "a=1>2"],
      [third.revision, "a=2>undefined"],
    ]);
  });

  it("passes a refusal on and writes nothing", async () => {
    await using store = await open(place());
    const before = store.revision;
    const refuse = (reads: boolean) =>
      store.run((view) => {
        if (reads) view.list("kv");
        throw new Error("no such node");
      });
    await expect(refuse(false)).rejects.toThrow("no such node");
    await expect(refuse(true)).rejects.toThrow("no such node");
    expect(store.revision).toBe(before);
  });

  it("commits everything that a command writes, or nothing, however much it is", async () => {
    await using store = await open(place());
    const writes = Array.from({ length: 3_000 }, (_, i): Write => ({ table: "kv", key: `k${i}`, value: { i } }));
    const commits: number[] = [];
    store.subscribe((commit) => commits.push(commit.changes.length));
    await store.run(() => ({ writes, result: undefined }));
    await store.run((view) => ({
      writes: view.list("kv").map(({ table, key }) => ({ table, key })),
      result: undefined,
    }));
    expect(commits).toEqual([3_000, 3_000]);
    expect(store.count("kv")).toBe(0);
  });

  it("takes what has queued up, however much that is", async () => {
    await using store = await open(place());
    const many = Array.from({ length: 2_000 }, (_, i) => store.run(compareAndSet(`k${i % 1_500}`, 0, i)));
    const results = await Promise.all(many);
    expect(results.filter((r) => r.result)).toHaveLength(1_500);
    expect(store.count("kv")).toBe(1_500);
  });

  it("shows a command the index of its own commit", async () => {
    await using store = await open(place());
    await store.run(put("a", 1));
    const { result, revision } = await store.run((view) => {
      const draft = new Draft(view);
      draft.apply([{ table: "kv", key: "a" }]);
      draft.apply([{ table: "kv", key: "a", value: 2 }]);
      return { writes: draft.writes(), result: draft.get("kv", "a")?.modifyIndex };
    });
    expect(result).toBe(revision);
    expect(store.get("kv", "a")).toMatchObject({ value: 2, createIndex: revision, modifyIndex: revision });
  });

  it("restores records with their indexes, in one commit past the index that they are of", async () => {
    await using store = await open(place());
    await store.run(put("gone", 1));
    await store.run(put("same", 1));
    const same = store.get("kv", "same") as StoredRecord;
    const index = store.revision + 1_000;
    const commits: Commit[] = [];
    store.subscribe((commit) => commits.push(commit));
    const old: StoredRecord = { table: "kv", key: "old", value: "x", createIndex: 5, modifyIndex: index };
    const { revision } = await store.restore([same, old], index, [{ table: "log", key: "1", value: "restored" }]);
    expect(revision).toBeGreaterThan(index);
    expect(commits.map((c) => c.changes.map((x) => x.key).toSorted())).toEqual([["1", "gone", "old"]]);
    expect(commits[0]?.revision).toBe(revision);
    expect(store.get("kv", "same")).toMatchObject({ value: 1, modifyIndex: same.modifyIndex });
    expect(store.get("kv", "old")).toMatchObject({ value: "x", createIndex: 5, modifyIndex: index });
    expect(store.get("log", "1")).toMatchObject({ createIndex: revision, modifyIndex: revision });
    const next = await store.run(put("old", "y"));
    expect(next.revision).toBeGreaterThan(revision);
    expect(store.get("kv", "old")).toMatchObject({ createIndex: 5, modifyIndex: next.revision });
  });

  it.skipIf(name === "memory")("holds everything when it is opened again, and goes on counting", async () => {
    const where = place();
    let records: StoredRecord[];
    let last: number;
    {
      await using store = await open(where);
      await Promise.all(Array.from({ length: 100 }, (_, i) => store.run(put(`k${i}`, { i }))));
      await store.run(remove("k7"));
      await store.run(put("k8", { i: "newer" }));
      ({ records, revision: last } = store.snapshot());
    }
    await using store = await open(where);
    expect(store.wasEmpty).toBe(false);
    expect(store.revision).toBe(last);
    expect(store.list("kv")).toEqual(records);
    expect((await store.run(put("new", 1))).revision).toBeGreaterThan(last);
  });
});
