/** What the OpenAPI document tells of answers is held against those of a running agent: every one of them is asked for. */
import { decodeObject, parseExactBody } from "@heddle/daemon";
import { expect, it } from "vitest";
import { ANSWERS } from "../src/compose/answers/index.ts";
import { startHeddle } from "./harness.ts";

type Call = [method: string, path: string, body?: unknown];

/** An agent of -dev lets nobody join: these are asked for in apps/ca and test-e2e, of servers that do. */
const ELSEWHERE = [
  "PUT /v1/connect/ca/join-tokens",
  "DELETE /v1/connect/ca/join-tokens/",
  "DELETE /v1/connect/ca/joined-nodes/",
];

const VEC = [0, 0, 0, 0, 0, 0, 0, 0.1];
const MATCH = { HTTP: { PathPrefix: "/v2", Header: [{ Name: "x", Exact: "y", Invert: true }], Methods: ["GET"] } };
const ENTRIES = [
  {
    Kind: "proxy-defaults",
    Name: "global",
    Config: { a: { b: [1, "2", null] }, protocol: "http" },
    MeshGateway: { Mode: "local" },
  },
  {
    Kind: "service-defaults",
    Name: "web",
    Protocol: "http",
    Expose: { Checks: true, Paths: [{ ListenerPort: 1, Path: "/h", LocalPathPort: 2, Protocol: "http" }] },
    UpstreamConfig: {
      Defaults: { Limits: { MaxConnections: 3 }, PassiveHealthCheck: { Interval: "10s", MaxFailures: 2 } },
      Overrides: [{ Name: "db", ConnectTimeoutMs: 5, MeshGateway: { Mode: "none" } }],
    },
    Meta: { owner: "us" },
  },
  {
    Kind: "service-resolver",
    Name: "web",
    Subsets: { v1: { Filter: "Service.Meta.v == 1" }, v2: { OnlyPassing: true } },
    ConnectTimeout: "7s",
    LoadBalancer: { Policy: "ring_hash", RingHashConfig: { MinimumRingSize: 7 }, HashPolicies: [{ SourceIP: true }] },
    Failover: { v1: { Service: "db" } },
  },
  {
    Kind: "service-router",
    Name: "web",
    Routes: [
      { Match: MATCH, Destination: { ServiceSubset: "v2", PrefixRewrite: "/", RequestTimeout: "3s", NumRetries: 2 } },
    ],
  },
  {
    Kind: "service-splitter",
    Name: "web",
    Splits: [
      { Weight: 99.5, ServiceSubset: "v1", RequestHeaders: { Set: { a: "b" } } },
      { Weight: 0.5, ServiceSubset: "v2" },
    ],
  },
  {
    Kind: "ingress-gateway",
    Name: "edge",
    Listeners: [{ Port: 80, Protocol: "http", Services: [{ Name: "web", Hosts: ["web.example"] }] }],
  },
  { Kind: "terminating-gateway", Name: "exit", Services: [{ Name: "old", CAFile: "/ca.pem", SNI: "old.example" }] },
  { Kind: "mesh", TLS: { Incoming: { TLSMinVersion: "TLSv1_2" } }, TransparentProxy: { MeshDestinationsOnly: true } },
  { Kind: "exported-services", Name: "default", Services: [{ Name: "web", Consumers: [{ Peer: "there" }] }] },
  {
    Kind: "service-intentions",
    Name: "api",
    Sources: [{ Name: "web", Permissions: [{ Action: "deny", HTTP: { PathExact: "/admin" } }] }],
  },
];

const SETUP: Call[] = [
  ["PUT", "/v1/catalog/register", { Node: "far", Address: "10.9.9.9", NodeMeta: { a: "b" } }],
  [
    "PUT",
    "/v1/catalog/register",
    { Node: "far", Address: "10.9.9.9", Service: { Service: "edge", Kind: "ingress-gateway", Port: 9 } },
  ],
  ["PUT", "/v1/coordinate/update", { Node: "far", Coord: { Vec: VEC, Error: 0.5, Adjustment: 0, Height: 0.01 } }],
  ...ENTRIES.map((entry): Call => ["PUT", "/v1/config", entry]),
  ["PUT", "/v1/kv/web?flags=18446744073709551615", "a value"],
];

