import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  clusterTrustDomain,
  formatSpiffeId,
  IdentityError,
  parseSpiffeId,
  parseTrustDomain,
  serviceSpiffeId,
  type SpiffeId,
} from "./index.ts";

const TD = "6c856313-e077-f4e6-5f1a-0240db44fdfc.consul";
const WEB = `spiffe://${TD}/ns/default/dc/dc1/svc/web`;

const alphabet = (chars: string) => fc.constantFrom(...chars.split(""));
const segment = fc
  .string({ unit: alphabet("abcXYZ019._-"), minLength: 1, maxLength: 40 })
  .filter((s) => s !== "." && s !== "..");
const trustDomain = fc.string({ unit: alphabet("abcxyz019._-"), minLength: 1, maxLength: 100 });
const partition = fc.oneof(fc.constant({}), fc.record({ partition: segment }));
const merge = <A extends object, B extends object>(a: fc.Arbitrary<A>, b: fc.Arbitrary<B>) =>
  fc.tuple(a, b).map(([x, y]) => ({ ...x, ...y }));

const anyId: fc.Arbitrary<SpiffeId> = fc.oneof(
  merge(
    fc.record({
      kind: fc.constant("service" as const),
      trustDomain,
      namespace: segment,
      datacenter: segment,
      service: segment,
    }),
    partition,
  ),
  merge(fc.record({ kind: fc.constant("agent" as const), trustDomain, datacenter: segment, node: segment }), partition),
  merge(fc.record({ kind: fc.constant("gateway" as const), trustDomain, datacenter: segment }), partition),
  fc.record({ kind: fc.constant("server" as const), trustDomain, datacenter: segment }),
  fc.record({ kind: fc.constant("signing" as const), trustDomain }),
  fc.record({ kind: fc.constant("daemon" as const), trustDomain, datacenter: segment, role: segment }),
  fc.record({ kind: fc.constant("daemon" as const), trustDomain, datacenter: segment, role: segment, node: segment }),
);

