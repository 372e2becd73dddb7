import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { HeddleError } from "@heddle/daemon";
import { CONFIG_KINDS } from "./kinds.ts";
import { decodeConfigEntry, normaliseConfigEntry } from "./parse.ts";

const parse = (input: unknown) => normaliseConfigEntry(decodeConfigEntry(input));
function refusalOf(input: unknown): string {
  try {
    parse(input);
  } catch (error) {
    if (error instanceof HeddleError) return `${error.status} ${error.message}`;
    throw error;
  }
  return "accepted";
}

const defaults = { Kind: "service-defaults", Name: "web" };
const router = (route: unknown) => ({ Kind: "service-router", Name: "web", Routes: [route] });
const http = (match: unknown, destination?: unknown) => router({ Match: { HTTP: match }, Destination: destination });
const resolver = (more: object) => ({ Kind: "service-resolver", Name: "web", ...more });
const splitter = (...splits: object[]) => ({ Kind: "service-splitter", Name: "web", Splits: splits });
const ingress = (listener: object, more: object = {}) => ({
  Kind: "ingress-gateway",
  Name: "edge",
  Listeners: [{ Port: 80, Protocol: "http", ...listener }],
  ...more,
});
const exit = (...services: object[]) => ({ Kind: "terminating-gateway", Name: "exit", Services: services });
const tokens = (more: object) => ({ Kind: "jwt-provider", Name: "okta", ...more });
const local = { JSONWebKeySet: { Local: { JWKS: "e30=" } } };
const intentions = (...sources: object[]) => ({ Kind: "service-intentions", Name: "db", Sources: sources });

