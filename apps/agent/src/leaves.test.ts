import { createLogHub, createRegistry, type LogEntry } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { createRevocationList, NO_REVOCATIONS, type RevocationList, type RevocationsAnswer } from "@heddle/tls";
import { expect, test } from "vitest";
import { watchLeafExpiry } from "./leaf-expiry.ts";
import { Leaves, type Roots } from "./leaves.ts";
import { Watched } from "./watched.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const trustDomain = "11111111-2222-4333-8444-555555555555.consul";

/** Signs as the CA would, for an hour, and counts. */
function setUp() {
  const clock = new ManualClock();
  const roots = new Watched<Roots>();
  roots.set({ ActiveRootID: "root-1", TrustDomain: trustDomain, Roots: [] }, 1);
  let signed = 0;
  let isAway = false;
  const sign = async (csr: string) => {
    if (isAway) throw new Error("connection refused");
    expect(csr).toContain("BEGIN CERTIFICATE REQUEST");
    signed++;
    return {
      certPem: `leaf ${signed}\n`,
      chainPem: [],
      rootId: roots.value?.ActiveRootID ?? "",
      serial: `0${signed}`,
      notBefore: new Date(clock.now()).toISOString(),
      notAfter: new Date(clock.now() + HOUR_MS).toISOString(),
    };
  };
  const hub = createLogHub({ write: () => {} });
  const logs: LogEntry[] = [];
  hub.tap("warn", (entry) => logs.push(entry));
  const revocations = new Watched<RevocationList>();
  const leaves = new Leaves({ sign, roots, revocations, datacenter: "dc1", clock, log: hub.log });
  const revoke = (answer: Partial<RevocationsAnswer>) => {
    revocations.set(createRevocationList({ ...NO_REVOCATIONS, ...answer }), revocations.index + 1);
    return leaves.revocationsChanged();
  };
  return { clock, roots, leaves, revoke, logs, signed: () => signed, setAway: (value: boolean) => (isAway = value) };
}

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

test("callers who ask at once share one signature", async () => {
  const { leaves, signed } = setUp();
  const all = await Promise.all(Array.from({ length: 10 }, () => leaves.get("web")));
  expect(signed()).toBe(1);
  expect(new Set(all.map((l) => l.value?.SerialNumber)).size).toBe(1);
  expect(all[0]?.value?.ServiceURI).toBe(`spiffe://${trustDomain}/ns/default/dc/dc1/svc/web`);
});

test("a leaf is renewed between 60 % and 75 % of its life, with a new key and a higher index", async () => {
  const { leaves, clock, signed } = setUp();
  const leaf = await leaves.get("web");
  const first = leaf.value;
  clock.advance(0.59 * HOUR_MS);
  await settled();
  expect(signed()).toBe(1);
  clock.advance(0.17 * HOUR_MS);
  await expect.poll(signed).toBe(2);
  await settled();
  expect(leaf.value?.PrivateKeyPEM).not.toBe(first?.PrivateKeyPEM);
  expect(leaf.value?.ModifyIndex).toBeGreaterThan(first?.ModifyIndex ?? Number.POSITIVE_INFINITY);
});

test("a leaf that could not be renewed is renewed at once when the CA is there again, ended or not", async () => {
  const { leaves, clock, setAway, signed } = setUp();
  const first = await leaves.get("web");
  setAway(true);
  for (let i = 0; i < 70; i++) {
    clock.advance(MINUTE_MS);
    await settled();
  }
  expect(signed()).toBe(1);
  setAway(false);
  await leaves.rootsChanged();
  expect(signed()).toBe(2);
  expect(Date.parse(first.value?.ValidBefore ?? "")).toBeGreaterThan(clock.now());
  await leaves.rootsChanged();
  expect(signed()).toBe(2);
});

test("while the CA is away a leaf is kept and asked for again; an expired one is never served", async () => {
  const { leaves, clock, setAway, signed } = setUp();
  await leaves.get("web");
  setAway(true);
  clock.advance(0.95 * HOUR_MS);
  await settled();
  expect((await leaves.get("web")).value?.SerialNumber).toBe("01");
  clock.advance(0.06 * HOUR_MS);
  await expect(leaves.get("web")).rejects.toThrow("connection refused");
  setAway(false);
  await leaves.get("web");
  expect(signed()).toBe(2);
});

