import { silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { parseServiceDefinition } from "@heddle/service-definition";
import { openStore } from "@heddle/store";
import { expect, test } from "vitest";
import { Drains } from "./drains.ts";
import { LocalState } from "./local-state.ts";
import { countEstablished } from "./open-connections.ts";

async function setUp() {
  const clock = new ManualClock();
  const store = await openStore({ dataDir: "", name: "agent", log: silentLog });
  const state = new LocalState({ store, nodeName: "n1", clock, log: silentLog });
  let open: number | undefined = 0;
  const asked: number[][] = [];
  const count = (ports: ReadonlySet<number>) => {
    asked.push([...ports]);
    return Promise.resolve(open);
  };
  const start = () => new Drains({ state, clock, log: silentLog, count });
  const definition = (body: object) => parseServiceDefinition(body);
  const proxy = { DestinationServiceName: "web", DestinationServiceID: "web" };
  await state.addServices([
    { definition: definition({ Name: "web", Port: 80 }), source: "api" },
    { definition: definition({ Kind: "connect-proxy", Name: "web-proxy", Port: 81, Proxy: proxy }), source: "api" },
    { definition: definition({ Name: "other", Port: 82 }), source: "api" },
  ]);
  return {
    ...{ state, asked, start },
    setOpen: (value: number | undefined) => void (open = value),
    async pass(ms: number) {
      for (let t = 0; t < ms; t += 500) {
        clock.advance(500);
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    ids: () => state.services().map((s) => s.definition.ID),
    statuses: () => ["web", "web-proxy", "other"].map((id) => state.aggregate(id)),
  };
}

test("is critical at once, with its sidecar, and goes when its last connection has ended", async () => {
  const { start, setOpen, pass, ids, statuses, asked } = await setUp();
  const drains = start();
  setOpen(1);
  await drains.start("web", 60_000);
  expect(statuses()).toEqual(["critical", "critical", "passing"]);
  await pass(10_000);
  expect(asked[0]).toEqual([80]);
  setOpen(0);
  await pass(500);
  expect(ids()).toEqual(["other", "web", "web-proxy"]);
  await pass(500);
  expect(ids()).toEqual(["other"]);
});

test("waits a little for callers who do not know yet, and no longer than its time", async () => {
  const { start, setOpen, pass, ids } = await setUp();
  const drains = start();
  await drains.start("other", 60_000);
  await pass(1_500);
  expect(ids()).toContain("other");
  await pass(500);
  expect(ids()).not.toContain("other");
  setOpen(undefined); // nobody can tell
  await drains.start("web", 5_000);
  await pass(4_500);
  expect(ids()).toContain("web");
  await pass(500);
  expect(ids()).toEqual([]);
});

test("goes on after a restart, and can be taken back", async () => {
  const { start, setOpen, pass, ids, statuses } = await setUp();
  const first = start();
  setOpen(1);
  await first.start("web", 60_000);
  first.close();
  const again = start();
  await pass(5_000);
  expect(await again.cancel("web")).toBe(true);
  expect(await again.cancel("web")).toBe(false);
  expect(statuses()).toEqual(["passing", "passing", "passing"]);
  setOpen(0);
  await pass(60_000);
  expect(ids()).toEqual(["other", "web", "web-proxy"]);
});

test("counts what is established at a port, whatever the address", () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:0050 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0100007F:C350 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 3
   3: 0000000000000000FFFF00000100007F:0051 0000000000000000FFFF00000100007F:C351 01 00000000:00000000 00:0 0 0 0 4
   4: 0100007F:0050 0100007F:C352 06 00000000:00000000 00:00000000 00000000     0        0 5
`;
  expect(countEstablished(table, new Set([0x50, 0x51]))).toBe(2);
  expect(countEstablished("", new Set([80]))).toBe(0);
});
