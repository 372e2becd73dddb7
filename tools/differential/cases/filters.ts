import type { Run } from "../run.ts";

/** Of each endpoint with `filter`: selectors that its answers have, some of another endpoint, and some of nobody. */
const NODE =
  'Node ID Address Datacenter TaggedAddresses TaggedAddresses.lan Meta Meta.a Meta["x"] CreateIndex ModifyIndex'.split(
    " ",
  );
const SERVICE = (prefix: string): string[] =>
  `Kind ID Service ServiceName Tags Address TaggedAddresses TaggedAddresses.lan TaggedAddresses.lan.Address TaggedAddresses.lan.Port Meta
   Meta.version Meta["version"] Port Weights Weights.Passing Weights.Warning EnableTagOverride Proxy Proxy.DestinationServiceName
   Proxy.DestinationServiceID Proxy.LocalServiceAddress Proxy.LocalServicePort Proxy.Upstreams Proxy.Upstreams.DestinationName
   Proxy.Upstreams.LocalBindPort Proxy.MeshGateway Proxy.MeshGateway.Mode Proxy.Expose Proxy.Expose.Checks Proxy.Expose.Paths
   Proxy.Expose.Paths.Path Proxy.Config Connect Connect.Native Connect.SidecarService CreateIndex ModifyIndex LocallyRegisteredAsSidecar`
    .split(/\s+/)
    .map((name) => prefix + name);
const CHECK = (prefix: string): string[] =>
  `Node CheckID Name Status Notes Output ServiceID ServiceName ServiceTags Type Definition Definition.HTTP Definition.TCP
   Definition.TLSSkipVerify Definition.Interval CreateIndex ModifyIndex Namespace`
    .split(/\s+/)
    .map((name) => prefix + name);
const CATALOG_SERVICE = [
  ...NODE.map((name) => name.replace("Meta", "NodeMeta")),
  ...`ServiceKind ServiceID ServiceName ServiceTags ServiceAddress ServiceTaggedAddresses ServiceTaggedAddresses.lan.Address ServiceMeta
   ServiceMeta.version ServicePort ServiceWeights ServiceWeights.Passing ServiceEnableTagOverride ServiceProxy
   ServiceProxy.DestinationServiceName ServiceProxy.Upstreams.DestinationName ServiceConnect ServiceConnect.Native`.split(
    /\s+/,
  ),
];
const INTENTION =
  `ID Description SourceNS SourceName DestinationNS DestinationName SourceType Action DefaultAddr DefaultPort Meta Meta.a Precedence
   CreatedAt UpdatedAt Permissions Hash`.split(/\s+/);

const ENDPOINTS: readonly (readonly [path: string, selectors: readonly string[]])[] = [
  ["/v1/catalog/nodes", NODE],
  ["/v1/catalog/service/fweb", CATALOG_SERVICE],
  ["/v1/catalog/connect/fweb", CATALOG_SERVICE],
  ["/v1/catalog/node/f1", SERVICE("")],
  ["/v1/catalog/node-services/f1", SERVICE("")],
  ["/v1/health/node/f1", CHECK("")],
  ["/v1/health/checks/fweb", CHECK("")],
  ["/v1/health/state/any", CHECK("")],
  [
    "/v1/health/service/fweb",
    [...NODE.map((name) => `Node.${name}`), ...SERVICE("Service."), ...CHECK("Checks."), "Node", "Service", "Checks"],
  ],
  ["/v1/agent/services", SERVICE("")],
  ["/v1/agent/checks", CHECK("")],
  ["/v1/connect/intentions", INTENTION],
  ["/v1/internal/ui/nodes", [...NODE, "Services", "Services.Service", "Checks", "Checks.Status"]],
  ["/v1/internal/ui/services", ["Name", "Tags", "Node", ...NODE.map((name) => `Node.${name}`), ...SERVICE("Service.")]],
];

const OPERATORS: readonly ((selector: string, value: string) => string)[] = [
  (s, v) => `${s} == ${v}`,
  (s, v) => `${s} != ${v}`,
  (s) => `${s} is empty`,
  (s) => `${s} is not empty`,
  (s, v) => `${v} in ${s}`,
  (s, v) => `${v} not in ${s}`,
  (s, v) => `${s} contains ${v}`,
  (s, v) => `${s} not contains ${v}`,
  (s, v) => `${s} matches ${v}`,
  (s, v) => `${s} not matches ${v}`,
  (s, v) => `not ${s} == ${v}`,
];
const VALUES = ["web", '"80"', "1", '"f.*"', '""', "true", "1.5", "-1"];

/** Each selector of each endpoint with each operator and values of each type; parts: the endpoints' second words. */
export default async function filters({ send, want }: Run): Promise<void> {
  await prepare(send);
  for (const [path, selectors] of ENDPOINTS) {
    if (!want(path.split("/").slice(2, 4).join("-"))) continue;
    for (const selector of [...new Set([...selectors, "Bogus", "bogus", `${selectors[0]}.x`, `${selectors[0]}[0]`])])
      for (const operator of OPERATORS)
        for (const value of VALUES) {
          await send("GET", `${path}?filter=${encodeURIComponent(operator(selector, value))}`);
          if (!operator(selector, value).includes(value)) break; // an operator without value
        }
  }
}

async function prepare(send: Run["send"]): Promise<void> {
  const proxy = {
    DestinationServiceName: "fweb",
    DestinationServiceID: "fweb1",
    LocalServiceAddress: "127.0.0.1",
    LocalServicePort: 80,
    Upstreams: [{ DestinationName: "fdb", LocalBindPort: 9191 }],
    Expose: { Checks: true, Paths: [{ Path: "/health", ListenerPort: 21500, LocalPathPort: 80, Protocol: "http" }] },
  };
  const services = [
    { ID: "fweb1", Service: "fweb", Tags: ["web", "1"], Port: 80, Meta: { version: "1", other: "web" } },
    {
      ID: "fweb2",
      Service: "fweb",
      Address: "10.3.3.3",
      TaggedAddresses: { lan: { Address: "10.3.3.4", Port: 80 } },
      Weights: { Passing: 2, Warning: 1 },
      EnableTagOverride: true,
      Connect: { Native: true },
    },
    { ID: "fproxy", Service: "fproxy", Kind: "connect-proxy", Port: 21000, Proxy: proxy },
  ];
  for (const Service of services)
    await send("PUT", "/v1/catalog/register", {
      Node: "f1",
      ID: "22222222-2222-3333-4444-555555555555",
      Address: "10.3.3.1",
      TaggedAddresses: { lan: "10.3.3.1" },
      NodeMeta: { a: "web", x: "1" },
      Service,
      Check: {
        CheckID: `c-${Service.ID}`,
        Name: "web",
        Status: Service.ID === "fweb2" ? "warning" : "passing",
        Notes: "web",
        Output: "1",
        ServiceID: Service.ID,
        Definition: { HTTP: "http://x", Interval: "10s" },
      },
    });
  await send("PUT", "/v1/agent/service/register", {
    Name: "fagent",
    Port: 80,
    Tags: ["web"],
    Meta: { version: "1" },
    Check: { TTL: "10m" },
  });
  for (const [SourceName, DestinationName, Action] of [
    ["web", "fdb", "allow"],
    ["*", "fdb", "deny"],
  ])
    await send("POST", "/v1/connect/intentions", { SourceName, DestinationName, Action, Meta: { a: "web" } });
}
