import { type ConfigEntry, decodeConfigEntry, normaliseConfigEntry } from "@heddle/config-entries";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ChainRequest, type CompiledChain, compileChain } from "./index.ts";
import { entriesFrom } from "./testing.ts";

const entry = (given: object): ConfigEntry => normaliseConfigEntry(decodeConfigEntry(given));
const http = entry({ Kind: "proxy-defaults", Name: "global", Config: { protocol: "http" } });
const defaults = (Name: string, more: object) => entry({ Kind: "service-defaults", Name, ...more });
const resolver = (Name: string, more: object) => entry({ Kind: "service-resolver", Name, ...more });
const splitter = (Name: string, ...Splits: object[]) => entry({ Kind: "service-splitter", Name, Splits });
const router = (Name: string, ...Routes: object[]) => entry({ Kind: "service-router", Name, Routes });

const run = (service: string, entries: ConfigEntry[], more: Partial<ChainRequest> = {}) =>
  compileChain({ service, datacenter: "dc1", trustDomain: "x.consul", ...more }, entriesFrom(entries));

function compiled(service: string, entries: ConfigEntry[], more: Partial<ChainRequest> = {}): CompiledChain {
  const { chain, error } = run(service, entries, more);
  expect(error).toBeUndefined();
  return chain as CompiledChain;
}

test("a service that nobody configured resolves to itself", () => {
  expect(compiled("web", [])).toEqual({
    ServiceName: "web",
    Namespace: "default",
    Datacenter: "dc1",
    Protocol: "tcp",
    StartNode: "resolver:web.default.dc1",
    Nodes: {
      "resolver:web.default.dc1": {
        Type: "resolver",
        Name: "web.default.dc1",
        Resolver: { ConnectTimeout: "5s", Default: true, Target: "web.default.dc1" },
      },
    },
    Targets: {
      "web.default.dc1": {
        ID: "web.default.dc1",
        Service: "web",
        Namespace: "default",
        Datacenter: "dc1",
        MeshGateway: {},
        Subset: {},
        SNI: "web.default.dc1.internal.x.consul",
        Name: "web.default.dc1.internal.x.consul",
      },
    },
  });
});

test("routes lead where they say, then to what the name itself is", () => {
  const chain = compiled("web", [
    http,
    resolver("web", { DefaultSubset: "v1", Subsets: { v1: { Filter: "Service.Meta.v == 1" }, v2: {} } }),
    router(
      "web",
      { Match: { HTTP: { PathPrefix: "/api" } }, Destination: { Service: "api" } },
      {
        Destination: { ServiceSubset: "v2" },
      },
    ),
  ]);
  const start = chain.Nodes[chain.StartNode];
  expect(start?.Type === "router" && start.Routes.map((r) => r.NextNode)).toEqual([
    "resolver:api.default.dc1",
    "resolver:v2.web.default.dc1",
    "resolver:v1.web.default.dc1",
  ]);
  expect(Object.keys(chain.Targets)).toEqual(["api.default.dc1", "v1.web.default.dc1", "v2.web.default.dc1"]);
  expect(chain.Targets["v1.web.default.dc1"]?.Subset).toEqual({ Filter: "Service.Meta.v == 1" });
});

test("splitters below splitters become one", () => {
  const chain = compiled("top", [
    http,
    resolver("web", { Subsets: { v1: {}, v2: {} } }),
    splitter("web", { Weight: 33.33, ServiceSubset: "v1" }, { Weight: 66.67, ServiceSubset: "v2" }),
    splitter("top", { Weight: 50, Service: "web" }, { Weight: 50, Service: "other" }),
  ]);
  expect(chain.Nodes["splitter:top.default"]).toMatchObject({
    Splits: [
      { Weight: 16.67, NextNode: "resolver:v1.web.default.dc1" },
      { Weight: 33.34, NextNode: "resolver:v2.web.default.dc1" },
      { Weight: 50, NextNode: "resolver:other.default.dc1" },
    ],
  });
  expect(Object.keys(chain.Nodes)).not.toContain("splitter:web.default");
});

test("headers of merged splits are merged, the inner one first", () => {
  const chain = compiled("top", [
    http,
    splitter("top", { Weight: 100, Service: "web", RequestHeaders: { Set: { a: "outer", b: "outer" } } }),
    splitter("web", { Weight: 100, RequestHeaders: { Set: { b: "inner" }, Remove: ["c"] } }),
  ]);
  expect(chain.Nodes["splitter:top.default"]).toMatchObject({
    Splits: [{ Definition: { RequestHeaders: { Set: { a: "outer", b: "inner" }, Remove: ["c"] } } }],
  });
});

