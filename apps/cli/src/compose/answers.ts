/** What the API answers, for the OpenAPI document. A test holds each against what a running agent says. */
import { SHOWN_CHECK, SHOWN_PROXY, SHOWN_SERVICE } from "@heddle/catalog/operations";
import type { Spec } from "@heddle/daemon";

const indexes = { CreateIndex: "index", ModifyIndex: "index" } as const;
const addresses: Spec = { map: "string" };
const list = (of: Spec): Spec => ({ list: of });
const byName = (of: Spec): Spec => ({ map: of });

const node = {
  ID: "string",
  Node: "string",
  Address: "string",
  Datacenter: "string",
  TaggedAddresses: addresses,
} as const;
const NODE: Spec = { title: "Node", object: { ...node, Meta: { map: "string" }, ...indexes } };
const CHECK: Spec = { title: "HealthCheck", object: SHOWN_CHECK };
const SERVICE: Spec = { title: "NodeService", object: SHOWN_SERVICE };
const AGENT_SERVICE: Spec = { title: "AgentService", object: { ...SHOWN_SERVICE, ContentHash: "string" } };
const INSTANCE: Spec = { title: "ServiceInstance", object: { Node: NODE, Service: SERVICE, Checks: list(CHECK) } };
const CATALOG_SERVICE: Spec = {
  title: "CatalogService",
  object: {
    ...node,
    NodeMeta: { map: "string" },
    ServiceKind: "string",
    ServiceID: "string",
    ServiceName: "string",
    ServiceTags: "strings",
    ServiceAddress: "string",
    ServiceTaggedAddresses: byName({ object: { Address: "string", Port: "integer" } }),
    ServiceWeights: { object: { Passing: "integer", Warning: "integer" } },
    ServiceMeta: { map: "string" },
    ServicePort: "integer",
    ServiceEnableTagOverride: "boolean",
    ServiceProxy: SHOWN_PROXY,
    ServiceConnect: { object: { Native: "boolean" } },
    ...indexes,
  },
};
const LOCAL_HEALTH: Spec = {
  title: "LocalHealth",
  object: { AggregatedStatus: "string", Service: AGENT_SERVICE, Checks: list(CHECK) },
};
const KV: Spec = {
  title: "KVPair",
  object: {
    LockIndex: "index",
    Key: "string",
    Flags: "uint64",
    Value: "string",
    Session: "string",
    ...indexes,
  },
};
const SESSION: Spec = {
  title: "Session",
  object: {
    ID: "string",
    Name: "string",
    Node: "string",
    LockDelay: "integer",
    Behavior: "string",
    TTL: "string",
    NodeChecks: "strings",
    ServiceChecks: list({ object: { ID: "string", Namespace: "string" } }),
    Checks: "strings",
    ...indexes,
  },
};
const EVENT: Spec = {
  title: "UserEvent",
  object: {
    ID: "string",
    Name: "string",
    Payload: "string",
    NodeFilter: "string",
    ServiceFilter: "string",
    TagFilter: "string",
    Version: "integer",
    LTime: "index",
  },
};
const MEMBER: Spec = {
  title: "Member",
  object: {
    Name: "string",
    Addr: "string",
    Port: "integer",
    Tags: { map: "string" },
    Status: "integer",
    ProtocolMin: "integer",
    ProtocolMax: "integer",
    ProtocolCur: "integer",
    DelegateMin: "integer",
    DelegateMax: "integer",
    DelegateCur: "integer",
  },
};
const INTENTION: Spec = {
  title: "Intention",
  object: {
    ID: "string",
    Description: "string",
    SourceNS: "string",
    SourceName: "string",
    DestinationNS: "string",
    DestinationName: "string",
    SourceType: "string",
    Action: "string",
    Permissions: "any",
    DefaultAddr: "string",
    DefaultPort: "integer",
    Meta: { map: "string" },
    Precedence: "integer",
    CreatedAt: "string",
    UpdatedAt: "string",
    Hash: "string",
    ...indexes,
  },
};
const ROOT: Spec = {
  title: "CARoot",
  object: {
    ID: "string",
    Name: "string",
    SerialNumber: "uint64",
    SigningKeyID: "string",
    ExternalTrustDomain: "string",
    NotBefore: "string",
    NotAfter: "string",
    RootCert: "string",
    IntermediateCerts: "strings",
    Active: "boolean",
    PrivateKeyType: "string",
    PrivateKeyBits: "integer",
    ...indexes,
  },
};
const ROOTS: Spec = { title: "CARoots", object: { ActiveRootID: "string", TrustDomain: "string", Roots: list(ROOT) } };
const LEAF: Spec = {
  title: "LeafCertificate",
  object: {
    SerialNumber: "string",
    CertPEM: "string",
    PrivateKeyPEM: "string",
    Service: "string",
    ServiceURI: "string",
    ValidAfter: "string",
    ValidBefore: "string",
    ...indexes,
  },
};
const COORDINATE: Spec = {
  title: "NodeCoordinate",
  object: {
    Node: "string",
    Segment: "string",
    Coord: { object: { Vec: list("any"), Error: "any", Adjustment: "any", Height: "any" } },
  },
};
const ID: Spec = { object: { ID: "string" } };

