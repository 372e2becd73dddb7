import { expect, test } from "vitest";
import { startCatalog } from "./harness.ts";

const web = { Node: "n1", Address: "10.0.0.1", Service: { Service: "web", Port: 80 } };

test("a blocking read answers when what it asked for changes, with a higher index", async () => {
  await using catalog = await startCatalog();
  await catalog.register(web);
  const first = await catalog.api.get("/v1/health/service/web");
  const waiting = catalog.api.get<unknown[]>("/v1/health/service/web", { query: { index: first.index, wait: "10s" } });
  await catalog.register({ Node: "n2", Address: "10.0.0.2", Service: { Service: "web", Port: 81 } });
  const next = await waiting;
  expect(next.body).toHaveLength(2);
  expect(next.index).toBeGreaterThan(first.index);
});

test("a write to something else wakes nobody", async () => {
  await using catalog = await startCatalog();
  await catalog.register(web);
  const first = await catalog.api.get("/v1/health/service/web");
  const waiting = catalog.api.get("/v1/health/service/web", { query: { index: first.index, wait: "600ms" } });
  await catalog.api.put("/v1/kv/unrelated", { body: "x" });
  await catalog.register({ Node: "n1", Address: "10.0.0.1", Service: { Service: "db" } });
  expect((await waiting).index).toBe(first.index);
});

test("registering what is there already changes no index", async () => {
  await using catalog = await startCatalog();
  await catalog.register(web);
  const { index } = await catalog.api.get("/v1/catalog/service/web");
  await catalog.register(web);
  expect((await catalog.api.get("/v1/catalog/service/web")).index).toBe(index);
});

test("a check's change wakes health reads but not catalog reads", async () => {
  await using catalog = await startCatalog();
  await catalog.register({ ...web, Check: { CheckID: "c", Name: "c", Status: "passing", ServiceID: "web" } });
  const service = await catalog.api.get("/v1/catalog/service/web");
  const health = await catalog.api.get("/v1/health/service/web", { query: { passing: true } });
  expect(health.body).toHaveLength(1);
  await catalog.register({
    Node: "n1",
    Address: "10.0.0.1",
    Check: { CheckID: "c", Name: "c", Status: "critical", ServiceID: "web" },
  });
  const after = await catalog.api.get("/v1/health/service/web", {
    query: { passing: true, index: health.index, wait: "5s" },
  });
  expect(after.body).toEqual([]);
  expect((await catalog.api.get("/v1/catalog/service/web")).index).toBe(service.index);
});

test("a check's output alone wakes nobody, whatever was asked, and is in the next answer", async () => {
  await using catalog = await startCatalog();
  const check = { CheckID: "c", Name: "c", Status: "passing", ServiceID: "web" };
  await catalog.register({ ...web, Check: { ...check, Output: "first" } });
  const paths = ["health/service/web", "health/checks/web", "health/node/n1", "health/state/any"];
  const read = (path: string, query = {}) => catalog.api.get<string>(`/v1/${path}`, { query });
  const first = await Promise.all(paths.map((path) => read(path)));
  await Promise.all(paths.map((path) => read(path))); // what is asked twice is kept
  const waiting = paths.map((path, i) => read(path, { index: first[i]?.index, wait: "600ms" }));
  await catalog.register({ Node: "n1", Address: "10.0.0.1", Check: { ...check, Output: "second" } });
  for (const [i, path] of paths.entries()) {
    const now = await read(path);
    expect([path, now.index, now.raw.toString()]).toEqual([path, first[i]?.index, expect.stringContaining("second")]);
    expect((await waiting[i])?.index).toBe(first[i]?.index);
  }
  const woken = read("health/service/web", { index: first[0]?.index, wait: "10s" });
  await catalog.register({ Node: "n1", Address: "10.0.0.1", Check: { ...check, Output: "second", Status: "warning" } });
  expect((await woken).index).toBeGreaterThan(first[0]?.index ?? Infinity);
});

test("a client that goes away frees its watch", async () => {
  await using catalog = await startCatalog();
  const waiters = async () =>
    Number(/^heddle_catalog_waiters\S* (\d+)$/m.exec((await catalog.api.get<string>("/metrics")).raw.toString())?.[1]);
  const gone = new AbortController();
  const watches = Array.from({ length: 20 }, () =>
    catalog.api.get("/v1/kv/nothing", { query: { index: 99, wait: "1m" }, allow: [404], signal: gone.signal }),
  );
  const ended = Promise.allSettled(watches);
  await expect.poll(waiters).toBe(20);
  gone.abort(new Error("going away"));
  await ended;
  await expect.poll(waiters).toBe(0);
});

test("what was acknowledged is there after a restart, and indexes do not go back", async () => {
  const { mkdtempSync, rmSync } = await import("node:fs");
  const dir = mkdtempSync("/tmp/heddle-catalog-");
  let before: number;
  {
    await using catalog = await startCatalog([`-data-dir=${dir}`]);
    await catalog.register(web);
    await catalog.api.put("/v1/kv/a", { body: "1" });
    before = (await catalog.api.get("/v1/health/service/web")).index;
  }
  await using catalog = await startCatalog([`-data-dir=${dir}`]);
  const after = await catalog.api.get<unknown[]>("/v1/health/service/web");
  expect(after.body).toHaveLength(1);
  expect(after.index).toBeGreaterThanOrEqual(before);
  expect((await catalog.api.get<[{ Value: string }]>("/v1/kv/a")).body[0].Value).toBe("MQ==");
  rmSync(dir, { recursive: true });
});
