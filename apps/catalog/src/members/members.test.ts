import { silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { openStore } from "@heddle/store";
import { TEST_SERVER } from "@heddle/store/testing";
import { expect, test } from "vitest";
import { register } from "../commands/register.ts";
import { toRegistration } from "../commands/registration.ts";
import { createSession, toSession } from "../commands/sessions.ts";
import { checkKey, CHECKS, type CheckRecord, type MemberRecord, MEMBERS, NODES, SESSIONS } from "../records.ts";
import type { MemberLink, Probe } from "./lease.ts";
import { Members } from "./members.ts";

const HOUR_MS = 3_600_000;
const facts = (Node: string, ID = Node) => ({ Node, ID, Address: "10.0.0.1", Server: false });

class FakeLink implements MemberLink {
  readonly asked: string[] = [];
  closed: string | undefined;
  answer: Probe | undefined;
  probe({ node }: { node: string }) {
    this.asked.push(node);
    return Promise.resolve(this.answer);
  }
  deregister() {}
  close(reason: string) {
    this.closed = reason;
  }
}

async function setUp() {
  const manual = new ManualClock();
  let jumped = 0;
  const clock = { now: () => manual.now() + jumped, after: manual.after.bind(manual) };
  const store = await openStore({ dataDir: "", name: "catalog", log: silentLog });
  const cluster = await store.join(TEST_SERVER);
  const port = { isClosed: false };
  const isPortClosed = () => Promise.resolve(port.isClosed);
  const start = () =>
    new Members({ store, cluster, clock, log: silentLog, reconnectTimeoutMs: 8 * HOUR_MS, isPortClosed });
  let members = start();
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  const pass = async (ms: number, each: () => void = () => {}) => {
    for (let t = 0; t < ms; t += 250) {
      manual.advance(250);
      each();
      await settle();
    }
  };
  const join = async (node: string, id?: string) => {
    const link = new FakeLink();
    await store.run(register(toRegistration({ Node: node, Address: "10.0.0.1" }, "dc1")));
    const lease = await members.hold(facts(node, id), { probeUrl: `http://10.0.0.1:8301`, link });
    return { link, lease };
  };
  return {
    /** As if this process stood still for as long, or the clock was put forward. */
    jump: (ms: number) => void (jumped += ms),
    port,
    store,
    pass,
    join,
    members: () => members,
    restart: () => {
      members.close();
      members = start();
    },
    status: (node: string) => store.get<MemberRecord>(MEMBERS, node)?.value.Status,
    serf: (node: string) => {
      const { Status, Output } = store.get<CheckRecord>(CHECKS, checkKey(node, "serfHealth"))?.value ?? {};
      return `${Status}: ${Output}`;
    },
  };
}

const ALIVE = "passing: Agent alive and reachable";

test("a node whose heartbeats come is alive; when they end it is failed with the reason, and its sessions end", async () => {
  const { pass, join, status, serf, store } = await setUp();
  const { lease, link } = await join("n1");
  await store.run(createSession(toSession({}, { node: "n1" })));
  await pass(60_000, () => lease.heard());
  expect([status("n1"), serf("n1"), store.count(SESSIONS)]).toEqual(["alive", ALIVE, 1]);
  await pass(9_000);
  expect(status("n1")).toBe("alive");
  await pass(2_000);
  expect([status("n1"), serf("n1"), store.count(SESSIONS)]).toEqual([
    "failed",
    "critical: Agent not live or unreachable: no heartbeat for 10s",
    0,
  ]);
  expect(link.closed).toBe("this node was declared failed");
});

test("an agent whose connection ends and whose port is closed is gone: soon, and no sooner than it could start again", async () => {
  const { pass, join, serf, status, port } = await setUp();
  const { lease } = await join("n1");
  port.isClosed = true;
  lease.lost();
  await pass(1_750);
  expect(status("n1")).toBe("alive");
  await pass(500);
  expect(serf("n1")).toMatch(/^critical: .*: its connection has ended 2s ago; nobody listens where it did$/);
});

test("one that listens again is given the time that others are", async () => {
  const { pass, join, status, port } = await setUp();
  const { lease } = await join("n1");
  port.isClosed = true;
  lease.lost();
  await pass(1_500);
  port.isClosed = false;
  await pass(3_000);
  expect(status("n1")).toBe("alive");
  await pass(1_000);
  expect(status("n1")).toBe("failed");
});

test("a node that is merely slow does not flap", async () => {
  const { pass, join, status, store } = await setUp();
  const { lease } = await join("n1");
  const { revision } = store;
  for (let round = 0; round < 10; round++) {
    await pass(9_000); // suspected by then
    lease.heard();
  }
  expect([status("n1"), store.revision]).toEqual(["alive", revision]);
});

test("what other agents find makes it sooner, or puts it off for a while", async () => {
  const { pass, join, serf, status } = await setUp();
  const [n1, n2, n3] = [await join("n1"), await join("n2"), await join("n3")];
  const others = () => [n2, n3].forEach(({ lease }) => lease.heard());
  for (const { link } of [n2, n3]) link.answer = { isReached: false, reason: "connection refused" };
  n1.lease.lost();
  await pass(2_500, others);
  expect(serf("n1")).toMatch(
    /^critical: .*: its connection has ended 2s ago; n\d cannot reach it: connection refused; n\d/,
  );

  const again = await join("n1");
  expect(serf("n1")).toBe(ALIVE);
  n3.link.answer = { isReached: true, reason: "" };
  again.lease.lost();
  await pass(25_000, others);
  expect(status("n1")).toBe("alive");
  await pass(12_000, others);
  expect(serf("n1")).toMatch(/^critical: .*; n3 reaches it, but it does not report$/);
});

test("after a restart nobody is dead at once: agents have time to find the catalog again", async () => {
  const { pass, join, restart, serf } = await setUp();
  await join("n1");
  await join("n2");
  restart();
  await pass(14_000);
  expect([serf("n1"), serf("n2")]).toEqual([ALIVE, ALIVE]);
  const back = await join("n1");
  await pass(8_000, () => back.lease.heard());
  expect(serf("n1")).toBe(ALIVE);
  expect(serf("n2")).toMatch(/^critical/);
});

test("time in which the catalog itself stood still, or in which its clock was put forward, counts for nobody", async () => {
  const { jump, pass, join, status } = await setUp();
  const { lease } = await join("n1");
  await pass(1_000, () => lease.heard());
  jump(HOUR_MS);
  await pass(1_000);
  jump(-HOUR_MS);
  await pass(1_000);
  lease.heard();
  expect(status("n1")).toBe("alive");
});

test("records that were restored from another time are put right", async () => {
  const { pass, join, status, serf, store } = await setUp();
  const { lease } = await join("n1");
  const old = store.get<MemberRecord>(MEMBERS, "n1")?.value as MemberRecord;
  await store.run(() => ({
    writes: [
      { table: MEMBERS, key: "n1", value: { ...old, Status: "failed" } },
      { table: MEMBERS, key: "n2", value: { ...old, Node: "n2", ID: "n2" } },
      { table: CHECKS, key: checkKey("n1", "serfHealth") },
    ],
    result: undefined,
  }));
  await pass(500, () => lease.heard());
  expect([status("n1"), serf("n1"), status("n2")]).toEqual(["alive", ALIVE, "alive"]);
  await pass(21_000, () => lease.heard());
  expect([status("n1"), status("n2")]).toEqual(["alive", "failed"]);
});

test("a name is not given to a second agent while the first lives; the same agent takes its own over", async () => {
  const { pass, join, status } = await setUp();
  const first = await join("n1", "id-1");
  await expect(join("n1", "id-2")).rejects.toThrow(
    "the node name 'n1' is taken by an agent at 10.0.0.1 (node id id-1)",
  );
  const again = await join("n1", "id-1");
  expect(first.link.closed).toBe("the agent has connected again");
  first.lease.lost();
  await pass(20_000, () => again.lease.heard());
  expect(status("n1")).toBe("alive");
  again.lease.lost();
  await join("n1", "id-2");
  expect(status("n1")).toBe("alive");
});

test("an agent that comes back under another name is not two members", async () => {
  const { join, status } = await setUp();
  const old = await join("old", "id-1");
  await expect(join("new", "id-1")).rejects.toThrow("the node id id-1 of 'new' is that of 'old' at 10.0.0.1");
  old.lease.lost();
  await join("new", "id-1");
  expect([status("old"), status("new")]).toEqual([undefined, "alive"]);
});

test("who leaves is listed as left for a day, who failed is taken out when reconnect_timeout is over", async () => {
  const { pass, jump, join, members, status, store } = await setUp();
  await join("n1");
  const n2 = await join("n2");
  await members().leave("n1");
  n2.lease.lost();
  await pass(6_000);
  expect([status("n1"), store.get(NODES, "n1"), status("n2")]).toEqual(["left", undefined, "failed"]);
  jump(8 * HOUR_MS);
  await pass(60_000);
  expect([status("n1"), status("n2"), store.get(NODES, "n2")]).toEqual(["left", undefined, undefined]);
  jump(16 * HOUR_MS);
  await pass(60_000);
  expect(status("n1")).toBeUndefined();
});

test("a failed member can be made to leave, one that is alive cannot, and nobody is no member", async () => {
  const { pass, join, members, status } = await setUp();
  const n1 = await join("n1");
  expect(await members().forceLeave("n1", { prune: false })).toBe(true);
  expect(status("n1")).toBe("alive");
  n1.lease.lost();
  await pass(6_000);
  await members().forceLeave("N1", { prune: false });
  expect(status("n1")).toBe("left");
  await members().forceLeave("n1", { prune: true });
  expect(status("n1")).toBeUndefined();
  expect(await members().forceLeave("nobody", { prune: true })).toBe(false);
});
