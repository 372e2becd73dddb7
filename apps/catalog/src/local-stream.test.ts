import { silentLog } from "@heddle/daemon";
import { openStore } from "@heddle/store";
import { TEST_SERVER } from "@heddle/store/testing";
import { expect, test } from "vitest";
import { createCatalog } from "./catalog.ts";
import { register } from "./commands/register.ts";
import { toRegistration } from "./commands/registration.ts";

async function catalogInMemory() {
  const store = await openStore({ dataDir: "", name: "catalog", log: silentLog });
  return createCatalog({
    store,
    cluster: await store.join(TEST_SERVER),
    datacenter: "dc1",
    dnsDomain: "consul",
    trustDomain: () => undefined,
    nodeName: "n1",
    defaultIntentionPolicy: "allow",
    kvMaxValueSize: 1024,
    txnMaxReqLen: 1024,
    sessionTtlMinMs: 10_000,
    log: silentLog,
  });
}

const names = (body: unknown) => Object.keys(body as object);

test("the first answer comes at once, a change when polled", async () => {
  await using catalog = await catalogInMemory();
  const put = (Service: string) =>
    catalog.state.store.run(register(toRegistration({ Node: "n1", Address: "10.0.0.1", Service: { Service } }, "dc1")));
  const told: string[][] = [];
  const subscription = catalog.localStream.subscribe("/v1/catalog/services", {
    onAnswer: ({ body }) => told.push(names(body)),
  });
  expect(told).toEqual([[]]);

  await put("web");
  subscription.poll();
  expect(told).toEqual([[], ["web"]]);
  subscription.poll();
  expect(told).toHaveLength(2);

  await put("db");
  await put("cache");
  subscription.poll();
  expect(told.slice(2)).toEqual([["cache", "db", "web"]]);

  subscription.close();
  await put("late");
  subscription.poll();
  expect(told).toHaveLength(3);
});

test("a path that cannot be followed is refused", async () => {
  await using catalog = await catalogInMemory();
  expect(() => catalog.localStream.subscribe("/v1/nonsense", { onAnswer: () => {} })).toThrow(
    "cannot be subscribed to",
  );
});
