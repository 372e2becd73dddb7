import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decide, findIdleRules, type Intention } from "./index.ts";
import { fakeIntention } from "./testing.ts";

const rule = (text: string, i = 0): Intention => {
  const [SourceName = "", , DestinationName = "", Action = ""] = text.split(" ");
  return fakeIntention({ ID: `${i}`, SourceName, DestinationName, Action });
};

describe("findIdleRules", () => {
  it.each([
    [["web -> db deny"], true, []],
    [["web -> db allow"], true, ["0: the default (allow) would decide the same"]],
    [["* -> * deny", "web -> db allow"], true, []],
    [["* -> db deny", "web -> db deny"], true, ["1: * -> db (deny) would decide the same"]],
    [
      ["* -> db deny", "web -> db deny", "web -> * allow"],
      false,
      ["1: * -> db (deny) would decide the same", "0: the default (deny) would decide the same"],
    ],
    [["* -> db deny", "web -> * allow"], false, []],
    [["web -> db deny", "web -> DB allow"], true, ["1: web -> db (deny) is about the same two and comes first"]],
  ])("of %j with the default %s: %j", (texts, defaultAllow, idle) => {
    const found = findIdleRules(texts.map(rule), defaultAllow);
    expect(found.map(({ rule: { ID }, because }) => `${ID}: ${because}`)).toEqual(idle);
  });

  it("are not those that demand a token: they say something else where requests are seen", () => {
    const JWT = { Providers: [{ Name: "okta" }] };
    expect(findIdleRules([{ ...rule("web -> db allow"), JWT }], true)).toEqual([]);
  });

  it("is what taking each rule away shows, pair by pair", () => {
    const name = fc.constantFrom("a", "b", "c", "*");
    const rules = fc
      .uniqueArray(fc.tuple(name, name), { maxLength: 10, selector: (pair) => pair.join() })
      .chain((pairs) =>
        fc.tuple(...pairs.map(([s, d]) => fc.constantFrom("allow", "deny").map((a) => `${s} -> ${d} ${a}`))),
      );
    const names = ["a", "b", "c", "nobody"];
    fc.assert(
      fc.property(rules, fc.boolean(), (texts, defaultAllow) => {
        const intentions = texts.map(rule);
        const table = (of: Intention[]) =>
          names.flatMap((source) =>
            names.map((destination) => decide({ intentions: of, source, destination, defaultAllow }).allowed),
          );
        const all = table(intentions);
        const slow = intentions.filter((r) => table(intentions.filter((o) => o !== r)).every((v, i) => v === all[i]));
        const found = findIdleRules(intentions, defaultAllow).map((idle) => idle.rule.ID);
        expect(found.toSorted()).toEqual(slow.map((r) => r.ID).toSorted());
      }),
    );
  });
});
