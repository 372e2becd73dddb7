import { silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { openStore } from "@heddle/store";
import { TEST_SERVER } from "@heddle/store/testing";
import { expect, test } from "vitest";
import { syncAll, toSyncRegistration } from "./commands/agent-sync.ts";
import { register } from "./commands/register.ts";
import { toRegistration } from "./commands/registration.ts";
import { CHECKS, serviceKey, SERVICES } from "./records.ts";
import { CriticalReaper, reapAfterMs } from "./reaper.ts";

async function setUp({ hasAgent = true } = {}) {
  const clock = new ManualClock();
  const store = await openStore({ dataDir: "", name: "catalog", log: silentLog });
  const cluster = await store.join(TEST_SERVER);
  const asked: string[] = [];
  const start = () =>
    new CriticalReaper({
      ...{ store, cluster, clock, log: silentLog },
      askAgent: (node, { service, check }) => hasAgent && asked.push(`${node} ${service} ${check}`) > 0,
    });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  const body = (Status: string, after: string) => ({
    ...{ Node: "n1", Address: "10.0.0.1", Service: { Service: "web" } },
    Check: { CheckID: "c", Name: "c", ServiceID: "web", Status, Definition: { DeregisterCriticalServiceAfter: after } },
  });
  let reaper = start();
  return {
    asked,
    reaper: () => reaper,
    restart() {
      reaper.close();
      reaper = start();
    },
    external: (Status: string, after = "30s") => store.run(register(toRegistration(body(Status, after), "dc1"))),
    ofAgent: (Status: string) => {
      const { Check, ...rest } = body(Status, "");
      const Checks = [{ ...Check, Definition: {}, ReapAfterMs: 90_000 }];
      return store.run(syncAll([toSyncRegistration({ ...rest, Checks }, "dc1")]));
    },
    isThere: () => store.get(SERVICES, serviceKey("n1", "web")) !== undefined,
    checks: () => store.count(CHECKS),
    async pass(ms: number) {
      for (let t = 0; t < ms; t += 5_000) {
        clock.advance(5_000);
        await settle();
      }
    },
  };
}

test("a service of the catalog goes with its checks when one was critical for a minute, the least there is", async () => {
  const { external, pass, isThere, checks, reaper } = await setUp();
  await external("critical");
  await pass(55_000);
  expect([isThere(), reaper().countdowns()]).toEqual([
    true,
    [{ Node: "n1", ServiceID: "web", CheckID: "c", CriticalForMs: 55_000, DeregistersInMs: 5_000 }],
  ]);
  await pass(5_000);
  expect([isThere(), checks(), reaper().countdowns()]).toEqual([false, 0, []]);
});

test("one that recovers counts from the beginning", async () => {
  const { external, pass, isThere } = await setUp();
  await external("critical");
  await pass(55_000);
  await external("warning");
  await external("critical");
  await pass(55_000);
  expect(isThere()).toBe(true);
  await external("passing");
  await pass(120_000);
  expect(isThere()).toBe(true);
});

test("an agent is asked to do it itself, again and again; without it the catalog does", async () => {
  const { ofAgent, asked, pass, isThere } = await setUp();
  await ofAgent("critical");
  await pass(85_000);
  expect(asked).toEqual([]);
  await pass(40_000);
  expect([asked, isThere()]).toEqual([["n1 web c", "n1 web c"], true]);

  const alone = await setUp({ hasAgent: false });
  await alone.ofAgent("critical");
  await alone.pass(90_000);
  expect(alone.isThere()).toBe(false);
});

test("a catalog that starts again counts anew", async () => {
  const { external, pass, isThere, restart } = await setUp();
  await external("critical", "2m");
  await pass(110_000);
  restart();
  await pass(115_000);
  expect(isThere()).toBe(true);
  await pass(5_000);
  expect(isThere()).toBe(false);
});

test("a check of the node may ask for it, as in Consul, and has no service that could go", () => {
  const Definition = { DeregisterCriticalServiceAfter: "90s" };
  const check = { CheckID: "c", Name: "c", Definition };
  const { checks } = toRegistration({ Node: "n1", Address: "a", Check: check }, "dc1");
  expect(checks.map((record) => reapAfterMs(record))).toEqual([0]);
});
