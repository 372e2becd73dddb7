import { ManualClock } from "@heddle/daemon/testing";
import type { RuleReport, SeenPair } from "@heddle/intentions";
import { expect, test } from "vitest";
import { RuleHolders } from "./rule-holders.ts";

const seen = (Direction: SeenPair["Direction"], Open: number, more: Partial<SeenPair> = {}): SeenPair => ({
  ...{ Direction, Source: "web", Destination: "db", Open, Bytes: Open * 10, LastSeen: "", Refused: 0, LastRefused: "" },
  ...more,
});
const report = (ID: string, Version: number, more: Partial<RuleReport> = {}): RuleReport => ({
  ...{ ID, Process: "m:1", Proxy: `${ID}-proxy`, Service: "db", Version, Cuts: [], Pairs: [] },
  ...more,
});
const never = new AbortController().signal;
const isDone = async (promise: Promise<void>) =>
  Promise.race([promise.then(() => true), new Promise<false>((resolve) => setImmediate(() => resolve(false)))]);

test("a writer waits for those who are heard of and hold less, and for nobody who ended or came later", async () => {
  const clock = new ManualClock();
  const holders = new RuleHolders(clock);
  holders.take("n1", [report("a", 5), report("b", 5), report("caller", 0)]);
  holders.take("n2", [report("a", 7)]);
  const reached = holders.reached(7, 1_000, never);
  expect(await isDone(reached)).toBe(false);
  holders.take("n3", [report("late", 5)]);
  holders.take("n1", [
    report("a", 8, {
      Cuts: [
        { Version: 6, Source: "x", Count: 1 },
        { Version: 8, Source: "web", Count: 2 },
      ],
    }),
  ]);
  expect(await isDone(reached)).toBe(false);
  holders.take("n1", [report("b", 5, { Gone: true })]);
  expect(await isDone(reached)).toBe(true);
  expect(holders.cutsSince(7)).toEqual([
    { Node: "n1", Process: "m:1", Proxy: "a-proxy", Service: "db", Source: "web", Count: 2 },
  ]);
  expect(holders.list().map(({ Node, Version }) => [Node, Version])).toEqual([
    ["n1", 8],
    ["n2", 7],
    ["n3", 5],
  ]);
});

test("the wait ends by time, and who is silent is shown so, not waited for, and forgotten", async () => {
  const clock = new ManualClock();
  const holders = new RuleHolders(clock);
  holders.take("n1", [report("a", 5)]);
  const reached = holders.reached(6, 1_000, never);
  clock.advance(999);
  expect(await isDone(reached)).toBe(false);
  clock.advance(1);
  expect(await isDone(reached)).toBe(true);
  expect(holders.list()).toMatchObject([{ IsSilent: false }]);
  clock.advance(45_000);
  expect(holders.list("DB")).toMatchObject([{ IsSilent: true, Version: 5 }]);
  expect(await isDone(holders.reached(6, 1_000, never))).toBe(true);
  clock.advance(600_000);
  expect(holders.list()).toEqual([]);
});

test("a pair counts once: at the service's end, else at the caller's, and a day after its proxy has ended", () => {
  const clock = new ManualClock();
  const now = new Date(clock.now()).toISOString();
  const holders = new RuleHolders(clock);
  holders.take("n1", [report("a", 1, { Pairs: [seen("inbound", 2, { LastSeen: now })] })]);
  holders.take("n2", [report("b", 1, { Pairs: [seen("inbound", 1)] })]);
  holders.take("n3", [
    report("c", 0, { Service: "web", Pairs: [seen("outbound", 3), seen("outbound", 4, { Destination: "consuls" })] }),
  ]);
  expect(holders.pairs().map(({ Destination, Open, Bytes }) => [Destination, Open, Bytes])).toEqual([
    ["db", 3, 30],
    ["consuls", 4, 40],
  ]);
  expect(holders.open("web", "DB")).toMatchObject([
    { Node: "n1", Proxy: "a-proxy", Count: 2 },
    { Node: "n2", Proxy: "b-proxy", Count: 1 },
  ]);
  for (const [node, id] of [
    ["n2", "b"],
    ["n3", "c"],
  ] as const)
    holders.take(node, [report(id, 1, { Gone: true })]);
  holders.take("n1", [report("a", 1, { Gone: true, Pairs: [seen("inbound", 2, { LastSeen: now })] })]);
  expect(holders.pairs()).toMatchObject([{ Destination: "db", Open: 0, Bytes: 20, LastSeen: now }]);
  clock.advance(86_400_001);
  expect(holders.pairs()).toEqual([]);
});

test("what is kept is bounded, and open connections are kept before others", () => {
  const holders = new RuleHolders(new ManualClock());
  const full = Array.from({ length: 256 }, (_, i) =>
    seen("inbound", i % 2, { Source: `s${i}`, LastSeen: `2026-${i}` }),
  );
  for (let i = 0; i < 800; i++)
    holders.take("n", [
      report(String(i), 1, { Service: `db${i}`, Pairs: full.map((p) => ({ ...p, Destination: `db${i}` })) }),
    ]);
  const pairs = holders.pairs();
  expect(pairs).toHaveLength(200_000);
  const last = pairs.filter(({ Destination }) => Destination === "db781");
  expect(last.every(({ Open }) => Open === 1)).toBe(true);
  for (let i = 0; i < 20_100; i++) holders.take("m", [report(String(i), 1)]);
  expect(holders.list()).toHaveLength(20_000);
});

test("threads of one proxy are one: what all hold, what all cut", () => {
  const holders = new RuleHolders(new ManualClock());
  const thread = (ID: string, Version: number) =>
    report(ID, Version, { Proxy: "p", Pairs: [seen("inbound", 1)], Cuts: [{ Version: 7, Source: "web", Count: 2 }] });
  holders.take("n", [thread("1", 7), thread("2", 6), { ...thread("3", 7), Process: "m:2" }]);
  expect(holders.list()).toMatchObject([
    { Process: "m:1", Version: 6 },
    { Process: "m:2", Version: 7 },
  ]);
  expect(holders.cutsSince(7).map(({ Process, Count }) => [Process, Count])).toEqual([
    ["m:1", 4],
    ["m:2", 2],
  ]);
  expect(holders.open("web", "db").map(({ Count }) => Count)).toEqual([2, 1]);
});
