/** Requests that mean no good: each from a good one of a row of the public API, with its parts changed. */
import * as fc from "fast-check";

const SIDECAR = { Connect: { SidecarService: {} } };
const SERVICE = {
  ID: "web-1",
  Name: "web",
  Port: 80,
  Tags: ["a"],
  Meta: { k: "v" },
  Check: { TTL: "10s" },
  ...SIDECAR,
};
const CATALOG_SERVICE = { ID: "db-1", Service: "db", Tags: ["x"], Weights: { Passing: 2, Warning: 1 }, Port: 1 };
const CATALOG_CHECK = { CheckID: "c1", Name: "c1", Status: "passing", ServiceID: "db-1" };
const NODE = { Node: "n1", Address: "10.0.0.1", NodeMeta: { a: "b" } };
const VECTOR = { Vec: [1, 2, 3, 4, 5, 6, 7, 8], Error: 1, Adjustment: 0, Height: 0.1 };

/** Rows with the bodies that they take; leaving, monitoring and profiles are left out, for they end the agent or take their time. */
const ROWS: Record<string, unknown> = {
  "/v1/acl/policy": { Name: "p" },
  "/v1/acl/token/": { Description: "x" },
  "/v1/agent/check/deregister/": null,
  "/v1/agent/check/fail/": null,
  "/v1/agent/check/pass/": null,
  "/v1/agent/check/register": { ID: "t", Name: "t", TTL: "10s", ServiceID: "web-1" },
  "/v1/agent/check/update/": { Status: "passing", Output: "x" },
  "/v1/agent/checks": null,
  "/v1/agent/check/warn/": null,
  "/v1/agent/connect/authorize": {
    Target: "web",
    ClientCertURI: "spiffe://x/ns/default/dc/dc1/svc/a",
    ClientCertSerial: "",
  },
  "/v1/agent/connect/ca/leaf/": null,
  "/v1/agent/connect/ca/roots": null,
  "/v1/agent/force-leave/": null,
  "/v1/agent/health/service/id/": null,
  "/v1/agent/health/service/name/": null,
  "/v1/agent/host": null,
  "/v1/agent/join/": null,
  "/v1/agent/maintenance": null,
  "/v1/agent/members": null,
  "/v1/agent/metrics": null,
  "/v1/agent/reload": null,
  "/v1/agent/self": null,
  "/v1/agent/service/": null,
  "/v1/agent/service/deregister/": null,
  "/v1/agent/service/maintenance/": null,
  "/v1/agent/service/register": SERVICE,
  "/v1/agent/services": null,
  "/v1/agent/version": null,
  "/v1/agent/token/": { Token: "x" },
  "/v1/catalog/connect/": null,
  "/v1/catalog/datacenters": null,
  "/v1/catalog/deregister": { Node: "n1", ServiceID: "db-1" },
  "/v1/catalog/gateway-services/": null,
  "/v1/catalog/node-services/": null,
  "/v1/catalog/node/": null,
  "/v1/catalog/nodes": null,
  "/v1/catalog/register": { ...NODE, Service: CATALOG_SERVICE, Checks: [CATALOG_CHECK] },
  "/v1/catalog/service/": null,
  "/v1/catalog/services": null,
  "/v1/config": {
    Kind: "service-resolver",
    Name: "web",
    Subsets: { v1: { Filter: "Service.Meta.v == 1" } },
    Failover: { "*": { Datacenters: ["dc2"] } },
  },
  "/v1/config/": null,
  "/v1/connect/ca/configuration": { Provider: "consul", Config: { LeafCertTTL: "72h" } },
  "/v1/connect/ca/roots": null,
  "/v1/connect/ca/status": null,
  "/v1/connect/intentions": { SourceName: "a", DestinationName: "b", Action: "allow" },
  "/v1/connect/intentions/": { SourceName: "a", DestinationName: "b", Action: "deny" },
  "/v1/connect/intentions/check": null,
  "/v1/connect/intentions/exact": { Action: "allow" },
  "/v1/connect/intentions/match": null,
  "/v1/coordinate/node/": null,
  "/v1/coordinate/datacenters": null,
  "/v1/coordinate/nodes": null,
  "/v1/coordinate/update": { Node: "n1", Coord: VECTOR },
  "/v1/discovery-chain/": {
    OverrideProtocol: "http",
    OverrideConnectTimeout: "3s",
    OverrideMeshGateway: { Mode: "local" },
  },
  "/v1/event/fire/": "payload",
  "/v1/event/list": null,
  "/v1/health/checks/": null,
  "/v1/health/connect/": null,
  "/v1/health/ingress/": null,
  "/v1/health/node/": null,
  "/v1/health/service/": null,
  "/v1/health/state/": null,
  "/v1/internal/event": { ID: "e", Name: "e", Payload: "eA==" },
  "/v1/internal/members": null,
  "/v1/internal/registrations": [{ ...NODE, Service: CATALOG_SERVICE }],
  "/v1/internal/service-address/": null,
  "/v1/internal/ui/node/": null,
  "/v1/internal/ui/nodes": null,
  "/v1/internal/ui/services": null,
  "/v1/kv/": "value",
  "/v1/operator/autopilot/configuration": { CleanupDeadServers: true, LastContactThreshold: "200ms" },
  "/v1/operator/autopilot/health": null,
  "/v1/operator/keyring": { Key: "x" },
  "/v1/operator/raft/peer": null,
  "/v1/operator/raft/configuration": null,
  "/v1/query": { Name: "q", Service: { Service: "web", Tags: ["a"], Failover: { NearestN: 1 } }, DNS: { TTL: "3s" } },
  "/v1/query/": { Name: "q", Service: { Service: "web" }, Template: { Type: "name_prefix_match", Regexp: "^(a+)$" } },
  "/v1/session/create": { Name: "s", TTL: "10s", Behavior: "delete", LockDelay: "0s" },
  "/v1/session/destroy/": null,
  "/v1/session/info/": null,
  "/v1/session/list": null,
  "/v1/session/node/": null,
  "/v1/session/renew/": null,
  "/v1/snapshot": "no snapshot",
  "/v1/status/leader": null,
  "/v1/status/peers": null,
  "/v1/txn": [{ KV: { Verb: "set", Key: "a", Value: "eA==" } }, { Node: { Verb: "set", Node: NODE } }],
};