describe("a SPIFFE ID", () => {
  it("reads back as what was written", () => {
    fc.assert(
      fc.property(anyId, (id) => {
        expect(parseSpiffeId(formatSpiffeId(id))).toEqual(id);
      }),
    );
  });

  it("has exactly one text: what parses formats to the same bytes", () => {
    const pieces = fc.constantFrom(
      "spiffe://",
      "td",
      "/",
      "/ns/a",
      "/dc/b",
      "/svc/c",
      "/ap/p",
      "/agent/client",
      "/id/n",
      "//",
      ".",
      "%41",
      "TD",
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 9 }), (parts) => {
        const text = parts.join("");
        let id: SpiffeId;
        try {
          id = parseSpiffeId(text);
        } catch (error) {
          expect(error).toBeInstanceOf(IdentityError);
          return;
        }
        expect(formatSpiffeId(id)).toBe(text);
      }),
    );
  });

  it("never throws anything but IdentityError, whatever the text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (tail) => {
        for (const text of [tail, `spiffe://${tail}`, `${WEB}${tail}`]) {
          try {
            parseSpiffeId(text);
          } catch (error) {
            expect(error).toBeInstanceOf(IdentityError);
          }
        }
      }),
    );
  });

  it.each<[string, SpiffeId]>([
    [WEB, { kind: "service", trustDomain: TD, namespace: "default", datacenter: "dc1", service: "web" }],
    [
      `spiffe://${TD}/ap/p1/ns/ns1/dc/dc1/svc/some.odd_Name`,
      {
        kind: "service",
        trustDomain: TD,
        partition: "p1",
        namespace: "ns1",
        datacenter: "dc1",
        service: "some.odd_Name",
      },
    ],
    [`spiffe://${TD}/agent/client/dc/dc1/id/n1`, { kind: "agent", trustDomain: TD, datacenter: "dc1", node: "n1" }],
    [`spiffe://${TD}/agent/server/dc/dc1`, { kind: "server", trustDomain: TD, datacenter: "dc1" }],
    [`spiffe://${TD}/gateway/mesh/dc/dc1`, { kind: "gateway", trustDomain: TD, datacenter: "dc1" }],
    [`spiffe://${TD}`, { kind: "signing", trustDomain: TD }],
    [
      `spiffe://${TD}/heddle/dc/dc1/role/catalog`,
      { kind: "daemon", trustDomain: TD, datacenter: "dc1", role: "catalog" },
    ],
  ])("%s is understood", (text, id) => {
    expect(parseSpiffeId(text)).toEqual(id);
    expect(formatSpiffeId(id)).toBe(text);
  });

  it.each([
    ["empty", "", "does not begin"],
    ["another scheme", `https://${TD}/ns/default/dc/dc1/svc/web`, "does not begin"],
    ["an upper-case scheme", WEB.replace("spiffe", "SPIFFE"), "does not begin"],
    ["one slash", WEB.replace("//", "/"), "does not begin"],
    ["no trust domain", "spiffe:///ns/default/dc/dc1/svc/web", "trust domain is empty"],
    ["an upper-case trust domain", WEB.replace("consul/", "CONSUL/"), "lower-case"],
    ["a trust domain of 256 bytes", `spiffe://${"a".repeat(256)}/ns/default/dc/dc1/svc/web`, "lower-case"],
    ["an IPv6 trust domain", "spiffe://[::1]/ns/default/dc/dc1/svc/web", "port is not allowed"],
    ["a wildcard trust domain", "spiffe://*.consul/ns/default/dc/dc1/svc/web", "lower-case"],
    ["a comma in the trust domain", "spiffe://a,b/ns/default/dc/dc1/svc/web", "lower-case"],
    ["userinfo", WEB.replace("//", "//me@"), "userinfo"],
    ["a password", WEB.replace("//", "//me:pw@"), "userinfo"],
    ["a port", WEB.replace("consul/", "consul:443/"), "port"],
    ["an empty port", WEB.replace("consul/", "consul:/"), "port"],
    ["a query", `${WEB}?x=1`, "query"],
    ["an empty query", `${WEB}?`, "query"],
    ["a fragment", `${WEB}#x`, "fragment"],
    ["percent-encoding in the path", WEB.replace("web", "%77eb"), "percent-encoding"],
    ["percent-encoding in the trust domain", WEB.replace("consul/", "cons%75l/"), "percent-encoding"],
    ["a bare percent", `${WEB}%`, "percent-encoding"],
    ["a trailing slash", `${WEB}/`, "empty path segment"],
    ["a trailing slash after the trust domain", `spiffe://${TD}/`, "empty path segment"],
    ["an empty segment", WEB.replace("/dc/", "//dc/"), "empty path segment"],
    ["a dot segment", WEB.replace("/svc/", "/./svc/"), "'.' or '..'"],
    ["a dot-dot segment", WEB.replace("/web", "/../web"), "'.' or '..'"],
    ["a service called '..'", WEB.replace("/web", "/.."), "'.' or '..'"],
    ["a NUL", `${WEB}\0.evil`, "control character"],
    ["a line feed at the end", `${WEB}\n`, "control character"],
    ["a space", `${WEB} x`, "a space"],
    ["non-ASCII", `${WEB}é`, "outside ASCII"],
    ["a backslash", `${WEB}\\x`, "more than letters"],
    ["a comma", `${WEB},x`, "more than letters"],
    ["a plus", `${WEB}+x`, "more than letters"],
    ["3 KiB", `${WEB}${"x".repeat(3072)}`, "longer than 2048"],
    ["an unknown path", `spiffe://${TD}/ns/default/dc/dc1`, "not one of"],
    ["an upper-case key", WEB.replace("/svc/", "/SVC/"), "not one of"],
    ["more after the service", `${WEB}/x`, "not one of"],
    ["a partition alone", `spiffe://${TD}/ap/p1`, "not one of"],
    ["a partition of a server", `spiffe://${TD}/ap/p1/agent/server/dc/dc1`, "not one of"],
    ["a partition of a daemon", `spiffe://${TD}/ap/p1/heddle/dc/dc1/role/ca`, "not one of"],
    ["a partition twice", WEB.replace("/ns/", "/ap/a/ap/b/ns/"), "not one of"],
  ])("is refused with its rule: %s", (_name, text, rule) => {
    expect(() => parseSpiffeId(text)).toThrow(IdentityError);
    expect(() => parseSpiffeId(text)).toThrow(rule);
  });

  it("is accepted at 2,048 bytes and refused at 2,049", () => {
    const exact = WEB + "x".repeat(2_048 - WEB.length);
    expect(parseSpiffeId(exact).kind).toBe("service");
    expect(() => parseSpiffeId(`${exact}x`)).toThrow("longer than");
  });

  it("says at most one bounded line about hostile text", () => {
    expect(() => parseSpiffeId("spiffe://a\r\nInjected: line")).toThrow(/^[\x20-\x7e]*$/);
    expect(() => parseSpiffeId("x".repeat(100_000))).toThrow(/^.{0,400}$/);
  });
});

describe("writing a SPIFFE ID", () => {
  it.each(["a/b", "", ".", "..", "a%2Fb", "a b", "a\0", "é", "x/../y"])("refuses a service called '%s'", (service) => {
    expect(() => serviceSpiffeId({ trustDomain: TD, datacenter: "dc1", service })).toThrow(IdentityError);
  });

  it("puts a service into the default namespace", () => {
    expect(serviceSpiffeId({ trustDomain: TD, datacenter: "dc1", service: "web" })).toBe(WEB);
  });

  it("refuses parts that together name another kind", () => {
    const sneaky = { kind: "server", trustDomain: `${TD}/agent/server/dc/x`, datacenter: "y" } as const;
    expect(() => formatSpiffeId(sneaky)).toThrow(IdentityError);
  });
});

describe("a trust domain", () => {
  it("is canonicalised once, where it is configured", () => {
    expect(parseTrustDomain("Example.COM")).toBe("example.com");
    expect(clusterTrustDomain("6C856313-e077-f4e6-5f1a-0240db44fdfc")).toBe(TD);
  });

  it.each(["", "a b", "a/b", "*", "a:1", "a@b", "\u212Aonsul", "é", "a".repeat(256)])("is refused: '%s'", (text) => {
    expect(() => parseTrustDomain(text)).toThrow(IdentityError);
  });
});
