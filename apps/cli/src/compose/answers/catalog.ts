/** What the catalog's rows answer: nodes, services, health, keys, sessions, and the lists of pages. */
import type { Spec } from "@heddle/daemon";
import {
  byName,
  CHECK,
  COORDINATE,
  ID,
  INDEXES,
  INSTANCE,
  integers,
  KV,
  list,
  META,
  NODE,
  NODE_FIELDS,
  object,
  PROXY,
  SERVICE,
  texts,
  titled,
} from "./shared.ts";

const CATALOG_SERVICE = titled("CatalogService", {
  ...NODE_FIELDS,
  NodeMeta: META,
  ...texts("ServiceKind", "ServiceID", "ServiceName", "ServiceAddress"),
  ServiceTags: "strings",
  ServiceTaggedAddresses: byName(object({ Address: "string", Port: "integer" })),
  ServiceWeights: object(integers("Passing", "Warning")),
  ServiceMeta: META,
  ServicePort: "integer",
  ServiceEnableTagOverride: "boolean",
  ServiceProxy: PROXY,
  ServiceConnect: object({ Native: "boolean" }),
  ...INDEXES,
});
const SESSION = titled("Session", {
  ...texts("ID", "Name", "Node", "Behavior", "TTL"),
  LockDelay: "integer",
  NodeChecks: "strings",
  ServiceChecks: list(object(texts("ID", "Namespace"))),
  Checks: "strings",
  ...INDEXES,
});
const NODE_COORDINATE = titled("NodeCoordinate", { ...texts("Node", "Segment"), Coord: COORDINATE });
const GATEWAY_SERVICE = titled("GatewayService", {
  Gateway: object({ Name: "string" }),
  Service: object({ Name: "string" }),
  ...texts("GatewayKind", "Protocol", "CAFile", "CertFile", "KeyFile", "SNI"),
  Port: "integer",
  Hosts: "strings",
  FromWildcard: "boolean",
  ...INDEXES,
});
const MEMBER = titled("NodeMember", {
  ...texts("Node", "ID", "Address", "Status", "Reason"),
  Since: "integer",
  Server: "boolean",
});
const NODE_INFO = titled("NodeInfo", {
  ...texts("ID", "Node", "Address"),
  TaggedAddresses: META,
  Meta: META,
  Services: list(SERVICE),
  Checks: list(CHECK),
});
const SERVICE_SUMMARY = titled("ServiceSummary", {
  ...texts("Kind", "Name"),
  Tags: "strings",
  Nodes: "strings",
  ...integers("InstanceCount", "ChecksPassing", "ChecksWarning", "ChecksCritical"),
  ProxyFor: "strings",
  ExternalSources: "strings",
  GatewayConfig: object({ Addresses: "strings" }),
});

export const CATALOG_ANSWERS: Record<string, Spec> = {
  "GET /v1/catalog/connect/": list(CATALOG_SERVICE),
  "GET /v1/catalog/datacenters": "strings",
  "GET /v1/catalog/gateway-services/": list(GATEWAY_SERVICE),
  "GET /v1/catalog/node-services/": object({ Node: NODE, Services: list(SERVICE) }),
  "GET /v1/catalog/node/": object({ Node: NODE, Services: byName(SERVICE) }),
  "GET /v1/catalog/nodes": list(NODE),
  "GET /v1/catalog/service/": list(CATALOG_SERVICE),
  "GET /v1/catalog/services": byName("strings"),
  "PUT /v1/catalog/deregister": "boolean",
  "PUT /v1/catalog/register": "boolean",
  "GET /v1/coordinate/datacenters": list(
    object({ ...texts("Datacenter", "AreaID"), Coordinates: list(NODE_COORDINATE) }),
  ),
  "GET /v1/coordinate/node/": list(NODE_COORDINATE),
  "GET /v1/coordinate/nodes": list(NODE_COORDINATE),
  "GET /v1/health/checks/": list(CHECK),
  "GET /v1/health/connect/": list(INSTANCE),
  "GET /v1/health/ingress/": list(INSTANCE),
  "GET /v1/health/node/": list(CHECK),
  "GET /v1/health/service/": list(INSTANCE),
  "GET /v1/health/state/": list(CHECK),
  "GET /v1/internal/deregistrations": list(
    object({ ...texts("Node", "ServiceID", "CheckID"), ...integers("CriticalForMs", "DeregistersInMs") }),
  ),
  "GET /v1/internal/members": list(MEMBER),
  "GET /v1/internal/ui/gateway-services-nodes/": list(SERVICE_SUMMARY),
  "GET /v1/internal/ui/node/": NODE_INFO,
  "GET /v1/internal/ui/nodes": list(NODE_INFO),
  "GET /v1/internal/ui/services": list(SERVICE_SUMMARY),
  "GET /v1/kv/": list(KV),
  "PUT /v1/kv/": "boolean",
  "DELETE /v1/kv/": "boolean",
  "PUT /v1/session/create": ID,
  "PUT /v1/session/destroy/": "boolean",
  "GET /v1/session/info/": list(SESSION),
  "GET /v1/session/list": list(SESSION),
  "GET /v1/session/node/": list(SESSION),
  "PUT /v1/session/renew/": list(SESSION),
};
