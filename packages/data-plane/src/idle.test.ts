import { ManualClock } from "@heddle/daemon/testing";
import { expect, test } from "vitest";
import type { Connection } from "./connections.ts";
import { createIdleCuts } from "./idle.ts";

const connection = (direction: "inbound" | "outbound") => {
  const pipe = { bytesFromA: 5, bytesFromB: 0 };
  const cuts: string[] = [];
  const cut: Connection["cut"] = ({ reason }) => void cuts.push(reason);
  return { of: { direction, source: "web", destination: "db", pipe, cut } as unknown as Connection, pipe, cuts };
};

test("a caller's connection on which nothing moves is cut after the timeout, any other is not", () => {
  const clock = new ManualClock();
  const [idle, busy, outbound] = [connection("inbound"), connection("inbound"), connection("outbound")];
  let timeoutMs = 0;
  const all = new Set([idle.of, busy.of, outbound.of]);
  const cuts = createIdleCuts({ table: { all }, clock, timeoutMs: () => timeoutMs });
  cuts.changed();
  clock.advance(100_000);
  timeoutMs = 8_000;
  cuts.changed();
  for (let second = 0; second < 8; second++) {
    expect(idle.cuts).toEqual([]);
    clock.advance(1_000);
    busy.pipe.bytesFromB++;
  }
  clock.advance(1_000);
  expect(idle.cuts).toEqual(["no byte moved for 8000 ms (local_idle_timeout_ms)"]);
  all.delete(idle.of);
  busy.pipe.bytesFromA++;
  clock.advance(8_000);
  expect([busy.cuts, outbound.cuts]).toEqual([[], []]);
  timeoutMs = 0;
  cuts.changed();
  clock.advance(100_000);
  expect(busy.cuts).toEqual([]);
  cuts.close();
});