test("the first hash-based load balancer below counts for a splitter", () => {
  const LoadBalancer = { Policy: "maglev", HashPolicies: [{ SourceIP: true }] };
  const chain = compiled("web", [
    http,
    splitter("web", { Weight: 50, Service: "a" }, { Weight: 50, Service: "b" }),
    resolver("a", { LoadBalancer: { Policy: "least_request" } }),
    resolver("b", { LoadBalancer }),
  ]);
  expect(chain.Nodes[chain.StartNode]).toMatchObject({ LoadBalancer });
  expect(chain.Nodes["resolver:a.default.dc1"]).toMatchObject({ LoadBalancer: { Policy: "least_request" } });
});

test("gateways are for other datacenters, unless the service is outside of the mesh", () => {
  const entries = [
    entry({ Kind: "proxy-defaults", Name: "global", MeshGateway: { Mode: "local" } }),
    resolver("db", { Failover: { "*": { Datacenters: ["dc1", "dc2"] } } }),
    defaults("far", { MeshGateway: { Mode: "remote" } }),
    defaults("ext", { ExternalSNI: "ext.example", MeshGateway: { Mode: "remote" } }),
  ];
  const db = compiled("db", entries);
  expect(db.Nodes[db.StartNode]).toMatchObject({ Resolver: { Failover: { Targets: ["db.default.dc2"] } } });
  expect(Object.values(db.Targets).map((t) => t.MeshGateway)).toEqual([{}, { Mode: "local" }]);
  const far = compiled("far", entries, { datacenter: "dc9", localDatacenter: "dc1" });
  expect(far.Targets["far.default.dc9"]?.MeshGateway).toEqual({ Mode: "remote" });
  const ext = compiled("ext", entries, { datacenter: "dc9", localDatacenter: "dc1" });
  expect(ext.Targets["ext.default.dc9"]).toMatchObject({ MeshGateway: {}, External: true, SNI: "ext.example" });
});

test("overrides change what they say, and are told apart by a hash of those that made a difference", () => {
  const entries = [http, router("web")];
  const hashOf = (overrides: ChainRequest["overrides"]) =>
    compiled("web", entries, { datacenter: "dc9", localDatacenter: "dc1", overrides: overrides ?? {} })
      .CustomizationHash;
  expect(hashOf({ protocol: "http", connectTimeoutMs: 5_000, meshGatewayMode: "" })).toBeUndefined();
  expect(hashOf({ connectTimeoutMs: -1 })).toBeUndefined();
  // As a Consul 1.8.7 computes them.
  expect(hashOf({ connectTimeoutMs: 9_000 })).toBe("9b873e36");
  expect(hashOf({ protocol: "tcp" })).toBe("96f2c150");
  expect(hashOf({ protocol: "grpc", connectTimeoutMs: 60_000, meshGatewayMode: "remote" })).toBe("a574a2d5");
  const tcp = compiled("web", entries, { overrides: { protocol: "tcp" } });
  expect([tcp.Protocol, tcp.StartNode]).toEqual(["tcp", "resolver:web.default.dc1"]);
});

test.each<[string, string, ConfigEntry[]]>([
  [
    'service "web" does not have a subset named "v9"',
    "web",
    [http, router("web", { Destination: { ServiceSubset: "v9" } })],
  ],
  [
    'discovery chain "web" uses inconsistent protocols; service "db" has "tcp" which is not "http"',
    "web",
    [http, defaults("db", { Protocol: "tcp" }), splitter("web", { Weight: 50 }, { Weight: 50, Service: "db" })],
  ],
  [
    'discovery chain "web" uses a protocol "tcp" that does not permit advanced routing or splitting behavior',
    "web",
    [splitter("web", { Weight: 100 })],
  ],
  [
    "detected circular resolver redirect: [a.default.dc1 -> b.default.dc1 -> a.default.dc1]",
    "a",
    [resolver("a", { Redirect: { Service: "b" } }), resolver("b", { Redirect: { Service: "a" } })],
  ],
  [
    "detected circular reference: [splitter:a.default -> splitter:b.default -> splitter:a.default]",
    "a",
    [
      http,
      splitter("a", { Weight: 50 }, { Weight: 50, Service: "b" }),
      splitter("b", { Weight: 50 }, { Weight: 50, Service: "a" }),
    ],
  ],
  [
    'service "ext" has an external SNI set; cannot define failover for external services',
    "ext",
    [defaults("ext", { ExternalSNI: "x" }), resolver("ext", { Failover: { "*": { Service: "b" } } })],
  ],
])("%s", (error, service, entries) => {
  expect(run(service, entries)).toEqual({ error });
});

