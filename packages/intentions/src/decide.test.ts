import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decide } from "./decide.ts";
import { type Intention, matchOrder, precedence } from "./intention.ts";
import { fakeIntention } from "./testing.ts";

const ID = "11111111-2222-3333-4444-555555555555";
const rule = (SourceName: string, DestinationName: string, Action: string, more: Partial<Intention> = {}) =>
  fakeIntention({ SourceName, DestinationName, Action, ...more });

describe("precedence", () => {
  test.each([
    ["default/web", "default/db", 9],
    ["default/*", "default/db", 8],
    ["*/*", "default/db", 7],
    ["default/web", "default/*", 6],
    ["default/*", "default/*", 5],
    ["*/*", "default/*", 4],
    ["default/web", "*/*", 3],
    ["default/*", "*/*", 2],
    ["*/*", "*/*", 1],
  ])("%s => %s is %i", (source, destination, expected) => {
    const [SourceNS, SourceName] = source.split("/") as [string, string];
    const [DestinationNS, DestinationName] = destination.split("/") as [string, string];
    expect(precedence({ SourceNS, SourceName, DestinationNS, DestinationName })).toBe(expected);
  });

  test("rules sort by precedence, then by their names", () => {
    const sorted = [rule("b", "*", "deny"), rule("*", "db", "deny"), rule("a", "*", "deny"), rule("web", "db", "deny")]
      .sort(matchOrder)
      .map((r) => `${r.SourceName}=>${r.DestinationName}`);
    expect(sorted).toEqual(["web=>db", "*=>db", "a=>*", "b=>*"]);
  });
});

describe("decide", () => {
  const cases: [string, Intention[], boolean, boolean, string][] = [
    ["no rule, ACLs off", [], true, true, "ACLs disabled, access is allowed by default"],
    ["no rule, default deny", [], false, false, "Default behavior configured by ACLs"],
    [
      "exact allow",
      [rule("web", "db", "allow")],
      false,
      true,
      `Matched intention: ALLOW default/web => default/db (ID: ${ID}, Precedence: 9)`,
    ],
    [
      "exact beats wildcard",
      [rule("*", "*", "deny"), rule("web", "db", "allow")],
      false,
      true,
      `Matched intention: ALLOW default/web => default/db (ID: ${ID}, Precedence: 9)`,
    ],
    [
      "destination beats source",
      [rule("web", "*", "allow"), rule("*", "db", "deny")],
      true,
      false,
      `Matched intention: DENY default/* => default/db (ID: ${ID}, Precedence: 8)`,
    ],
    [
      "other service's rule is passed over",
      [rule("api", "db", "deny")],
      true,
      true,
      "ACLs disabled, access is allowed by default",
    ],
    [
      "an unknown action denies",
      [rule("web", "db", "audit")],
      true,
      false,
      `Matched intention: AUDIT default/web => default/db (ID: ${ID}, Precedence: 9)`,
    ],
    [
      "request rules deny",
      [rule("web", "db", "", { Permissions: [{ Action: "allow" }] })],
      true,
      false,
      `Matched intention: PERMISSIONS default/web => default/db (ID: ${ID}, Precedence: 9)`,
    ],
    [
      "request rules deny even beside an action",
      [rule("web", "db", "allow", { Permissions: [{}] })],
      true,
      false,
      `Matched intention: PERMISSIONS default/web => default/db (ID: ${ID}, Precedence: 9)`,
    ],
    [
      "a rule whose destination demands a token denies",
      [rule("web", "db", "allow", { JWT: { Providers: [{ Name: "okta" }, { Name: "own" }] } })],
      true,
      false,
      `Matched intention: ALLOW default/web => default/db (ID: ${ID}, Precedence: 9): it demands a token of okta or own, and connections carry none`,
    ],
    [
      "a deny needs no token to deny",
      [rule("web", "db", "deny", { JWT: { Providers: [{ Name: "okta" }] } })],
      true,
      false,
      `Matched intention: DENY default/web => default/db (ID: ${ID}, Precedence: 9)`,
    ],
    [
      "a rule for peers is not about our callers",
      [rule("web", "db", "allow", { SourcePeer: "east" })],
      false,
      false,
      "Default behavior configured by ACLs",
    ],
    [
      "the destination ignores case",
      [rule("web", "DB", "deny")],
      true,
      false,
      `Matched intention: DENY default/web => default/DB (ID: ${ID}, Precedence: 9)`,
    ],
    ["the source does not", [rule("Web", "db", "allow")], false, false, "Default behavior configured by ACLs"],
    [
      "another namespace",
      [rule("web", "db", "deny", { SourceNS: "other" })],
      true,
      true,
      "ACLs disabled, access is allowed by default",
    ],
  ];
  test.each(cases)("%s", (_title, intentions, defaultAllow, allowed, reason) => {
    const decision = decide({ intentions, source: "web", destination: "db", defaultAllow });
    expect({ allowed: decision.allowed, reason: decision.reason }).toEqual({ allowed, reason });
  });

  test("the trace names every matching rule, the deciding one first", () => {
    const decision = decide({
      intentions: [
        rule("*", "*", "deny"),
        rule("web", "db", "allow"),
        rule("api", "db", "deny"),
        rule("web", "*", "deny"),
      ],
      source: "web",
      destination: "db",
      defaultAllow: false,
    });
    expect(decision.trace.map((s) => s.outcome)).toEqual(["decides", "shadowed", "shadowed"]);
    expect(decision.trace.map((s) => /Precedence: (\d)/.exec(s.rule)?.[1])).toEqual(["9", "6", "5"]);
    expect(decision.rule).toMatchObject({ id: ID, source: "web", destination: "db", action: "allow", precedence: 9 });
  });
});