describe("what is stored", () => {
  const cases: [string, unknown, unknown][] = [
    ["defaults say nothing", defaults, { ...defaults, Protocol: "", MeshGateway: {}, Expose: {} }],
    [
      "snake_case, other cases, a protocol in lower case",
      { kind: "service-defaults", NAME: "web", protocol: "HTTP", mesh_gateway: { mode: "local" }, external_sni: "x" },
      { ...defaults, Protocol: "http", MeshGateway: { Mode: "local" }, Expose: {}, ExternalSNI: "x" },
    ],
    [
      "numbers and truths as text, one value for a list, a list of one for a value",
      {
        Kind: "service-defaults",
        Name: ["web"],
        Protocol: 5,
        Expose: [{ Checks: "true", Paths: { ListenerPort: "8080" } }],
      },
      {
        ...defaults,
        Protocol: "5",
        MeshGateway: {},
        Expose: { Checks: true, Paths: [{ ListenerPort: 8080, ParsedFromCheck: false }] },
      },
    ],
    [
      "what is Heddle's own",
      { kind: "service-defaults", name: "web", require_pq: true },
      { ...defaults, Protocol: "", MeshGateway: {}, Expose: {}, RequirePQ: true },
    ],
    [
      "the one name of proxy-defaults; opaque values as they are",
      { Kind: "proxy-defaults", Name: "other", Config: { A: { b_C: [1, "x", true] } } },
      { Kind: "proxy-defaults", Name: "global", Config: { A: { b_C: [1, "x", true] } }, MeshGateway: {}, Expose: {} },
    ],
    [
      "null for what a router has not",
      { Kind: "service-router", Name: "web" },
      { Kind: "service-router", Name: "web", Routes: null },
    ],
    [
      "durations as Go prints them, nanoseconds too",
      router({ Destination: { RequestTimeout: 1_500_000_000, NumRetries: 3 } }),
      router({ Destination: { RequestTimeout: "1.5s", NumRetries: 3 } }),
    ],
    [
      "methods in upper case, with the destination's namespace",
      http({ Methods: ["get"] }, { Service: "api" }),
      router({ Match: { HTTP: { Methods: ["GET"] } }, Destination: { Service: "api", Namespace: "default" } }),
    ],
    [
      "weights of two decimals",
      splitter({ Weight: 33.333 }, { Weight: "66.667", Service: "b" }),
      splitter({ Weight: 33.33 }, { Weight: 66.67, Service: "b" }),
    ],
    [
      "no timeout of zero, no empty maps",
      resolver({ ConnectTimeout: "0s", Subsets: {}, Failover: null }),
      resolver({}),
    ],
    [
      "a listener's protocol, hosts that nobody gave",
      ingress({ Protocol: "", Services: [{ Name: "db" }] }),
      { ...ingress({ Protocol: "tcp", Services: [{ Name: "db", Hosts: null }] }), TLS: { Enabled: false } },
    ],
    [
      "what was read can be written back",
      { ...defaults, CreateIndex: 7, ModifyIndex: 9 },
      { ...defaults, Protocol: "", MeshGateway: {}, Expose: {} },
    ],
    [
      "a token that the entry demands",
      {
        ...intentions({ Name: "web", Action: "allow" }),
        jwt: { providers: { name: "okta", verify_claims: { path: ["perms", "role"], value: "admin" } } },
      },
      {
        ...intentions({ Name: "web", Action: "allow", Type: "consul", Precedence: 0 }),
        JWT: { Providers: [{ Name: "okta", VerifyClaims: [{ Path: ["perms", "role"], Value: "admin" }] }] },
      },
    ],
    [
      "who issues tokens, and the skew of clocks that nobody gave",
      {
        kind: "jwt-provider",
        name: "okta",
        issuer: "okta",
        audiences: "mesh",
        json_web_key_set: { remote: { uri: "https://okta.example/keys", cache_duration: "5m", jwks_cluster: {} } },
        locations: [{ header: { name: "Authorization", value_prefix: "Bearer " } }, { query_param: { name: "token" } }],
        forwarding: { header_name: "X-Token" },
      },
      {
        Kind: "jwt-provider",
        Name: "okta",
        Issuer: "okta",
        Audiences: ["mesh"],
        JSONWebKeySet: { Remote: { URI: "https://okta.example/keys", CacheDuration: "5m0s", JWKSCluster: {} } },
        Locations: [{ Header: { Name: "Authorization", ValuePrefix: "Bearer " } }, { QueryParam: { Name: "token" } }],
        Forwarding: { HeaderName: "X-Token", PadForwardPayloadHeader: false },
        ClockSkewSeconds: 30,
      },
    ],
    [
      "a source's type",
      intentions({ Name: "web", Action: "deny" }),
      intentions({ Name: "web", Action: "deny", Type: "consul", Precedence: 0 }),
    ],
  ];
  test.each(cases)("%s", (_title, given, stored) => expect(parse(given)).toEqual(stored));

  test("numbers past 2^53 in opaque values are floats", () => {
    const stored = parse({ Kind: "proxy-defaults", Config: { a: [12345678901234567890n] } });
    expect(stored).toMatchObject({ Config: { a: [12345678901234567000] } });
  });

  test("keys such as __proto__ are ordinary", () => {
    const given = JSON.parse('{"Kind":"proxy-defaults","Config":{"__proto__":{"a":1},"constructor":2}}') as unknown;
    expect(JSON.stringify(parse(given))).toContain('"Config":{"__proto__":{"a":1},"constructor":2}');
    expect(({} as { a?: number }).a).toBeUndefined();
    const meta = JSON.parse('{"Kind":"service-defaults","Name":"web","Meta":{"__proto__":"x"}}') as unknown;
    expect(JSON.stringify(parse(meta))).toContain('"Meta":{"__proto__":"x"}');
  });
});

