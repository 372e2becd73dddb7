import { ManualClock } from "@heddle/daemon/testing";
import { expect, test } from "vitest";
import type { Connection } from "./connections.ts";
import { Pairs } from "./pairs.ts";

const DAY_MS = 86_400_000;
const connection = (source: string, bytes = 0) =>
  ({
    ...{ direction: "inbound", source, destination: "db", peer: "", startedAt: 0 },
    pipe: { bytesFromA: bytes, bytesFromB: 1 },
  }) as unknown as Connection;
const denied = { code: "intention", source: "", destination: "", reason: "" } as const;

test("a pair is known with its open connections, all bytes, and what rules refused, for a day", () => {
  const clock = new ManualClock();
  const pairs = new Pairs(clock);
  const [first, second] = [connection("web", 10), connection("web", 20)];
  pairs.opened(first);
  pairs.opened(second);
  pairs.closed(first);
  pairs.refused(connection("api"), denied);
  pairs.refused(connection("api"), { ...denied, code: "limit" });
  pairs.refused(connection(""), denied);
  const at = "2026-01-01T00:00:00.000Z";
  const names = { Direction: "inbound", Destination: "db" };
  expect(pairs.list([second])).toEqual([
    { ...names, Source: "web", Open: 1, Bytes: 32, LastSeen: at, Refused: 0, LastRefused: "" },
    { ...names, Source: "api", Open: 0, Bytes: 0, LastSeen: "", Refused: 1, LastRefused: at },
  ]);
  clock.advance(DAY_MS + 1);
  expect(pairs.list([second]).map(({ Source, LastSeen }) => [Source, LastSeen])).toEqual([
    ["web", new Date(clock.now()).toISOString()],
  ]);
  pairs.closed(second);
  clock.advance(DAY_MS + 1);
  expect(pairs.list([])).toEqual([]);
});

test("the pairs that were quiet for longest are forgotten first, those without open connections before others", () => {
  const pairs = new Pairs(new ManualClock());
  pairs.opened(connection("open"));
  for (let i = 0; i < 300; i++) pairs.refused(connection(`s${i}`), denied);
  const kept = pairs.list([]).map(({ Source }) => Source);
  expect(kept).toHaveLength(256);
  expect(kept[0]).toBe("open");
  expect(kept.at(-1)).toBe("s299");
  expect(kept).not.toContain("s44");
});
