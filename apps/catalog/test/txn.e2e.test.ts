import { randomUUID } from "node:crypto";
import { createStreamClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { expect, test } from "vitest";
import { startCatalog } from "./harness.ts";

type Catalog = Awaited<ReturnType<typeof startCatalog>>;
type Answer = {
  Results: Record<string, Record<string, unknown>>[] | null;
  Errors: { OpIndex: number; What: string }[] | null;
};

async function txn(catalog: Catalog, operations: unknown): Promise<{ status: number; text: string; body: Answer }> {
  const body = typeof operations === "string" ? operations : JSON.stringify(operations);
  const answer = await fetch(`${catalog.url}/v1/txn`, { method: "PUT", body });
  const text = await answer.text();
  const isJson = answer.headers.get("content-type")?.includes("json");
  return { status: answer.status, text, body: (isJson ? JSON.parse(text) : {}) as Answer };
}

const set = (Key: string, value: string) => ({
  KV: { Verb: "set", Key, Value: Buffer.from(value).toString("base64") },
});

test("64 keys written together are never seen half written by readers, and the stream shows one step", async () => {
  await using catalog = await startCatalog();
  const stream = createStreamClient({ url: catalog.url, log: silentLog });
  const seen: string[][] = [];
  stream.subscribe<{ Value: string }[] | null>("/v1/kv/t/?recurse", {
    onAnswer: ({ body }) => body && seen.push(body.map((row) => row.Value)),
  });
  let isOver = false;
  const readers = Array.from({ length: 4 }, async () => {
    let reads = 0;
    while (!isOver) {
      const answer = await fetch(`${catalog.url}/v1/kv/t/?recurse`);
      if (answer.status === 404) continue;
      const values = ((await answer.json()) as { Value: string }[]).map((row) => row.Value);
      expect([values.length, new Set(values).size]).toEqual([64, 1]);
      reads++;
    }
    return reads;
  });
  for (let round = 0; round < 40; round++) {
    const keys = Array.from({ length: 64 }, (_, i) => set(`t/${i}`, `round ${round}`));
    expect((await txn(catalog, keys)).status).toBe(200);
  }
  isOver = true;
  for (const reads of await Promise.all(readers)) expect(reads).toBeGreaterThan(0);
  await expect.poll(() => seen.at(-1)?.[0]).toBe(Buffer.from("round 39").toString("base64"));
  for (const values of seen) expect([values.length, new Set(values).size]).toEqual([64, 1]);
  stream.close();
});

test("128 operations are taken, 129 are refused", async () => {
  await using catalog = await startCatalog();
  const many = (count: number) => Array.from({ length: count }, (_, i) => set(`many/${i}`, "x"));
  expect((await txn(catalog, many(128))).body.Results).toHaveLength(128);
  const refused = await txn(catalog, many(129));
  expect([refused.status, refused.text]).toEqual([413, "Transaction contains too many operations (129 > 128)"]);
});

test("one failing operation takes everything back, and every failure is told", async () => {
  await using catalog = await startCatalog();
  const answer = await txn(catalog, [
    set("a", "1"),
    { KV: { Verb: "get", Key: "none" } },
    { Node: { Verb: "set", Node: { Node: "n", Address: "10.0.0.1" } } },
    { Service: { Verb: "set", Node: "elsewhere", Service: { Service: "web" } } },
    { Check: { Verb: "get", Check: { Node: "n", CheckID: "c" } } },
  ]);
  expect(answer.status).toBe(409);
  expect(answer.body).toEqual({
    Results: null,
    Errors: [
      { OpIndex: 1, What: 'key "none" doesn\'t exist' },
      { OpIndex: 3, What: "Missing node registration" },
      { OpIndex: 4, What: 'check "c" on node "n" doesn\'t exist' },
    ],
  });
  expect((await fetch(`${catalog.url}/v1/kv/a`)).status).toBe(404);
  expect(await (await fetch(`${catalog.url}/v1/catalog/nodes`)).json()).toEqual([]);
});

test("operations see those before them, on every kind", async () => {
  await using catalog = await startCatalog();
  const made = await txn(catalog, [
    { Node: { Verb: "set", Node: { Node: "n1", Address: "10.0.0.1" } } },
    { Service: { Verb: "set", Node: "n1", Service: { ID: "web-1", Service: "web", Port: 80 } } },
    { Check: { Verb: "set", Check: { Node: "n1", CheckID: "c1", Name: "c1", Status: "passing", ServiceID: "web-1" } } },
    { Check: { Verb: "get", Check: { Node: "n1", CheckID: "c1" } } },
    set("gone", "x"),
    { KV: { Verb: "delete", Key: "gone" } },
    { KV: { Verb: "check-not-exists", Key: "gone" } },
    { KV: { Verb: "get-or-empty", Key: "gone" } },
  ]);
  expect(made.status).toBe(200);
  expect(made.body.Results?.map((result) => Object.keys(result)[0])).toEqual([
    "Node",
    "Service",
    "Check",
    "Check",
    "KV",
    "KV",
  ]);
  expect(made.body.Results?.[3]?.["Check"]).toMatchObject({ ServiceName: "web", Status: "passing" });
  const index = made.body.Results?.[0]?.["Node"]?.["ModifyIndex"];
  for (const result of made.body.Results?.slice(0, 5) ?? [])
    expect(Object.values(result)[0]).toMatchObject({ ModifyIndex: index });
  expect((await fetch(`${catalog.url}/v1/kv/gone`)).status).toBe(404);
  const removed = await txn(catalog, [
    { Node: { Verb: "delete-cas", Node: { Node: "n1", ModifyIndex: index } } },
    { Service: { Verb: "get", Node: "n1", Service: { ID: "web-1" } } },
  ]);
  expect(removed.body.Errors).toEqual([{ OpIndex: 1, What: 'service "web-1" on node "n1" doesn\'t exist' }]);
  const done = await txn(catalog, [{ Node: { Verb: "delete-cas", Node: { Node: "n1", ModifyIndex: index } } }]);
  expect(done.body).toMatchObject({ Results: [], Errors: null });
  expect(await (await fetch(`${catalog.url}/v1/catalog/service/web`)).json()).toEqual([]);
});

test("flags are exact up to 2^64-1, and a transaction of reads says so", async () => {
  await using catalog = await startCatalog();
  const flags = "18446744073709551615";
  await txn(catalog, `[{"KV":{"Verb":"set","Key":"f","Value":"eA==","Flags":${flags}}}]`);
  const read = await txn(catalog, [{ KV: { Verb: "get", Key: "f" } }]);
  expect(read.text).toContain(`"Flags":${flags},"Value":"eA=="`);
  expect(read.body).toMatchObject({ KnownLeader: true, ConsistencyLevel: "", Index: 0 });
  const conflict = await fetch(`${catalog.url}/v1/txn?stale&consistent`, {
    method: "PUT",
    body: `[{"KV":{"Verb":"get","Key":"f"}}]`,
  });
  expect(conflict.status).toBe(400);
});

test("values count as they are: base64 pushes none over the limit, one more byte is refused with its key", async () => {
  await using catalog = await startCatalog(["-kv-max-value-size=30000", "-txn-max-req-len=60000"]);
  const two = [set("a", "x".repeat(30_000)), set("b", "y".repeat(30_000))];
  expect((await txn(catalog, two)).status).toBe(200);
  const long = await txn(catalog, [set("long", "x".repeat(30_001))]);
  expect([long.status, long.text]).toEqual([
    413,
    'Value for key "long" is too large (30001 > 30000 bytes): the limit is limits.kv_max_value_size',
  ]);
  const sum = await txn(catalog, [...two, set("c", "z")]);
  expect(sum.status).toBe(413);
  expect(sum.text).toMatch(/max size: 60000 bytes.*txn_max_req_len/);
  const put = await fetch(`${catalog.url}/v1/kv/long`, { method: "PUT", body: "x".repeat(30_001) });
  expect([put.status, await put.text()]).toEqual([
    413,
    expect.stringMatching(/\(30001 bytes\) too large, max size: 30000 bytes.*kv_max_value_size/),
  ]);
  const broken = await txn(catalog, [{ KV: { Verb: "set", Key: "k", Value: "a*==" } }]);
  expect([broken.status, broken.text]).toEqual([400, "Failed to parse body: illegal base64 data at input byte 1"]);
});

test("a lock is taken by one transaction only", async () => {
  await using catalog = await startCatalog();
  await catalog.register({ Node: "n", Address: "10.0.0.1" });
  const session = async () => {
    const body = { Node: "n", Checks: [], LockDelay: "0s" };
    return (await catalog.api.put<{ ID: string }>("/v1/session/create", { body })).body.ID;
  };
  const [one, two] = [await session(), await session()];
  const lock = (Session: string) => [{ KV: { Verb: "lock", Key: "leader", Value: "eA==", Session } }];
  const statuses = (await Promise.all([txn(catalog, lock(one)), txn(catalog, lock(two))])).map((a) => a.status);
  expect(statuses.toSorted()).toEqual([200, 409]);
  const unknown = await txn(catalog, lock(randomUUID()));
  expect(unknown.body.Errors?.[0]?.What).toMatch(/^invalid session/);
});

test("keys of an object's prototype are ordinary ones", async () => {
  await using catalog = await startCatalog();
  const keys = ["__proto__", "constructor", "toString"];
  expect(
    (
      await txn(
        catalog,
        keys.map((key) => set(key, key)),
      )
    ).status,
  ).toBe(200);
  const read = await txn(
    catalog,
    keys.map((Key) => ({ KV: { Verb: "get", Key } })),
  );
  expect(read.body.Results?.map((r) => r["KV"]?.["Key"])).toEqual(keys);
  for (const verb of keys) {
    const answer = await txn(catalog, [{ KV: { Verb: verb, Key: "k" } }]);
    expect(answer.body.Errors?.[0]?.What).toBe(`unknown KV verb "${verb}"`);
  }
});

test("an operation without a node or a name fails in its place", async () => {
  await using catalog = await startCatalog();
  const failures = async (operation: unknown) => (await txn(catalog, [set("a", "1"), operation])).body.Errors;
  const missing = [{ OpIndex: 1, What: "Missing node registration" }];
  expect(await failures({ Service: { Verb: "set", Node: "", Service: { ID: "s", Service: "s" } } })).toEqual(missing);
  expect(await failures({ Check: { Verb: "set", Check: {} } })).toEqual(missing);
  expect(await failures({ Service: {} })).toEqual([{ OpIndex: 1, What: 'unknown Service verb ""' }]);
  expect(await failures({ Check: {} })).toEqual([{ OpIndex: 1, What: 'unknown Check verb ""' }]);
});

test("deleting a key that is not there succeeds at any index, one that is there at its own alone", async () => {
  await using catalog = await startCatalog();
  const remove = async (key: string, cas: number) =>
    (await fetch(`${catalog.url}/v1/kv/${key}?cas=${cas}`, { method: "DELETE" })).text();
  expect(await Promise.all([remove("none", 0), remove("none", 5)])).toEqual(["true", "true"]);
  await catalog.api.put("/v1/kv/there", { body: "x" });
  expect(await Promise.all([remove("there", 0), remove("there", 1_000)])).toEqual(["false", "false"]);
});