/** By method and row, as operations are. What is not here is JSON that is not described. */
export const ANSWERS: Record<string, Spec> = {
  "GET /v1/agent/checks": byName(CHECK),
  "GET /v1/agent/connect/ca/leaf/": LEAF,
  "GET /v1/agent/connect/ca/roots": ROOTS,
  "POST /v1/agent/connect/authorize": { object: { Authorized: "boolean", Reason: "string" } },
  "GET /v1/agent/health/service/id/": LOCAL_HEALTH,
  "GET /v1/agent/health/service/name/": list(LOCAL_HEALTH),
  "GET /v1/agent/members": list(MEMBER),
  "GET /v1/agent/service/": AGENT_SERVICE,
  "GET /v1/agent/services": byName(AGENT_SERVICE),
  "GET /v1/catalog/connect/": list(CATALOG_SERVICE),
  "GET /v1/catalog/datacenters": "strings",
  "GET /v1/catalog/node-services/": { object: { Node: NODE, Services: list(SERVICE) } },
  "GET /v1/catalog/node/": { object: { Node: NODE, Services: byName(SERVICE) } },
  "GET /v1/catalog/nodes": list(NODE),
  "GET /v1/catalog/service/": list(CATALOG_SERVICE),
  "GET /v1/catalog/services": byName("strings"),
  "PUT /v1/catalog/deregister": "boolean",
  "PUT /v1/catalog/register": "boolean",
  "GET /v1/connect/ca/roots": ROOTS,
  "GET /v1/connect/intentions": list(INTENTION),
  "POST /v1/connect/intentions": ID,
  "GET /v1/connect/intentions/": INTENTION,
  "GET /v1/connect/intentions/check": { object: { Allowed: "boolean" } },
  "GET /v1/connect/intentions/match": byName(list(INTENTION)),
  "GET /v1/coordinate/node/": list(COORDINATE),
  "GET /v1/coordinate/nodes": list(COORDINATE),
  "PUT /v1/event/fire/": EVENT,
  "GET /v1/event/list": list(EVENT),
  "GET /v1/health/checks/": list(CHECK),
  "GET /v1/health/connect/": list(INSTANCE),
  "GET /v1/health/ingress/": list(INSTANCE),
  "GET /v1/health/node/": list(CHECK),
  "GET /v1/health/service/": list(INSTANCE),
  "GET /v1/health/state/": list(CHECK),
  "GET /v1/kv/": list(KV),
  "PUT /v1/kv/": "boolean",
  "DELETE /v1/kv/": "boolean",
  "POST /v1/query": ID,
  "PUT /v1/session/create": ID,
  "PUT /v1/session/destroy/": "boolean",
  "GET /v1/session/info/": list(SESSION),
  "GET /v1/session/list": list(SESSION),
  "GET /v1/session/node/": list(SESSION),
  "PUT /v1/session/renew/": list(SESSION),
  "GET /v1/status/leader": "string",
  "GET /v1/status/peers": "strings",
};
