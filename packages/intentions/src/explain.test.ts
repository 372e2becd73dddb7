import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decide, explain } from "./index.ts";
import { fakeIntention } from "./testing.ts";

const ask = { source: "web", destination: "db", defaultAllow: false };

describe("explain", () => {
  it("tells for each rule that matches why it decides or loses, and what the default is", () => {
    const told = explain({
      ...ask,
      intentions: [
        fakeIntention({ ID: "any", SourceName: "*", DestinationName: "*" }),
        fakeIntention({ ID: "wide", DestinationName: "*" }),
        fakeIntention({ ID: "exact", Action: "deny", Description: "no" }),
        fakeIntention({ ID: "src", SourceName: "*" }),
        fakeIntention({ ID: "other", SourceName: "api" }),
      ],
    });
    expect(told).toMatchObject({ Allowed: false, Rule: { ID: "exact", Action: "deny", Precedence: 9 } });
    expect(told.Default).toEqual({ Allowed: false, Reason: "Default behavior configured by ACLs" });
    expect(told.Trace.map((step) => [step.ID, step.Outcome, step.Why])).toEqual([
      ["exact", "decides", "the most exact rule that matches"],
      [
        "src",
        "shadowed",
        "less exact than the rule that decides: precedence 8 and not 9, for its source is any service",
      ],
      [
        "wide",
        "shadowed",
        "less exact than the rule that decides: precedence 6 and not 9, for its destination is any service",
      ],
      [
        "any",
        "shadowed",
        "less exact than the rule that decides: precedence 5 and not 9, for its destination is any service",
      ],
    ]);
  });

  it.each([
    ["another case", fakeIntention({ SourceName: "Web" }), /to the letter/],
    ["a peer", fakeIntention({ SourcePeer: "east" }), /peer "east"/],
    ["another namespace", fakeIntention({ SourceNS: "team" }), /namespace "team", not "default"/],
    ["spaces", fakeIntention({ DestinationName: "db " }), /other spaces/],
  ])("tells of a rule that is meant but does not match: %s", (_what, rule, why) => {
    const told = explain({ ...ask, intentions: [rule] });
    expect(told).toMatchObject({ Allowed: false, Rule: null });
    expect(told.Trace).toMatchObject([{ Outcome: "passed over", Why: expect.stringMatching(why) as string }]);
  });

  it("says that rules on requests deny", () => {
    const told = explain({ ...ask, intentions: [fakeIntention({ Action: "", Permissions: [{ Action: "allow" }] })] });
    expect(told).toMatchObject({ Allowed: false, Rule: { Action: "permissions" } });
    expect(told.Trace[0]?.Why).toContain("so it denies");
  });

  it("says that a token that is demanded denies, and whose it is", () => {
    const JWT = { Providers: [{ Name: "okta" }] };
    const told = explain({ ...ask, intentions: [fakeIntention({ JWT })] });
    expect(told).toMatchObject({ Allowed: false, Rule: { Action: "allow" } });
    expect(told.Trace[0]?.Why).toBe(
      "the only rule that matches; it demands a token of okta, and connections carry none, so it denies",
    );
  });

  it("decides as `decide` does, whatever the rules", () => {
    const name = fc.constantFrom("web", "db", "api", "*", "DB");
    const rule = fc
      .record({ SourceName: name, DestinationName: name, Action: fc.constantFrom("allow", "deny") })
      .map(fakeIntention);
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 8 }), name, name, fc.boolean(), (intentions, source, destination, on) => {
        const input = { intentions, source, destination, defaultAllow: on };
        const decision = decide(input);
        const told = explain(input);
        expect([told.Allowed, told.Reason]).toEqual([decision.allowed, decision.reason]);
        expect(told.Trace.filter((step) => step.Outcome !== "passed over")).toHaveLength(decision.trace.length);
      }),
    );
  });
});