/** The obvious model: try the nine shapes of a rule in their published order; the first that exists decides. */
function slowDecide(rules: Intention[], source: [string, string], destination: [string, string], byDefault: boolean) {
  const shapes = (ns: string, name: string) => [`${ns}/${name}`, `${ns}/*`, "*/*"];
  for (const d of shapes(...destination)) {
    for (const s of shapes(...source)) {
      const found = rules.find(
        (r) => `${r.SourceNS}/${r.SourceName}` === s && `${r.DestinationNS}/${r.DestinationName}` === d,
      );
      if (found) return { allowed: found.Action === "allow" && !found.Permissions && !found.JWT, id: found.ID };
    }
  }
  return { allowed: byDefault, id: undefined };
}

test("10,000 random rule sets decide as the slow model does", () => {
  const namespace = fc.constantFrom("default", "team", "*");
  const name = fc.constantFrom("web", "db", "api", "*");
  const anyRule = fc
    .record({
      SourceNS: namespace,
      SourceName: name,
      DestinationNS: namespace,
      DestinationName: name,
      Action: fc.constantFrom("allow", "deny", "", "unknown"),
      Permissions: fc.constantFrom<unknown[] | undefined>(undefined, [{ Action: "allow" }]),
      JWT: fc.constantFrom<Intention["JWT"]>(undefined, null, { Providers: [{ Name: "okta" }] }),
    })
    // Consul refuses an exact name in a wildcard namespace.
    .filter(
      (r) => (r.SourceNS !== "*" || r.SourceName === "*") && (r.DestinationNS !== "*" || r.DestinationName === "*"),
    );
  const anyRules = fc
    .uniqueArray(anyRule, {
      maxLength: 20,
      selector: (r) => `${r.SourceNS}/${r.SourceName}>${r.DestinationNS}/${r.DestinationName}`,
    })
    .map((rules) => rules.map((r, i) => fakeIntention({ ...r, ID: `id-${i}` })));
  const concrete = fc.tuple(fc.constantFrom("default", "team", "other"), fc.constantFrom("web", "db", "api", "cache"));
  fc.assert(
    fc.property(anyRules, concrete, concrete, fc.boolean(), (intentions, s, d, defaultAllow) => {
      const decision = decide({
        intentions,
        source: s[1],
        sourceNS: s[0],
        destination: d[1],
        destinationNS: d[0],
        defaultAllow,
      });
      const { allowed, rule: decided } = decision;
      expect({ allowed, id: decided?.id }).toEqual(slowDecide(intentions, s, d, defaultAllow));
    }),
    { numRuns: 10_000 },
  );
});