describe("bounds", () => {
  test("splitters that double at each level are refused, at once", () => {
    const levels = 24;
    const entries: ConfigEntry[] = [http];
    for (let i = 0; i < levels; i++)
      for (const side of ["a", "b"])
        entries.push(
          splitter(`${side}${i}`, { Weight: 50, Service: `a${i + 1}` }, { Weight: 50, Service: `b${i + 1}` }),
        );
    expect(run("a0", entries).error).toMatch(/more than 8192 splits/);
  });

  test("a row of splitters longer than any stack is refused", () => {
    const entries: ConfigEntry[] = [http];
    for (let i = 0; i < 5_000; i++) entries.push(splitter(`s${i}`, { Weight: 100, Service: `s${i + 1}` }));
    expect(run("s0", entries).error).toMatch(/more than 2048 nodes/);
  });

  test("a failover to more datacenters than there are is refused", () => {
    const Datacenters = Array.from({ length: 5_000 }, (_, i) => `dc${i}`);
    expect(run("web", [resolver("web", { Failover: { "*": { Datacenters } } })]).error).toMatch(
      /more than 4096 targets/,
    );
  });
});

test("names of JavaScript's own are ordinary names", () => {
  const names = ["__proto__", "constructor", "toString"];
  for (const name of names) {
    const chain = compiled(name, [http, resolver(name, { Failover: { "*": { Service: "hasOwnProperty" } } })]);
    expect(Object.keys(chain.Targets).sort()).toEqual([`${name}.default.dc1`, "hasOwnProperty.default.dc1"].sort());
  }
  expect(run("web", [http, router("web", { Destination: { ServiceSubset: "constructor" } })]).error).toBe(
    'service "web" does not have a subset named "constructor"',
  );
});

const service = fc.constantFrom("a", "b", "c", "d", "A", "__proto__");
const subset = fc.constantFrom("", "v1", "v2", "constructor");
const datacenter = fc.constantFrom("", "dc1", "dc2");
const anyEntry: fc.Arbitrary<ConfigEntry> = fc.oneof(
  fc.record({
    Kind: fc.constant("service-defaults" as const),
    Name: service,
    Protocol: fc.constantFrom("", "http", "tcp"),
    ExternalSNI: fc.constantFrom("", "", "", "x"),
    MeshGateway: fc.constant({}),
    Expose: fc.constant({}),
  }),
  fc.record({
    Kind: fc.constant("service-resolver" as const),
    Name: service,
    DefaultSubset: subset,
    Subsets: fc.dictionary(subset, fc.constant({})),
    Failover: fc.dictionary(
      fc.constantFrom("*", "v1"),
      fc.record({ Service: service, Datacenters: fc.array(datacenter) }),
    ),
  }),
  fc.record({
    Kind: fc.constant("service-resolver" as const),
    Name: service,
    Redirect: fc.record({ Service: service, ServiceSubset: subset, Datacenter: datacenter }),
  }),
  fc.record({
    Kind: fc.constant("service-splitter" as const),
    Name: service,
    Splits: fc.array(fc.record({ Weight: fc.integer({ min: 0, max: 100 }), Service: service, ServiceSubset: subset })),
  }),
  fc.record({
    Kind: fc.constant("service-router" as const),
    Name: service,
    Routes: fc.array(fc.record({ Destination: fc.record({ Service: service, ServiceSubset: subset }) })),
  }),
);

test("any entries make a chain without loose ends, or a refusal", () => {
  fc.assert(
    fc.property(fc.array(anyEntry, { maxLength: 16 }), service, fc.boolean(), (entries, name, isHttp) => {
      const { chain, error } = run(name, isHttp ? [http, ...entries] : entries);
      if (chain === undefined) {
        expect(error).not.toBe("");
        return;
      }
      const reached = new Set([chain.StartNode]);
      const targets = new Set<string>();
      for (const key of reached) {
        const node = chain.Nodes[key];
        expect(node, key).toBeDefined();
        if (node?.Type === "router") for (const { NextNode } of node.Routes) reached.add(NextNode);
        if (node?.Type === "splitter")
          for (const { NextNode } of node.Splits) {
            expect(chain.Nodes[NextNode]?.Type).toBe("resolver");
            reached.add(NextNode);
          }
        if (node?.Type === "resolver")
          for (const id of [node.Resolver.Target, ...(node.Resolver.Failover?.Targets ?? [])]) targets.add(id);
      }
      expect([...reached].sort()).toEqual(Object.keys(chain.Nodes).sort());
      expect([...targets].sort()).toEqual(Object.keys(chain.Targets).sort());
    }),
    { seed: 20_261_124, numRuns: 3_000 },
  );
});