describe("what is refused", () => {
  const match = (text: string) => `500 Route[0] ${text}`;
  const cases: [string, unknown, string][] = [
    ["no kind", { Name: "x" }, "400 Payload does not contain a kind/Kind key at the top level"],
    ["a kind that is no text", { Kind: 5 }, "400 Kind value in payload is not a string"],
    ["an unknown kind", { Kind: "magic" }, "400 invalid config entry kind: magic"],
    ["a list", [], "400 '' expected a map, got 'slice'"],
    ["an unknown key", { ...defaults, Bogus: 1 }, '400 1 error occurred:\n\t* invalid config key "Bogus"\n\n'],
    [
      "unknown keys by their path, inner ones first",
      { ...defaults, Foo: 1, Expose: { Zed: 1 } },
      '400 2 errors occurred:\n\t* invalid config key "Expose.Zed"\n\t* invalid config key "Foo"\n\n',
    ],
    [
      "a namespace",
      { ...defaults, Namespace: "x" },
      '400 1 error occurred:\n\t* invalid config key "Namespace", namespaces are a consul enterprise feature\n\n',
    ],
    [
      "both styles of one key",
      { kind: "service-defaults", name: "a", Name: "b" },
      '400 1 error occurred:\n\t* invalid config key "name"\n\n',
    ],
    [
      "a map for a text",
      { ...defaults, Protocol: {} },
      "400 1 error(s) decoding:\n\n* 'Protocol' expected type 'string', got unconvertible type 'map[string]interface {}'",
    ],
    [
      "a duration without a unit",
      resolver({ ConnectTimeout: "5" }),
      "400 1 error(s) decoding:\n\n* error decoding 'ConnectTimeout': time: missing unit in duration \"5\"",
    ],
    [
      "a number below zero",
      router({ Destination: { NumRetries: -1 } }),
      "400 1 error(s) decoding:\n\n* cannot parse 'Routes[0].Destination.NumRetries' as uint: -1 is not between 0 and 4294967295",
    ],
    ["no name", { Kind: "service-defaults" }, "500 serviceName is required"],
    [
      "long metadata",
      { ...defaults, Meta: { a: "x".repeat(513) } },
      '500 1 error occurred:\n\t* Meta value for key "a" exceeds maximum length 512\n\n',
    ],
    [
      "two paths",
      http({ PathExact: "/a", PathPrefix: "/b" }),
      match("should only contain at most one of PathExact, PathPrefix, or PathRegex"),
    ],
    ["a path without slash", http({ PathPrefix: "a" }), match("PathPrefix doesn't start with '/': \"a\"")],
    ["a header without name", http({ Header: [{ Exact: "x" }] }), match("Header[0] missing required Name field")],
    [
      "a header matched twice",
      http({ Header: [{ Name: "x", Exact: "a", Prefix: "b" }] }),
      match("Header[0] should only contain one of Present, Exact, Prefix, Suffix, or Regex"),
    ],
    [
      "a parameter matched by nothing",
      http({ QueryParam: [{ Name: "x" }] }),
      match("QueryParam[0] should only contain one of Present, Exact, or Regex"),
    ],
    ["a method twice", http({ Methods: ["get", "GET"] }), match('Methods contains "GET" more than once')],
    [
      "a rewrite without a path",
      http({}, { PrefixRewrite: "/x" }),
      match("cannot make use of PrefixRewrite without configuring either PathExact or PathPrefix"),
    ],
    ["no splits", splitter(), "500 no splits configured"],
    [
      "a wrong sum",
      splitter({ Weight: 33.33 }, { Weight: 66.66, Service: "b" }),
      "500 the sum of all split weights must be 100, not 99.989998",
    ],
    [
      "a split twice",
      splitter({ Weight: 50 }, { Weight: 50, Service: "web" }),
      '500 split destination occurs more than once: service="web", subset="", namespace=""',
    ],
    ["an unknown default subset", resolver({ DefaultSubset: "v1" }), '500 DefaultSubset "v1" is not a valid subset'],
    [
      "a subset's name",
      resolver({ Subsets: { "A b": {} } }),
      "500 Subset \"A b\" is invalid: must be 63 characters or fewer, begin or end with lower case alphanumeric characters, and contain lower case alphanumeric characters or '-' in between",
    ],
    ["an empty redirect", resolver({ Redirect: {} }), "500 Redirect is empty"],
    [
      "redirect and failover",
      resolver({ Redirect: { Service: "x" }, Failover: { "*": { Service: "y" } } }),
      "500 Redirect and Failover cannot both be set",
    ],
    [
      "a failover to nowhere",
      resolver({ Failover: { "*": {} } }),
      '500 Bad Failover["*"] one of Service, ServiceSubset, Namespace, or Datacenters is required',
    ],
    [
      "an empty datacenter",
      resolver({ Failover: { "*": { Datacenters: [""] } } }),
      '500 Bad Failover["*"].Datacenters: found empty datacenter',
    ],
    ["a negative timeout", resolver({ ConnectTimeout: "-1s" }), "500 Bad ConnectTimeout '-1s', must be >= 0"],
    ["no services", ingress({ Services: [] }), "500 No service declared for listener with port 80"],
    [
      "a protocol",
      ingress({ Protocol: "udp", Services: [{ Name: "a" }] }),
      "500 protocol must be 'tcp', 'http', 'http2', or 'grpc'. 'udp' is an unsupported protocol",
    ],
    [
      "two services over grpc",
      ingress({ Protocol: "grpc", Services: [{ Name: "a" }, { Name: "b" }] }),
      "500 Multiple services per listener are only supported for protocol = 'http' (listener on port 80)",
    ],
    [
      "two services over tcp",
      ingress({ Protocol: "tcp", Services: [{ Name: "a" }, { Name: "b" }] }),
      "500 Multiple services per listener are only supported for protocol = 'http' (listener on port 80)",
    ],
    [
      "a host twice",
      ingress({ Services: [{ Name: "a", Hosts: ["x.com", "x.com"] }] }),
      "500 Hosts must be unique within a specific listener (listener on port 80)",
    ],
    [
      "an inner wildcard",
      ingress({ Services: [{ Name: "a", Hosts: ["a.*.com"] }] }),
      '500 Host "a.*.com" is not valid, a wildcard specifier is only allowed as the leftmost label',
    ],
    [
      "any host with TLS",
      ingress({ Services: [{ Name: "a", Hosts: ["*"] }] }, { TLS: { Enabled: true } }),
      "500 Host '*' is not allowed when TLS is enabled, all hosts must be valid DNS records to add as a DNSSAN",
    ],
    [
      "a certificate without key",
      exit({ Name: "a", CertFile: "/c" }),
      '500 Service "a" must have a CertFile, CAFile, and KeyFile specified for TLS origination',
    ],
    [
      "a linked service twice",
      exit({ Name: "a" }, { Name: "a" }),
      '500 Service "a" was specified more than once within a namespace',
    ],
    [
      "a wildcard namespace before a name",
      intentions({ Name: "web", Namespace: "*", Action: "deny" }),
      "500 Sources[0].Name: exact value cannot follow wildcard namespace",
    ],
    [
      "a time that is none",
      intentions({ Name: "web", Action: "deny", LegacyCreateTime: "soon" }),
      '500 Sources[0].LegacyCreateTime: "soon" is no time, want one such as 2026-01-31T12:00:00Z',
    ],
    ["a source without action", intentions({ Name: "web" }), "500 Sources[0].Action must be set to 'allow' or 'deny'"],
    [
      "action and permissions",
      intentions({ Name: "web", Action: "allow", Permissions: [{ Action: "allow", HTTP: { PathExact: "/" } }] }),
      "500 Sources[0].Action must be omitted if Permissions are specified",
    ],
    [
      "an entry that demands a token of nobody",
      { ...intentions({ Name: "web", Action: "allow" }), JWT: {} },
      "500 JWT.Providers: at least one provider is required",
    ],
    ["an issuer without keys", tokens({}), "500 JSONWebKeySet is required"],
    [
      "keys from nowhere",
      tokens({ JSONWebKeySet: {} }),
      "500 must specify exactly one of Local or Remote JSON Web key set",
    ],
    [
      "keys that are no base64",
      tokens({ JSONWebKeySet: { Local: { JWKS: "{}" } } }),
      "500 JWKS must be valid base64 encoded string",
    ],
    [
      "keys of a file and in text",
      tokens({ JSONWebKeySet: { Local: { JWKS: "e30=", Filename: "keys.json" } } }),
      "500 must specify exactly one of String or filename for local keyset",
    ],
    ["keys elsewhere, but not where", tokens({ JSONWebKeySet: { Remote: {} } }), "500 Remote JWKS URI is required"],
    [
      "keys at no URL",
      tokens({ JSONWebKeySet: { Remote: { URI: "okta" } } }),
      "500 Remote JWKS URI is invalid: want a URL, uri: okta",
    ],
    [
      "keys found by magic",
      tokens({ JSONWebKeySet: { Remote: { URI: "https://okta.example", JWKSCluster: { DiscoveryType: "MAGIC" } } } }),
      '500 unsupported jwks cluster discovery type: "MAGIC"',
    ],
    [
      "a token in two places at once",
      tokens({ ...local, Locations: [{ Header: { Name: "a" }, Cookie: { Name: "b" } }] }),
      "500 must set exactly one of: JWT location header, query param or cookie",
    ],
    [
      "a token handed on in no header",
      tokens({ ...local, Forwarding: {} }),
      "500 Header name required for forwarding config",
    ],
    [
      "a rule on a token without a provider",
      intentions({ Name: "web", Permissions: [{ Action: "allow", HTTP: { PathPrefix: "/" }, JWT: {} }] }),
      "500 Sources[0].Permissions[0].JWT.Providers: at least one provider is required",
    ],
    [
      "a rule on a token with a claim of no name",
      intentions({
        Name: "web",
        Permissions: [
          {
            Action: "allow",
            HTTP: { PathPrefix: "/" },
            JWT: { Providers: [{ Name: "okta", VerifyClaims: [{ Path: [], Value: "x" }] }] },
          },
        ],
      }),
      "500 Sources[0].Permissions[0].JWT.Providers[0].VerifyClaims[0].Path: want the names of a claim, outermost first",
    ],
    [
      "an empty permission",
      intentions({ Name: "web", Permissions: [{ Action: "allow", HTTP: {} }] }),
      "500 Sources[0].Permissions[0].HTTP should not be empty",
    ],
    [
      "a source twice",
      intentions({ Name: "web", Action: "deny" }, { Name: "web", Action: "allow" }),
      '500 Sources[1] defines "web" more than once',
    ],
  ];
  test.each(cases)("%s", (_title, given, refusal) => expect(refusalOf(given)).toBe(refusal));

  test("values nested too deep", () => {
    let value: unknown = 1;
    for (let i = 0; i < 10_000; i++) value = { a: value };
    expect(refusalOf({ Kind: "proxy-defaults", Config: value })).toContain("is nested deeper than 32 levels");
  });
});

test("whatever is given, it is stored or refused, and what is stored is stored the same again", () => {
  const key = fc.constantFrom(
    "Name",
    "Protocol",
    "Routes",
    "Splits",
    "Subsets",
    "Listeners",
    "Services",
    "Sources",
    "Meta",
    "Config",
    "__proto__",
  );
  const entry = fc.record({
    Kind: fc.constantFrom(...CONFIG_KINDS),
    rest: fc.dictionary(key, fc.jsonValue({ maxDepth: 4 })),
  });
  fc.assert(
    fc.property(entry, ({ Kind, rest }) => {
      const given = { Name: "x", ...rest, Kind };
      let stored: unknown;
      try {
        stored = parse(given);
      } catch (error) {
        expect(error).toBeInstanceOf(HeddleError);
        return;
      }
      expect(JSON.stringify(parse(JSON.parse(JSON.stringify(stored))))).toBe(JSON.stringify(stored));
    }),
    { numRuns: 3_000 },
  );
});