const ARGUMENTS = [
  ..."web|web-1|n1|q|a|a/b|a/|any|passing|service:web-1|global|proxy-defaults/global|service-resolver/web|service-router".split(
    "|",
  ),
  ..."q/execute|q/explain|__proto__|constructor|0|%00|%2e%2e|%2F|..|a//b|%C3%28|%F0%9F%92%A9|*|:|%|00000000-0000-0000-0000-000000000000".split(
    "|",
  ),
  "default|agent|acl_token|config/|service-defaults/__proto__|x".split("|").join("/"),
  "x".repeat(2_000),
  "",
];

const PARAMETERS = (
  "dc ns near node-meta tag filter cas flags acquire release recurse keys separator raw pretty stale consistent cached passing type by " +
  "name source destination source-type compile-dc override-protocol override-connect-timeout override-mesh-gateway limit hash index " +
  "replace-existing-checks token format enable reason connect note service node max_stale segment prune force explain pem"
).split(" ");

const VALUES = [
  ..."|1|0|-1|true|dc1|web|a|default|source|destination|18446744073709551615|18446744073709551616|1e9|NaN|10s|1ns|-5s|_agent|n1".split(
    "|",
  ),
  ...'a:b|:|__proto__|__proto__:x|%00|%C3%28|local|remote|http|tcp|consul|ServicePort==1|Meta["a"]==b|not(not(a))'.split(
    "|",
  ),
  'ServiceName matches "(a+)+$"',
  '"x" in ServiceTags',
  "(".repeat(300),
  "x".repeat(3_000),
  "%zz",
];

const nested = (depth: number, open: string, close: string) => open.repeat(depth) + close.repeat(depth);

/** JSON texts that stand where something else is meant. */
const TEXTS = [
  ...'null|true|false|0|-1|1.5|1e308|1e999|9007199254740993|18446744073709551616|-0|""|"x"|"__proto__"|"10s"|"-1s"|"\\u0000"|"\\ud800"'.split(
    "|",
  ),
  ...'[]|{}|[[]]|[null]|[{}]|["x"]'.split("|"),
  '{"__proto__":{"x":1}}',
  '{"constructor":{"prototype":{"x":1}}}',
  nested(40, "[", "]"),
  nested(3_000, "[", "]"),
  `${'{"a":'.repeat(2_000)}1${"}".repeat(2_000)}`,
  `[${"0,".repeat(2_000)}0]`,
  `"${"x".repeat(6_000)}"`,
  `"${"é".repeat(200)}"`,
];

export interface FuzzedRequest {
  method: string;
  target: string;
  body: string | undefined;
}

type Edit = { at: number; how: "add" | "drop" | "replace" | "rename" | "wrap"; text: string; key: string };

