import * as fc from "fast-check";
import { expect, test } from "vitest";
import { decide } from "./decide.ts";
import { planChange } from "./plan.ts";
import type { PairUse } from "./report.ts";
import { fakeIntention } from "./testing.ts";

const pair = (Source: string, Destination: string, more: Partial<PairUse> = {}): PairUse => ({
  ...{ Source, Destination, Open: 0, Bytes: 0, LastSeen: "", Refused: 0, LastRefused: "" },
  ...more,
});

test("a deny cuts the pairs that it is about, those in use first, and an allow lets through what was refused", () => {
  const deny = fakeIntention({ SourceName: "*", DestinationName: "db", Action: "deny" });
  const allow = fakeIntention({ SourceName: "web", DestinationName: "db", Action: "allow" });
  const pairs = [
    pair("old", "db", { LastSeen: "2026-01-01T00:00:00Z" }),
    pair("api", "db", { Open: 2 }),
    pair("new", "db", { LastRefused: "2026-01-02T00:00:00Z" }),
    pair("web", "db", { Open: 9 }),
    pair("web", "cache", { Open: 1 }),
  ];
  const plan = planChange({ before: [allow], after: [allow, deny], defaultAllow: true, pairs });
  expect(plan.Cut.map(({ Source }) => Source)).toEqual(["api", "new", "old"]);
  expect(plan).toMatchObject({ Opened: [], Unchanged: 2 });
  expect(plan.Cut[0]).toMatchObject({ Before: "ACLs disabled, access is allowed by default" });
  expect(plan.Cut[0]?.After).toContain("DENY default/* => default/db");
  const back = planChange({ before: [allow, deny], after: [allow], defaultAllow: true, pairs });
  expect(back.Opened.map(({ Source }) => Source)).toEqual(["api", "new", "old"]);
  expect(back.Cut).toEqual([]);
});

test("every pair is cut, opened or unchanged, as the decisions before and after say", () => {
  const name = fc.constantFrom("a", "b", "c", "*");
  const rules = fc.array(
    fc
      .record({ SourceName: name, DestinationName: name, Action: fc.constantFrom("allow", "deny") })
      .map((fields) => fakeIntention(fields)),
    { maxLength: 6 },
  );
  const pairs = ["a", "b", "c"].flatMap((from) => ["a", "b", "c"].map((to) => pair(from, to)));
  fc.assert(
    fc.property(rules, rules, fc.boolean(), (before, after, defaultAllow) => {
      const plan = planChange({ before, after, defaultAllow, pairs });
      expect(plan.Cut.length + plan.Opened.length + plan.Unchanged).toBe(pairs.length);
      const isAllowed = (intentions: typeof before, { Source, Destination }: PairUse) =>
        decide({ intentions, source: Source, destination: Destination, defaultAllow }).allowed;
      for (const cut of plan.Cut) expect([isAllowed(before, cut), isAllowed(after, cut)]).toEqual([true, false]);
      for (const opened of plan.Opened)
        expect([isAllowed(before, opened), isAllowed(after, opened)]).toEqual([false, true]);
    }),
  );
});
