import { describe, expect, it } from "vitest";
import {
  contentHash,
  expandSidecar,
  jsonSchema,
  parseCheckDefinition,
  parseServiceDefinition,
  toAgentService,
  toHealthCheck,
  toNodeService,
} from "./index.ts";

const json = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe("toAgentService", () => {
  // What Consul 1.8.7 answers to GET /v1/agent/service/:id for these registrations.
  it.each<[object, object]>([
    [
      { Name: "minimal" },
      {
        ID: "minimal",
        Service: "minimal",
        Tags: [],
        Meta: {},
        Port: 0,
        Address: "",
        Weights: { Passing: 1, Warning: 1 },
        EnableTagOverride: false,
      },
    ],
    [
      {
        id: "redis-1",
        name: "redis",
        port: 6379,
        address: "10.30.0.1",
        meta: { ver: "6" },
        weights: { passing: 9, warning: 2 },
        enable_tag_override: true,
        tagged_addresses: { wan: { address: "192.0.2.30", port: 16379 } },
        token: "secret",
      },
      {
        ID: "redis-1",
        Service: "redis",
        Tags: [],
        Meta: { ver: "6" },
        Port: 6379,
        Address: "10.30.0.1",
        TaggedAddresses: {
          lan_ipv4: { Address: "10.30.0.1", Port: 6379 },
          wan: { Address: "192.0.2.30", Port: 16379 },
          wan_ipv4: { Address: "10.30.0.1", Port: 6379 },
        },
        Weights: { Passing: 9, Warning: 2 },
        EnableTagOverride: true,
      },
    ],
    [
      {
        ID: "px",
        Name: "px",
        Kind: "connect-proxy",
        Port: 9300,
        Proxy: {
          DestinationServiceName: "web",
          LocalServiceAddress: "127.0.0.7",
          Config: { x: 1 },
          Upstreams: [{ DestinationName: "db", LocalBindPort: 9191 }],
          MeshGateway: { Mode: "local" },
          Expose: { Checks: true, Paths: [{ Path: "/h", LocalPathPort: 1, ListenerPort: 2, Protocol: "http" }] },
        },
      },
      {
        Kind: "connect-proxy",
        ID: "px",
        Service: "px",
        Tags: [],
        Meta: {},
        Port: 9300,
        Address: "",
        Weights: { Passing: 1, Warning: 1 },
        EnableTagOverride: false,
        Proxy: {
          DestinationServiceName: "web",
          LocalServiceAddress: "127.0.0.7",
          Config: { x: 1 },
          Upstreams: [{ DestinationType: "service", DestinationName: "db", LocalBindPort: 9191, MeshGateway: {} }],
          MeshGateway: { Mode: "local" },
          Expose: {
            Checks: true,
            Paths: [{ ListenerPort: 2, Path: "/h", LocalPathPort: 1, Protocol: "http", ParsedFromCheck: false }],
          },
        },
      },
    ],
    [
      { Name: "nat", Port: 9200, Connect: { Native: true }, Proxy: {} },
      {
        ID: "nat",
        Service: "nat",
        Tags: [],
        Meta: {},
        Port: 9200,
        Address: "",
        Weights: { Passing: 1, Warning: 1 },
        EnableTagOverride: false,
        Connect: { Native: true },
      },
    ],
    [
      { Name: "mgw", Kind: "mesh-gateway", Port: 8443 },
      {
        Kind: "mesh-gateway",
        ID: "mgw",
        Service: "mgw",
        Tags: [],
        Meta: {},
        Port: 8443,
        Address: "",
        Weights: { Passing: 1, Warning: 1 },
        EnableTagOverride: false,
        Proxy: { MeshGateway: {}, Expose: {} },
      },
    ],
  ])("shows %j", (given, shown) => {
    const definition = parseServiceDefinition(given);
    expect(json(toAgentService(definition))).toEqual(shown);
    expect(toAgentService(toNodeService(definition))).toEqual(toAgentService(definition));
  });

  it("shows no token, neither the service's nor its sidecar's nor a check's", () => {
    const definition = parseServiceDefinition({
      Name: "x",
      Token: "s3cret",
      Port: 1,
      Check: { TTL: "5s" },
      Connect: { SidecarService: { Token: "s3cret" } },
    });
    const sidecar = expandSidecar(definition, () => 2);
    const check = parseCheckDefinition({ Name: "c", TTL: "5s", Token: "s3cret" });
    const shown = [
      toAgentService(definition),
      toNodeService(definition),
      sidecar && toNodeService(sidecar),
      toHealthCheck("n", check),
    ];
    expect(JSON.stringify(shown)).not.toContain("s3cret");
  });

  it("gives a v6 address its own twins", () => {
    expect(toNodeService(parseServiceDefinition({ Name: "x", Address: "fd00::1", Port: 5 })).TaggedAddresses).toEqual({
      lan_ipv6: { Address: "fd00::1", Port: 5 },
      wan_ipv6: { Address: "fd00::1", Port: 5 },
    });
  });
});

describe("contentHash", () => {
  it("is the same for the same service and changes with what is shown", () => {
    const hash = (extra: object) =>
      contentHash(parseServiceDefinition({ Name: "x", Port: 1, Meta: { a: "1", b: "2" }, ...extra }));
    expect(hash({})).toMatch(/^[0-9a-f]{16}$/);
    expect(hash({ Meta: { b: "2", a: "1" } })).toBe(hash({}));
    expect(hash({ Token: "t" })).toBe(hash({}));
    expect(hash({ Port: 2 })).not.toBe(hash({}));
    expect(hash({ Tags: ["a"] })).not.toBe(hash({}));
  });
});

describe("toHealthCheck", () => {
  it("is critical until it runs, and carries its service's name and tags", () => {
    const service = parseServiceDefinition({ Name: "web", Tags: ["v1"], Check: { TTL: "5s", Notes: "n" } });
    expect(toHealthCheck("node1", service.Checks[0]!, service)).toEqual({
      Node: "node1",
      CheckID: "service:web",
      Name: "Service 'web' check",
      Status: "critical",
      Notes: "n",
      Output: "",
      ServiceID: "web",
      ServiceName: "web",
      ServiceTags: ["v1"],
      Type: "ttl",
      Definition: {},
    });
    const passing = parseCheckDefinition({ Name: "c", TTL: "5s", Status: "passing" });
    expect(toHealthCheck("node1", { ...passing, Type: "" })).toMatchObject({
      Status: "passing",
      ServiceTags: [],
      Type: "",
    });
  });
});

describe("jsonSchema", () => {
  it("describes a service-definition file for editors", async () => {
    const { z } = await import("zod");
    const schema = z.fromJSONSchema(await jsonSchema());
    const good = {
      service: { name: "socat", port: 8181, connect: { sidecar_service: { proxy: {} } }, check: { ttl: "5s" } },
    };
    expect(schema.safeParse(good).success).toBe(true);
    for (const bad of [
      { service: { nam: "x" } },
      { service: { port: "80" } },
      { check: { ttl: "5" } },
      { services: {} },
      { prots: {} },
    ])
      expect(schema.safeParse(bad).success).toBe(false);
  });
});