test("another active root has every leaf signed anew", async () => {
  const { leaves, roots, signed } = setUp();
  const leaf = await leaves.get("web");
  roots.set({ ActiveRootID: "root-2", TrustDomain: trustDomain, Roots: [] }, 2);
  await leaves.rootsChanged();
  expect(signed()).toBe(2);
  await leaves.rootsChanged();
  expect(signed()).toBe(2);
  expect(leaf.value?.SerialNumber).toBe("02");
});

test("a leaf that cannot be renewed is told at each stage, and is urgent before it ends", async () => {
  const { leaves, clock, setAway, logs } = setUp();
  const registry = createRegistry("agent");
  watchLeafExpiry({ leaves, registry, clock });
  await leaves.get("web");
  const series = `heddle_agent_leaf_expiry_timestamp_seconds{service="web",daemon="agent"}`;
  expect(await registry.metrics()).toContain(`${series} ${(clock.now() + HOUR_MS) / 1_000}\n`);
  setAway(true);
  const told = () => logs.filter(({ sentence }) => /^a leaf (?:is close|has expired)/.test(sentence)).length;
  clock.advance(0.89 * HOUR_MS);
  expect(leaves.expiry()).toMatchObject({ leaves: 1, daysLeft: 0, urgent: [] });
  expect(told()).toBe(0);
  for (const [share, isUrgent, count] of [
    [0.02, false, 1],
    [0.05, false, 2],
    [0.025, true, 3],
    [0.013, true, 4],
    [0.003, true, 5],
    [0.5, true, 5],
  ] as const) {
    clock.advance(share * HOUR_MS);
    for (let again = 0; again < 2; again++) expect(leaves.expiry().urgent).toEqual(isUrgent ? ["web"] : []);
    expect(told()).toBe(count);
  }
  await settled(); // the last attempt has failed
  setAway(false);
  await leaves.get("web");
  expect(leaves.expiry().urgent).toEqual([]);
  leaves.close();
});

test("where there is no room for another leaf, the one that was asked for the longest ago makes it", async () => {
  const { leaves, signed } = setUp();
  const first = await leaves.get("s0");
  const kept = leaves.get("s1");
  for (let i = 2; i < 10_000; i++) await leaves.get(`s${i}`);
  const waiting = first.changed(first.index, 60_000);
  await leaves.get("one-more"); // s0 is waited for, so s1 goes
  expect(signed()).toBe(10_001);
  expect((await leaves.get("s0")).value).toBe(first.value);
  expect(await leaves.get("s1")).not.toBe(await kept);
  expect(signed()).toBe(10_002);
  leaves.close();
  first.set(first.value as never, first.index + 1);
  await waiting;
});

test("a revoked leaf is given to nobody any more, and who waits gets another", async () => {
  const { leaves, revoke, signed } = setUp();
  const leaf = await leaves.get("web");
  const other = await leaves.get("api");
  const waiting = leaf.changed(leaf.index, 60_000);
  const entry = { SerialNumber: "01", Service: "web", Reason: "lost", RevokedAt: "1970-01-01T00:00:00Z" };
  await revoke({ Serials: [{ ...entry, ExpiresAt: "1970-01-02T00:00:00Z" }] });
  await waiting;
  expect(leaf.value?.SerialNumber).toBe("03");
  expect(other.value?.SerialNumber).toBe("02");
  expect(signed()).toBe(3);
});

test("a revoked service gets no leaf, nothing is asked of the CA, and it gets one as soon as it may again", async () => {
  const { leaves, revoke, signed, clock } = setUp();
  const leaf = await leaves.get("web");
  const at = new Date(clock.now() + 1).toISOString();
  const entry = { Service: "web", Reason: "stolen laptop", RevokedAt: at };
  const waiting = leaf.changed(leaf.index, 60_000);
  await revoke({ Services: [{ ...entry, Reinstated: false, ExpiresAt: null }] });
  expect(leaf.value).toBeUndefined();
  await expect(leaves.get("web")).rejects.toThrow(/service 'web' was revoked at .*: stolen laptop/);
  clock.advance(HOUR_MS / 2);
  expect(signed()).toBe(1);
  await revoke({ Services: [{ ...entry, Reinstated: true, ExpiresAt: at }] });
  await waiting;
  expect(leaf.value?.SerialNumber).toBe("02");
});
