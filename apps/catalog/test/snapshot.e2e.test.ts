import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { createStreamClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { expect, test } from "vitest";
import { startCatalog } from "./harness.ts";

type Catalog = Awaited<ReturnType<typeof startCatalog>>;

const take = async (catalog: Catalog) => Buffer.from(await (await fetch(`${catalog.url}/v1/snapshot`)).arrayBuffer());
const restore = async (catalog: Catalog, body: Buffer) => {
  const answer = await fetch(`${catalog.url}/v1/snapshot`, { method: "PUT", body: new Uint8Array(body) });
  return { status: answer.status, text: await answer.text() };
};
const put = (catalog: Catalog, key: string, value: string) =>
  fetch(`${catalog.url}/v1/kv/${key}`, { method: "PUT", body: value });
const tree = async (catalog: Catalog, prefix: string): Promise<Map<string, { value: string; modified: number }>> => {
  const answer = await fetch(`${catalog.url}/v1/kv/${prefix}?recurse`);
  const rows =
    answer.status === 404 ? [] : ((await answer.json()) as { Key: string; Value: string; ModifyIndex: number }[]);
  return new Map(rows.map((row) => [row.Key, { value: atob(row.Value ?? ""), modified: row.ModifyIndex }]));
};

test("snapshots under writes hold one point each: everything up to their index, nothing after it", async () => {
  const dir = mkdtempSync(join(tmpdir(), "heddle-snapshot-"));
  try {
    await using source = await startCatalog([`-data-dir=${dir}`]);
    let isOver = false;
    let written = 0;
    // Each round writes pairs that are equal at any one point.
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      for (let i = 0; !isOver; i++) {
        const pair = [`w/${writer}/a`, `w/${writer}/b`, `w/${writer}/log/${i}`];
        const body = JSON.stringify(pair.map((Key) => ({ KV: { Verb: "set", Key, Value: btoa(String(i)) } })));
        const answer = await fetch(`${source.url}/v1/txn`, { method: "PUT", body });
        expect(answer.status).toBe(200);
        written++;
      }
    });
    const snapshots: Buffer[] = [];
    for (let n = 1; n <= 3; n++) {
      await expect.poll(() => written, { timeout: 20_000 }).toBeGreaterThan(n * 60);
      snapshots.push(await take(source));
    }
    isOver = true;
    await Promise.all(writers);
    const all = await tree(source, "w/");

    for (const bytes of snapshots) {
      await using target = await startCatalog();
      expect(await restore(target, bytes)).toEqual({ status: 200, text: "" });
      const restored = await tree(target, "w/");
      const index = Math.max(...[...restored.values()].map((row) => row.modified));
      for (let writer = 0; writer < 4; writer++) {
        const last = restored.get(`w/${writer}/a`);
        expect(restored.get(`w/${writer}/b`)).toEqual(last);
        const log = [...restored.keys()].filter((key) => key.startsWith(`w/${writer}/log/`));
        expect(log).toHaveLength(Number(last?.value) + 1);
      }
      for (const [key, row] of all) if (key.includes("/log/")) expect(restored.has(key)).toBe(row.modified <= index);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}, 60_000);

test("a restore is one step that wakes watchers, and lasts", async () => {
  const dir = mkdtempSync(join(tmpdir(), "heddle-snapshot-"));
  try {
    let bytes: Buffer;
    {
      await using catalog = await startCatalog([`-data-dir=${dir}`]);
      await catalog.register({ Node: "n1", Address: "10.0.0.1", Service: { Service: "web", Port: 80 } });
      await put(catalog, "a", "before");
      bytes = await take(catalog);
      await put(catalog, "a", "after");
      await put(catalog, "later", "x");
      await catalog.api.put("/v1/catalog/deregister", { body: { Node: "n1" } });

      const stream = createStreamClient({ url: catalog.url, log: silentLog });
      const seen: number[] = [];
      stream.subscribe<unknown[]>("/v1/health/service/web", { onAnswer: ({ body }) => seen.push(body.length) });
      await expect.poll(() => seen).toEqual([0]);
      const index = Number((await fetch(`${catalog.url}/v1/kv/a`)).headers.get("x-consul-index"));
      const waiting = fetch(`${catalog.url}/v1/kv/a?index=${index}&wait=60s&raw`);
      expect((await restore(catalog, bytes)).status).toBe(200);
      const woken = await waiting;
      expect(await woken.text()).toBe("before");
      expect(Number(woken.headers.get("x-consul-index"))).toBeGreaterThan(index);
      await expect.poll(() => seen).toEqual([0, 1]);
      expect((await fetch(`${catalog.url}/v1/kv/later`)).status).toBe(404);
      await put(catalog, "b", "writes go on");
      stream.close();
    }
    await using again = await startCatalog([`-data-dir=${dir}`]);
    expect([...(await tree(again, "")).entries()].map(([key, { value }]) => [key, value])).toEqual([
      ["a", "before"],
      ["b", "writes go on"],
    ]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("a session's TTL runs after a restore", async () => {
  await using source = await startCatalog(["-session-ttl-min=100ms"]);
  await source.register({ Node: "n1", Address: "10.0.0.1" });
  const session = await source.api.put<{ ID: string }>("/v1/session/create", {
    body: { Node: "n1", TTL: "200ms", Checks: [], LockDelay: "0s" },
  });
  await put(source, `lock?acquire=${session.body.ID}`, "held");
  const bytes = await take(source);
  await using target = await startCatalog(["-session-ttl-min=100ms"]);
  expect((await restore(target, bytes)).status).toBe(200);
  const holder = async () =>
    ((await (await fetch(`${target.url}/v1/kv/lock`)).json()) as { Session?: string }[])[0]?.Session;
  await expect.poll(holder).toBeUndefined();
  expect(await (await fetch(`${target.url}/v1/session/list`)).json()).toEqual([]);
});

test("what is cut short, damaged, foreign or no snapshot is refused, and nothing changes", async () => {
  await using catalog = await startCatalog();
  for (let i = 0; i < 50; i++) await put(catalog, `k/${i}`, `value ${i} `.repeat(50));
  const bytes = await take(catalog);
  await put(catalog, "k/0", "later");
  const before = await tree(catalog, "");
  const plain = gunzipSync(bytes);
  const flipped = Buffer.from(plain);
  flipped.write("9", flipped.indexOf('"value":{') - 20);
  const bad: [name: string, body: Buffer, why: RegExp][] = [
    ["nothing", Buffer.alloc(0), /^failed to decompress snapshot: (?:EOF|unexpected end of file)$/],
    ["text", Buffer.from("this is no snapshot"), /^failed to decompress snapshot: gzip: invalid header/],
    ["no tar", gzipSync("x".repeat(2_000)), /invalid tar header/],
    ["a damaged record", gzipSync(flipped), /hash check failed for "state.bin"|not JSON|not complete/],
    ["an early end of the tar", gzipSync(plain.subarray(0, plain.length / 2)), /unexpected EOF/],
    ["another datacenter", await take(await startOther()), /is of datacenter "dc2", this is "dc1"/],
    ...[10, 100, bytes.length / 2, bytes.length - 1].map((length): [string, Buffer, RegExp] => [
      `${length} bytes`,
      bytes.subarray(0, length),
      /^failed to (?:decompress|read) snapshot/,
    ]),
  ];
  for (const [name, body, why] of bad) {
    const answer = await restore(catalog, body);
    expect([name, answer.status]).toEqual([name, 500]);
    expect(answer.text).toMatch(why);
  }
  expect(await tree(catalog, "")).toEqual(before);
  await other?.[Symbol.asyncDispose]();
});

let other: Catalog | undefined;
const startOther = async (): Promise<Catalog> => (other = await startCatalog(["-datacenter=dc2"]));