it("every answer that is described holds nothing else than what a running agent answers", async () => {
  await using agent = await startHeddle("-hcl", "enable_debug = true");
  const asked = new Set<string>();
  const say = async (...[method, path, body]: Call): Promise<unknown> => {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const response = await fetch(`${agent.url}${path}`, { method, ...(body !== undefined && { body: text }) });
    const answer = await response.text();
    // 429 and 503 are what local health says of its instances, 409 a transaction that was rolled back.
    expect([200, 409, 429, 503], `${method} ${path}: ${answer}`).toContain(response.status);
    const row = rowOf(method, path);
    if (row === undefined) return undefined;
    const value = parseExactBody(Buffer.from(answer));
    // Go's decoder, which takes no field that it does not know and no value of another type.
    const decode = () => decodeObject({ Answer: value }, { Answer: ANSWERS[row] as never });
    expect(decode, `${method} ${path}: ${answer}`).not.toThrow();
    expect(value, `${method} ${path} says nothing`).not.toBeNull();
    asked.add(row);
    return value;
  };
  const made = async (...call: Call) => ((await say(...call)) as { ID: string }).ID;
  for (const call of SETUP) await say(...call);

  const self = (await say("GET", "/v1/agent/self")) as { Config: { NodeName: string } };
  const node = self.Config.NodeName;
  await say("PUT", "/v1/agent/service/register", {
    ...{ Name: "web", Port: 80, Tags: ["a"], Meta: { v: "1" }, Connect: { SidecarService: {} } },
    TaggedAddresses: { lan: { Address: "10.0.0.1", Port: 1 } },
    Check: { TTL: "10m", Status: "critical", DeregisterCriticalServiceAfter: "1h" },
  });
  const { TrustDomain } = (await say("GET", "/v1/connect/ca/roots")) as { TrustDomain: string };
  const ClientCertURI = `spiffe://${TrustDomain}/ns/default/dc/dc1/svc/api`;
  const session = await made("PUT", "/v1/session/create", { Name: "s", TTL: "30s" });
  const rule = await made("POST", "/v1/connect/intentions", {
    SourceName: "api",
    DestinationName: "web",
    Action: "allow",
  });
  await say("PUT", `/v1/connect/intentions/${rule}`, { SourceName: "api", DestinationName: "web", Action: "deny" });
  await say("PUT", "/v1/connect/intentions/exact?source=a&destination=web", { Action: "deny" });
  const query = await made("POST", "/v1/query", {
    ...{ Name: "find", DNS: { TTL: "5s" }, Template: { Type: "name_prefix_match" } },
    Service: { Service: "edge", Failover: { Datacenters: ["dc2"] }, Near: "_agent", Tags: ["!x"] },
  });
  await say("PUT", "/v1/event/fire/deploy?service=web", "payload");
  await say("POST", "/v1/agent/connect/proxies", {
    ID: "1",
    Process: "p",
    Proxy: "web-sidecar-proxy",
    Service: "web",
    Version: 1,
    Pairs: [],
  });
  await say("POST", "/v1/agent/connect/decisions", { Decisions: [] });
  await say("POST", "/v1/agent/connect/authorize", { Target: "web", ClientCertURI, ClientCertSerial: "01" });
  const reads = [
    ...["agent/checks", "agent/connect/ca/leaf/web", "agent/connect/ca/revocations", "agent/connect/ca/roots"],
    ...["agent/connect/proxies", "agent/debug/runtime", "agent/health/service/id/web", "agent/health/service/name/web"],
    ...["agent/host", "agent/members", "agent/metrics", "agent/service/web", "agent/services", "agent/version"],
    ...["event/list", "openapi.json", "catalog/connect/web", "catalog/datacenters", "catalog/gateway-services/edge"],
    ...[`catalog/node-services/${node}`, `catalog/node/${node}`, "catalog/nodes", "catalog/service/web"],
    ...["catalog/gateway-services/exit", "catalog/services", "coordinate/datacenters", "coordinate/node/far"],
    ...["coordinate/nodes", "health/checks/web", "health/connect/web", "health/ingress/web", `health/node/${node}`],
    ...["health/service/web", "health/state/any", "internal/deregistrations", "internal/members", "internal/ui/nodes"],
    ...["internal/ui/gateway-services-nodes/edge", `internal/ui/node/${node}`, "internal/ui/services", "kv/web"],
    ...[`session/info/${session}`, "session/list", `session/node/${node}`, "config/service-defaults", "config/"],
    ...ENTRIES.map(({ Kind, Name = "mesh" }) => `config/${Kind}/${Name}`),
    ...["discovery-chain/web", "discovery-chain/nobody", "connect/ca/configuration", "connect/ca/join-tokens"],
    ...["connect/ca/joined-nodes", "connect/ca/status", "connect/intentions", `connect/intentions/${rule}`],
    ...["connect/intentions/check?source=api&destination=web", "connect/intentions/exact?source=a&destination=web"],
    ...["connect/intentions/explain?source=api&destination=web", "connect/intentions/match?by=destination&name=web"],
    ...["internal/federation-states", "internal/federation-states/mesh-gateways", "internal/federation-state/dc1"],
    ...["operator/autopilot/configuration", "operator/autopilot/health", "operator/raft/configuration"],
    ...["status/leader", "status/peers", "query", `query/${query}`, "query/find/execute?explain", "query/find/explain"],
  ];
  // Coordinates are written in batches.
  await expect.poll(async () => (await fetch(`${agent.url}/v1/coordinate/node/far`)).status).toBe(200);
  for (const path of reads) await say("GET", `/v1/${path}`);
  await say("POST", "/v1/discovery-chain/web", { OverrideConnectTimeout: "3s" });
  await say("POST", "/v1/connect/intentions/plan", {
    Set: [{ SourceName: "*", DestinationName: "web", Action: "deny" }],
    Delete: [{ ID: rule }],
  });
  await say("PUT", "/v1/txn", [
    { KV: { Verb: "get", Key: "web" } },
    { Node: { Verb: "get", Node: { Node: node } } },
    { Service: { Verb: "get", Node: node, Service: { ID: "web" } } },
    { Check: { Verb: "get", Check: { Node: node, CheckID: "service:web" } } },
  ]);
  await say("PUT", "/v1/txn", [{ KV: { Verb: "check-not-exists", Key: "web" } }]);
  await say("PUT", "/v1/operator/autopilot/configuration", { CleanupDeadServers: false });
  await say("PUT", "/v1/connect/ca/revoke", { Service: "api", Reason: "stolen" });
  await say("GET", "/v1/connect/ca/revocations");
  await say("PUT", "/v1/connect/ca/reinstate", { Service: "api" });
  await say("PUT", "/v1/connect/ca/csr");
  await say("PUT", "/v1/connect/ca/configuration", {
    Provider: "consul",
    Config: { PrivateKeyType: "ec", PrivateKeyBits: 384 },
  });
  await say("GET", "/v1/connect/ca/status");
  await say("PUT", "/v1/connect/ca/abort");
  await say("PUT", "/v1/connect/ca/rotate");
  await say("PUT", "/v1/connect/ca/rollback");
  await say("PUT", `/v1/session/renew/${session}`);
  await say("PUT", `/v1/session/destroy/${session}`);
  await say("DELETE", "/v1/config/terminating-gateway/exit");
  await say("DELETE", "/v1/connect/intentions/exact?source=a&destination=web");
  await say("DELETE", `/v1/connect/intentions/${rule}`);
  await say("DELETE", "/v1/kv/web");
  await say("PUT", "/v1/catalog/deregister", { Node: "far" });

  expect([...asked, ...ELSEWHERE].toSorted()).toEqual(Object.keys(ANSWERS).toSorted());
});

/** The row that answers a path: itself, or the longest that it begins with. */
function rowOf(method: string, path: string): string | undefined {
  const [plain = ""] = path.split("?");
  const fits = (row: string): boolean => {
    const pattern = row.replace(/\{[^}]+\}/g, "[^/]+").replace(/\/$/, "/.*");
    return new RegExp(`^${pattern}$`).test(`${method} ${plain}`);
  };
  return Object.keys(ANSWERS)
    .filter(fits)
    .toSorted((a, b) => b.split("/").length - a.split("/").length || b.length - a.length)[0];
}
