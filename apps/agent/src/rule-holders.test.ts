import { ManualClock } from "@heddle/daemon/testing";
import { silentLog } from "@heddle/daemon";
import type { RuleReport } from "@heddle/intentions";
import { expect, onTestFinished, test } from "vitest";
import { RuleHolders } from "./rule-holders.ts";

const report = (ID: string, Version: number): RuleReport => ({
  ID,
  Process: "m:1",
  Proxy: "",
  Service: "db",
  Version,
  Cuts: [],
  Pairs: [],
});

function start() {
  const clock = new ManualClock();
  const told: [string, number][] = [];
  const catalog = { isAway: false, asked: 0 };
  const put = async (_path: string, { body }: { body: { Reports: RuleReport[] } }) => {
    catalog.asked++;
    if (catalog.isAway) throw new Error("away");
    told.push(...body.Reports.map(({ ID, Version }): [string, number] => [ID, Version]));
  };
  const holders = new RuleHolders({ catalog: { put: put as never }, node: "n1", clock, log: silentLog });
  const abort = new AbortController();
  const running = holders.run(abort.signal);
  onTestFinished(async () => {
    abort.abort();
    await running;
  });
  return { clock, catalog, told, holders };
}

test("while the catalog is away the newest report of each waits for it", async () => {
  const { catalog, told, holders } = start();
  catalog.isAway = true;
  holders.take(report("a", 1));
  await expect.poll(() => catalog.asked).toBeGreaterThan(1);
  holders.take(report("a", 2));
  holders.take(report("b", 2));
  catalog.isAway = false;
  await expect
    .poll(() => told)
    .toEqual([
      ["a", 2],
      ["b", 2],
    ]);
});

test("who is silent for a minute is forgotten, and there is an end to how many are known", () => {
  const { clock, holders } = start();
  holders.take(report("a", 1));
  clock.advance(60_001);
  expect(holders.list()).toEqual([]);
  for (let i = 0; i < 4_096; i++) holders.take(report(String(i), 1));
  expect(() => holders.take(report("one more", 1))).toThrow("4096 proxies of this node report already");
  holders.take(report("1", 2)); // who is known goes on
});
