import { InvalidArgumentError } from "@heddle/daemon";
import { describe, expect, it } from "vitest";
import { parseServiceDefinition } from "./index.ts";

const errorOf = (input: unknown, source: "api" | "file" = "api"): string => {
  try {
    parseServiceDefinition(input, { source });
    return "";
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return (error as Error).message;
  }
};

describe("parseServiceDefinition", () => {
  it("fills in Consul's defaults", () => {
    expect(parseServiceDefinition({ Name: "web" })).toEqual({
      Kind: "",
      ID: "web",
      Name: "web",
      Tags: [],
      Address: "",
      TaggedAddresses: {},
      Meta: {},
      Port: 0,
      Weights: { Passing: 1, Warning: 1 },
      EnableTagOverride: false,
      Checks: [],
      Token: "",
    });
  });

  it("reads CamelCase and snake_case alike, from a body and from a file", () => {
    const camel = {
      ID: "web-1",
      Name: "web",
      Tags: ["a"],
      EnableTagOverride: true,
      TaggedAddresses: { lan: { Address: "10.0.0.1", Port: 81 } },
      Weights: { Passing: 2, Warning: 3 },
      Proxy: { DestinationServiceName: "x", LocalServicePort: 5, MeshGateway: { Mode: "local" } },
      Checks: [{ HTTP: "http://x", Interval: "10s", TLSSkipVerify: true, DeregisterCriticalServiceAfter: "90m" }],
      Connect: { SidecarService: { Port: 1 } },
    };
    const snake = {
      id: "web-1",
      name: "web",
      tags: ["a"],
      enable_tag_override: true,
      tagged_addresses: { lan: { address: "10.0.0.1", port: 81 } },
      weights: { passing: 2, warning: 3 },
      proxy: { destination_service_name: "x", local_service_port: 5, mesh_gateway: { mode: "local" } },
      checks: [{ http: "http://x", interval: "10s", tls_skip_verify: true, deregister_critical_service_after: "90m" }],
      connect: { sidecar_service: { port: 1 } },
    };
    const parsed = parseServiceDefinition(camel);
    expect(parsed.Checks[0]).toMatchObject({
      CheckID: "service:web-1",
      IntervalMs: 10_000,
      DeregisterCriticalServiceAfterMs: 5_400_000,
    });
    expect(parseServiceDefinition(snake)).toEqual(parsed);
    expect(parseServiceDefinition(camel, { source: "file" })).toEqual(parsed);
    expect(parseServiceDefinition(snake, { source: "file" })).toEqual(parsed);
  });

  it("numbers several checks, those with an id of their own too, and drops an empty one", () => {
    const { Checks } = parseServiceDefinition({
      Name: "chk",
      Check: { TTL: "60s", Status: "passing", Notes: "n1" },
      Checks: [
        { Name: "second", TTL: "60s" },
        { CheckID: "third", TTL: "60s" },
      ],
    });
    expect(Checks.map((c) => [c.CheckID, c.Name])).toEqual([
      ["service:chk:1", "Service 'chk' check"],
      ["service:chk:2", "second"],
      ["third", "Service 'chk' check"],
    ]);
    expect(parseServiceDefinition({ Name: "x", Check: {} }).Checks).toEqual([]);
  });

  // The texts and their order are those that Consul 1.8.7 answers.
  it.each<[string, unknown, string]>([
    ["no name", { ID: "x" }, "Missing service name"],
    [
      "a bad key of metadata",
      { Name: "x", Meta: { "a b": "x" } },
      "Invalid Service Meta: Couldn't load metadata pair ('a b', 'x'): Key contains invalid characters",
    ],
    [
      "a long key",
      { Name: "x", Meta: { ["k".repeat(129)]: "v" } },
      `Invalid Service Meta: Couldn't load metadata pair ('${"k".repeat(129)}', 'v'): Key is too long (limit: 128 characters)`,
    ],
    [
      "a long value",
      { Name: "x", Meta: { k: "v".repeat(513) } },
      `Invalid Service Meta: Couldn't load metadata pair ('k', '${"v".repeat(513)}'): Value is too long (limit: 512 characters)`,
    ],
    [
      "much metadata",
      { Name: "x", Meta: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, "v"])) },
      "Invalid Service Meta: Node metadata cannot contain more than 64 key/value pairs",
    ],
    [
      "reserved metadata",
      { Name: "x", Meta: { "consul-x": "v" } },
      "Invalid Service Meta: Couldn't load metadata pair ('consul-x', 'v'): Key prefix 'consul-' is reserved for internal use",
    ],
    [
      "metadata of another type",
      { Name: "x", Meta: { k: 5 } },
      "Request decode failed: json: cannot unmarshal number into Go struct field .Meta of type string",
    ],
    [
      "no weight",
      { Name: "x", Weights: { Passing: 0, Warning: 0 } },
      "Invalid Weights: Passing must be greater than 0",
    ],
    ["every address", { Name: "x", Address: "0.0.0.0" }, "Invalid service address"],
    ["every v6 address", { Name: "x", Address: "::" }, "Invalid service address"],
    [
      "a port of text",
      { Name: "x", Port: "80" },
      "Request decode failed: json: cannot unmarshal string into Go struct field .Port of type int",
    ],
    ["an unknown field", { Name: "x", Bogus: 1 }, 'Request decode failed: json: unknown field "Bogus"'],
    ["a bad duration", { Name: "x", Check: { TTL: "abc" } }, 'Request decode failed: time: invalid duration "abc"'],
    [
      "a check without interval",
      { Name: "x", Check: { HTTP: "http://x" } },
      "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
    ],
    [
      "a bad status",
      { Name: "x", Check: { TTL: "5s", Status: "great" } },
      "Status for checks must 'passing', 'warning', 'critical'",
    ],
    [
      "a nested sidecar",
      { Name: "x", Port: 1, Connect: { SidecarService: { Connect: { SidecarService: {} } } } },
      "1 error occurred:\n\t* A SidecarService cannot have a nested SidecarService\n\n",
    ],
    [
      "a sidecar with an id",
      { Name: "x", Port: 1, Connect: { SidecarService: { ID: "own" } } },
      "1 error occurred:\n\t* A SidecarService cannot specify an ID as this is managed by the agent\n\n",
    ],
    [
      "a native sidecar",
      { Name: "x", Port: 1, Connect: { SidecarService: { Connect: { Native: true } } } },
      "Failed Validation: 1 error occurred:\n\t* A Proxy cannot also be Connect Native, only typical services\n\n",
    ],
    [
      "a sidecar of a gateway",
      { Name: "x", Kind: "mesh-gateway", Port: 1, Connect: { SidecarService: {} } },
      "1 error occurred:\n\t* A mesh-gateway cannot have a sidecar service defined\n\n",
    ],
    [
      "a proxy of nothing",
      { Name: "x", Kind: "connect-proxy", Port: 1 },
      "1 error occurred:\n\t* Proxy.DestinationServiceName must be non-empty for Connect proxy services\n\n",
    ],
    [
      "a proxy with nothing right",
      { Name: "x", Kind: "connect-proxy", Connect: { Native: true } },
      "3 errors occurred:\n\t* Proxy.DestinationServiceName must be non-empty for Connect proxy services\n\t* Port must be set for a Connect proxy\n\t* A Proxy cannot also be Connect Native, only typical services\n\n",
    ],
    [
      "an upstream without name",
      {
        Name: "x",
        Kind: "connect-proxy",
        Port: 1,
        Proxy: { DestinationServiceName: "y", Upstreams: [{ LocalBindPort: 1 }] },
      },
      "1 error occurred:\n\t* upstream destination name cannot be empty\n\n",
    ],
    [
      "two upstreams on a port",
      {
        Name: "x",
        Kind: "connect-proxy",
        Port: 1,
        Proxy: {
          DestinationServiceName: "y",
          Upstreams: [
            { DestinationName: "a", LocalBindPort: 1 },
            { DestinationName: "b", LocalBindPort: 1 },
          ],
        },
      },
      '1 error occurred:\n\t* upstreams cannot contain duplicates by local bind address and port; "127.0.0.1:1" is specified twice\n\n',
    ],
    [
      "an upstream on a port and a Unix socket",
      {
        Name: "x",
        Kind: "connect-proxy",
        Port: 1,
        Proxy: {
          DestinationServiceName: "y",
          Upstreams: [{ DestinationName: "a", LocalBindPort: 1, LocalBindSocketPath: "/run/a.sock" }],
        },
      },
      "1 error occurred:\n\t* only one of upstream local bind port or local socket path can be defined and nonzero\n\n",
    ],
    [
      "two upstreams on a Unix socket",
      {
        Name: "x",
        Kind: "connect-proxy",
        Port: 1,
        Proxy: {
          DestinationServiceName: "y",
          Upstreams: [
            { DestinationName: "a", LocalBindSocketPath: "/run/a.sock" },
            { DestinationName: "b", LocalBindSocketPath: "/run/a.sock" },
          ],
        },
      },
      '1 error occurred:\n\t* upstreams cannot contain duplicates by local bind address and port or unix path; "/run/a.sock" is specified twice\n\n',
    ],
    [
      "a gateway with upstreams",
      { Name: "x", Kind: "mesh-gateway", Port: 1, Proxy: { Upstreams: [{ DestinationName: "a", LocalBindPort: 1 }] } },
      "1 error occurred:\n\t* The Proxy.Upstreams configuration is invalid for a mesh-gateway\n\n",
    ],
    ["a namespace", { Name: "x", Namespace: "other" }, "Invalid Namespace 'other': there is only 'default'"],
    ["a control character", { Name: "a\nb" }, "Invalid service name: control characters are not accepted"],
    [
      "a body that is no object",
      [],
      "Request decode failed: json: cannot unmarshal array into Go value of type struct",
    ],
  ])("refuses %s", (_, input, message) => expect(errorOf(input)).toBe(message));

  it("tells every problem of a file's block, each with its path", () => {
    const input = {
      nam: "x",
      port: "80",
      kind: "bogus",
      check: { ttl: 5, intervall: "5s" },
      proxy: { upstreams: [{ bogus: 1 }] },
    };
    expect(errorOf(input, "file").split("\n")).toEqual([
      "unknown key 'nam': did you mean 'name'?",
      'port: invalid value "80": want a whole number',
      "check.ttl: invalid value 5: want a duration such as '10s' or '1h30m'",
      "unknown key 'intervall' in check: did you mean 'interval'?",
      expect.stringMatching(/^unknown key 'bogus' in proxy\.upstreams\[0\]: known here are destination_type, /),
    ]);
    expect(
      errorOf({ port: 1, meta: { "a b": "c" }, kind: "bogus", checks: [{ tcp: "x" }] }, "file").split("\n"),
    ).toEqual([
      "name: Missing service name",
      'kind: invalid value "bogus": want one of connect-proxy, mesh-gateway, terminating-gateway, ingress-gateway, api-gateway',
      "meta: Invalid Service Meta: Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters",
      "checks[0]: Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
    ]);
  });

  it("says where a file's block stands", () => {
    expect(() => parseServiceDefinition({}, { source: "file", path: "services[3]" })).toThrow(
      "services[3]: name: Missing service name",
    );
  });

  it("accepts what Consul accepts, however odd", () => {
    for (const input of [
      { Name: "two words", ID: "id with space" },
      { Name: "x", Kind: "bogus", Port: 1 },
      { Name: "x", Port: 70_000 },
      { Name: "x", Port: -1 },
      { Name: "x", Tags: null, Meta: null, Check: null, Proxy: null, Connect: null },
      { Name: "x", TaggedAddresses: { lan: { Address: "0.0.0.0", Port: 1 } } },
      { name: "under_score", tags: ["under_tag"] },
    ])
      expect(errorOf(input)).toBe("");
  });

  it("takes the exact integers of a request body", () => {
    const proxy = { DestinationServiceName: "y", Config: { big: 2n ** 60n, list: [1n] } };
    const service = parseServiceDefinition({
      Name: "x",
      Kind: "connect-proxy",
      Port: 1,
      Proxy: proxy,
      Check: { TTL: 10n ** 17n },
    });
    expect(service.Checks[0]?.TTLMs).toBe(1e11);
    expect(JSON.stringify(service.Proxy?.Config)).toBe(
      '{"big":1152921504606846976,"list":[1]}'.replace("1152921504606846976", String(2 ** 60)),
    );
    expect(errorOf({ Name: "x", Port: 2n ** 60n })).toMatch(
      /cannot unmarshal number into Go struct field \.Port of type int/,
    );
  });

  it("does not let a key named __proto__ reach a prototype", () => {
    const input = JSON.parse(
      '{"Name":"x","Meta":{"__proto__":"m"},"TaggedAddresses":{"__proto__":{"Address":"1.2.3.4","Port":1}}}',
    ) as unknown;
    const service = parseServiceDefinition(input);
    expect(Object.keys(service.Meta)).toEqual(["__proto__"]);
    expect(Object.keys(service.TaggedAddresses)).toEqual(["__proto__"]);
    expect(errorOf(JSON.parse('{"Name":"x","__proto__":{}}'))).toBe(
      'Request decode failed: json: unknown field "__proto__"',
    );
  });
});
