import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "@heddle/daemon";
import { afterEach, describe, expect, it } from "vitest";
import { openStore } from "./open.ts";
import type { Command, Store } from "./record.ts";

const put =
  (key: string, value: unknown): Command<number> =>
  (view) => ({ writes: [{ table: "kv", key, value }], result: view.list("kv").length });

const dirs: string[] = [];
afterEach(() => {
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});
function dataDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "heddle-store-"));
  dirs.push(dir);
  return dir;
}
const open = (dir: string): Promise<Store> =>
  openStore({ dataDir: dir, name: "test", log: silentLog, emptyRevision: 1, onFatal: () => {} });

describe("the SQLite backend", () => {
  it("replays everything after a restart and goes on counting", async () => {
    const dir = dataDir();
    {
      await using store = await open(dir);
      await Promise.all(Array.from({ length: 100 }, (_, i) => store.run(put(`k${i}`, { i }))));
      await store.run(() => ({ writes: [{ table: "kv", key: "k7" }], result: 0 }));
    }
    await using store = await open(dir);
    expect(store.revision).toBe(102);
    expect(store.list("kv")).toHaveLength(99);
    expect(store.get("kv", "k8")).toMatchObject({ value: { i: 8 }, createIndex: 10, modifyIndex: 10 });
    expect((await store.run(put("new", 1))).revision).toBe(103);
  });

  it("refuses a directory that another store has open, and leaves that one alone", async () => {
    const dir = dataDir();
    await using first = await open(dir);
    await first.run(put("a", 1));
    await expect(open(dir)).rejects.toThrow(/in use by another process/);
    await first.run(put("b", 2));
    expect(first.count("kv")).toBe(2);
  });

  it("keeps its file from other users", async () => {
    const dir = dataDir();
    await using store = await open(dir);
    await store.run(put("a", 1));
    expect(statSync(join(dir, "test.db")).mode & 0o077).toBe(0);
    expect(statSync(join(dir, "test.db-wal")).mode & 0o077).toBe(0);
  });

  it("refuses data of a newer version, naming both", async () => {
    const dir = dataDir();
    await (await open(dir)).close();
    const { DatabaseSync } = await import("node:sqlite");
    const db = new DatabaseSync(join(dir, "test.db"));
    db.exec("PRAGMA user_version = 99");
    db.close();
    await expect(open(dir)).rejects.toThrow(/newer version \(schema 99, this heddle knows 1\)/);
  });

  it("refuses a file that is no database", async () => {
    const dir = dataDir();
    const { writeFileSync } = await import("node:fs");
    writeFileSync(join(dir, "test.db"), "x".repeat(8192));
    await expect(open(dir)).rejects.toThrow(/not a readable database/);
  });
});
