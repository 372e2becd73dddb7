import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogHub, silentLog } from "@heddle/daemon";
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
const open = (dir: string, log = silentLog): Promise<Store> =>
  openStore({ dataDir: dir, name: "test", log, emptyRevision: 1, onFatal: () => {} });

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
    expect(statSync(join(dir, "test.db-mark")).mode & 0o077).toBe(0);
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
    writeFileSync(join(dir, "test.db"), "x".repeat(8192));
    await expect(open(dir)).rejects.toThrow(/not a readable database/);
  });

  it("holds whole commits only where its log was cut short, the first ones of them", async () => {
    const dir = dataDir();
    const copies: { wal: Buffer; db: Buffer }[] = [];
    const last = 30;
    {
      await using store = await open(dir);
      for (let i = 1; i <= last; i++) {
        // Two records that go together, over several pages.
        const value = `${i} ${"x".repeat(3_000)}`;
        await store.run(() => ({
          writes: [
            { table: "kv", key: "a", value },
            { table: "kv", key: `b${i % 7}`, value },
          ],
          result: 0,
        }));
      }
      copies.push({ wal: readFileSync(join(dir, "test.db-wal")), db: readFileSync(join(dir, "test.db")) });
    }
    const [{ wal, db }] = copies as [(typeof copies)[number]];
    let whole = 0;
    for (let cut = wal.length; cut > 0; cut -= Math.ceil(wal.length / 11)) {
      const place = dataDir();
      writeFileSync(join(place, "test.db"), db);
      writeFileSync(join(place, "test.db-wal"), wal.subarray(0, cut));
      copyFileSync(join(dir, "test.db-mark"), join(place, "test.db-mark"));
      const said: string[] = [];
      await using store = await open(
        place,
        createLogHub({ level: "error", write: (line) => void said.push(line) }).log,
      );
      const { a, b } = { a: store.get<string>("kv", "a"), b: store.list<string>("kv", "b") };
      if (a) expect(b.find((r) => r.modifyIndex === a.modifyIndex)?.value).toBe(a.value);
      // It says what is lost, and gives no index out again.
      const isWhole = a?.modifyIndex === last + 1;
      expect(said.join()).toMatch(
        isWhole ? /^$/ : new RegExp(`acknowledged are lost.* index=${a?.modifyIndex ?? 0} acknowledged=${last + 1}`),
      );
      expect(store.revision).toBe(last + 1);
      if (isWhole) whole++;
    }
    expect(whole).toBe(1); // what is not cut is all there
  });

  it("refuses a file with a page that was torn, and names it", async () => {
    const dir = dataDir();
    {
      await using store = await open(dir);
      for (let i = 0; i < 200; i++) await store.run(put(`k${i}`, "x".repeat(500)));
    }
    const path = join(dir, "test.db");
    const bytes = readFileSync(path);
    bytes.fill(0xa5, bytes.length - 4096, bytes.length - 2048);
    writeFileSync(path, bytes);
    await expect(open(dir)).rejects.toThrow(/test\.db is not a readable database .*restore it from a snapshot/);
  });
});
