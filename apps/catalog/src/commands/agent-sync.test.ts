import { silentLog } from "@heddle/daemon";
import { openStore } from "@heddle/store";
import { expect, test } from "vitest";
import { checkKey, CHECKS, type CheckRecord, serviceKey, SERVICES, type ServiceRecord } from "../records.ts";
import { syncAll, toSyncRegistration } from "./agent-sync.ts";
import { deregister } from "./deregister.ts";
import { register } from "./register.ts";
import { toRegistration } from "./registration.ts";

async function setUp() {
  const store = await openStore({ dataDir: "", name: "catalog", log: silentLog });
  const head = { Node: "n1", Address: "10.0.0.1" };
  return {
    store,
    sync: async (body: object) => {
      const { result } = await store.run(syncAll([toSyncRegistration({ ...head, ...body }, "dc1")]));
      return result[0];
    },
    byHand: (body: object) => store.run(register(toRegistration({ ...head, ...body }, "dc1"))),
    service: (id: string) => store.get<ServiceRecord>(SERVICES, serviceKey("n1", id))?.value,
    check: (id: string) => store.get<CheckRecord>(CHECKS, checkKey("n1", id))?.value,
  };
}

const check = (Status: string, Output: string) => ({ CheckID: "c", Name: "c", Status, Output });

test("tells what was not there, what was different and what was as it should be", async () => {
  const { sync, byHand } = await setUp();
  const web = { Service: { Service: "web", Port: 1 }, Checks: [check("passing", "")] };
  expect(await sync(web)).toEqual({ Service: null, Checks: { c: null } });
  expect(await sync(web)).toEqual({ Service: [], Checks: { c: [] } });
  await byHand({ Service: { Service: "web", Port: 2, Meta: { a: "b" } }, Check: check("critical", "") });
  expect(await sync(web)).toEqual({ Service: ["Meta", "Port"], Checks: { c: ["Status"] } });
});

test("a record has an owner, who stays one when others write it, and goes with it", async () => {
  const { sync, byHand, service, check: stored, store } = await setUp();
  await byHand({ Service: { Service: "foreign" } });
  await sync({ Service: { Service: "web" }, Checks: [check("passing", "")], Owner: "file" });
  await byHand({ Service: { Service: "web", Port: 2 }, Check: check("critical", "") });
  expect([service("foreign")?.Owner, service("web")?.Owner, stored("c")?.Owner]).toEqual([undefined, "file", "file"]);
  await store.run(deregister({ Node: "n1", ServiceID: "web" }));
  await byHand({ Service: { Service: "web" } });
  expect(service("web")?.Owner).toBeUndefined();
  expect(() => toSyncRegistration({ Node: "n1", Address: "a", Owner: "me" }, "dc1")).toThrow(
    'Owner: invalid value "me": want agent or file',
  );
});

test("tags that others gave are kept where the service allows for it, until it has new ones itself", async () => {
  const { sync, byHand, service, check: stored } = await setUp();
  const web = (Tags: string[], EnableTagOverride = true) => ({ Service: { Service: "web", Tags, EnableTagOverride } });
  await sync({ ...web(["a"]), KeepTags: true });
  await byHand(web(["b"]));
  const checks = { Checks: [{ ...check("passing", ""), ServiceID: "web" }] };
  expect(await sync({ ...web(["a"]), ...checks, KeepTags: true })).toMatchObject({ Service: [], Tags: ["b"] });
  expect([service("web")?.Service.Tags, stored("c")?.ServiceTags]).toEqual([["b"], ["b"]]);
  expect(await sync({ ...web(["c"]), KeepTags: false })).toEqual({ Service: ["Tags"], Checks: {} });
  await byHand(web(["d"], false));
  expect(await sync({ ...web(["c"], false), KeepTags: true })).toMatchObject({ Service: ["Tags"] });
  expect(service("web")?.Service.Tags).toEqual(["c"]);
});

test("output that differs alone is written only where it is asked for", async () => {
  const { sync, check: stored, store } = await setUp();
  await sync({ Checks: [check("passing", "1")] });
  const { revision } = store;
  await sync({ Checks: [check("passing", "2")], KeepOutput: true });
  expect([stored("c")?.Output, store.revision]).toEqual(["1", revision]);
  await sync({ Checks: [check("warning", "3")], KeepOutput: true });
  expect(stored("c")).toMatchObject({ Status: "warning", Output: "3" });
  await sync({ Checks: [check("warning", "4")] });
  expect(stored("c")?.Output).toBe("4");
});