const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.nat(40),
  how: fc.constantFrom("replace", "replace", "replace", "add", "drop", "rename", "wrap"),
  text: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...TEXTS) },
    { weight: 1, arbitrary: fc.json({ maxDepth: 3 }) },
  ),
  key: fc.constantFrom("__proto__", "constructor", "toString", "id", "ID", "Junk", "", "a.b", "0", "namespace"),
});

// Text edits come last: what is sent then is no JSON any more, mostly.
const textEdit = fc.option(
  fc.record({
    at: fc.nat(400),
    cut: fc.nat(20),
    put: fc.constantFrom("", "{", "]", '"', ",", "\u0000", "\\u", "\u{1f4a9}"),
  }),
  { freq: 4 },
);

const query = fc.array(fc.tuple(fc.constantFrom(...PARAMETERS), fc.constantFrom(...VALUES)), { maxLength: 4 });
const ODD_METHODS = ["PATCH", "HEAD", "OPTIONS", "DELETE", "GET", "PUT", "POST", "TRACE"];

/** The paths of the rows. */
export const ROW_PATHS = Object.keys(ROWS);

/** One request, mostly with a method that its row has; equal seeds give equal ones. */
export const fuzzedRequest = (methodsOf: Map<string, string[]>): fc.Arbitrary<FuzzedRequest> =>
  fc
    .record({
      row: fc.constantFrom(...ROW_PATHS),
      dice: fc.nat(119),
      argument: fc.constantFrom(...ARGUMENTS),
      query,
      edits: fc.array(edit, { maxLength: 3 }),
      textEdit,
    })
    .map(({ row, dice, argument, query, edits, textEdit }) => {
      const good = ROWS[row];
      const methods = dice % 10 === 0 ? ODD_METHODS : (methodsOf.get(row) ?? ODD_METHODS);
      const method = methods[dice % methods.length] as string;
      const hasBody = method !== "GET" && method !== "HEAD" && (good !== null || edits.length > 0);
      // A read that would wait is answered soon: the first `wait` counts.
      const pairs = ["wait=5ms", ...query.map(([name, value]) => `${name}=${encodeValue(value)}`)];
      const body = hasBody ? edited(good, edits, textEdit) : undefined;
      return { method, target: `${row}${row.endsWith("/") ? argument : ""}?${pairs.join("&")}`, body };
    });

// Broken escapes are sent as they are.
const encodeValue = (value: string): string => (value.startsWith("%") ? value : encodeURIComponent(value));

function edited(
  good: unknown,
  edits: readonly Edit[],
  textEdit: { at: number; cut: number; put: string } | null,
): string {
  const text = typeof good === "string" ? good : edits.reduce((json, one) => editJson(json, one), JSON.stringify(good));
  if (!textEdit) return text;
  const at = textEdit.at % (text.length + 1);
  return text.slice(0, at) + textEdit.put + text.slice(at + textEdit.cut);
}

const MARK = "\u0001mark\u0001";

/** Changes one place of a JSON text. Values go in as texts, for some are no values: 1e999, two keys of one name, depths past any stack. */
function editJson(json: string, { at, how, text, key }: Edit): string {
  let value: unknown;
  try {
    value = JSON.parse(json) as unknown;
  } catch {
    return json;
  }
  const places: { holder: Record<string, unknown>; key: string }[] = [];
  const visit = (node: unknown, depth: number) => {
    if (typeof node !== "object" || node === null || depth > 8) return;
    for (const name of Object.keys(node)) {
      places.push({ holder: node as Record<string, unknown>, key: name });
      visit((node as Record<string, unknown>)[name], depth + 1);
    }
  };
  visit(value, 0);
  const place = places[at % (places.length || 1)];
  if (!place || at === 0) return text;
  const old = place.holder[place.key];
  if (how === "drop") delete place.holder[place.key];
  else if (how === "wrap") place.holder[place.key] = [old];
  else if (how === "replace") place.holder[place.key] = MARK;
  else if (!Array.isArray(place.holder)) {
    if (how === "rename") delete place.holder[place.key];
    const to = how === "rename" ? JSON.stringify(old) : text;
    // Written into the text, so that `__proto__` is a key and not a prototype.
    place.holder["\u0001key\u0001"] = MARK;
    return JSON.stringify(value)
      .replace('"\\u0001key\\u0001"', () => JSON.stringify(key))
      .replace(JSON.stringify(MARK), () => to);
  }
  return JSON.stringify(value).replace(JSON.stringify(MARK), () => text);
}
