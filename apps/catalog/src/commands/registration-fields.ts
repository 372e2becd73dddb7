/** The bodies that register: what may stand in them, in Consul's names. */
import type { Spec } from "@heddle/daemon";

const ADDRESS: Spec = { object: { Address: "string", Port: "integer" } };
const CONNECT: Record<string, Spec> = { Native: "boolean", SidecarService: "any", Proxy: "any" };
const EXPOSED_PATH: Spec = {
  object: {
    ListenerPort: "integer",
    Path: "string",
    LocalPathPort: "integer",
    Protocol: "string",
    ParsedFromCheck: "boolean",
  },
};
const PROXY: Spec = {
  object: {
    DestinationServiceName: "string",
    DestinationServiceID: "string",
    LocalServiceAddress: "string",
    LocalServicePort: "integer",
    LocalServiceSocketPath: "string",
    Config: { map: "any" },
    Upstreams: {
      list: {
        object: {
          DestinationType: "string",
          DestinationNamespace: "string",
          DestinationName: "string",
          Datacenter: "string",
          LocalBindAddress: "string",
          LocalBindPort: "integer",
          LocalBindSocketPath: "string",
          LocalBindSocketMode: "string",
          Config: { map: "any" },
          MeshGateway: { object: { Mode: "string" } },
          IngressHosts: "strings",
        },
      },
    },
    MeshGateway: { object: { Mode: "string" } },
    Expose: { object: { Checks: "boolean", Paths: { list: EXPOSED_PATH } } },
    TransparentProxy: "any",
    Mode: "string",
  },
};
export const SERVICE = {
  object: {
    Kind: "string",
    ID: "string",
    Service: "string",
    Tags: "strings",
    Address: "string",
    TaggedAddresses: { map: ADDRESS },
    Meta: { map: "string" },
    Port: "integer",
    Weights: { object: { Passing: "integer", Warning: "integer" } },
    EnableTagOverride: "boolean",
    ProxyDestination: "string",
    Proxy: PROXY,
    Connect: { object: CONNECT },
    LocallyRegisteredAsSidecar: "boolean",
    Namespace: "string",
    CreateIndex: "index",
    ModifyIndex: "index",
  },
} satisfies Spec;
const CHECK_DEFINITION: Spec = {
  object: {
    HTTP: "string",
    TLSServerName: "string",
    TLSSkipVerify: "boolean",
    Header: { map: "strings" },
    Method: "string",
    Body: "string",
    TCP: "string",
    UDP: "string",
    GRPC: "string",
    GRPCUseTLS: "boolean",
    H2PING: "string",
    OSService: "string",
    Interval: "duration",
    IntervalDuration: "duration",
    OutputMaxSize: "integer",
    Timeout: "duration",
    TimeoutDuration: "duration",
    DeregisterCriticalServiceAfter: "duration",
    DeregisterCriticalServiceAfterDuration: "duration",
    ScriptArgs: "strings",
    DockerContainerID: "string",
    Shell: "string",
    AliasNode: "string",
    AliasService: "string",
    TTL: "duration",
  },
};
export const CHECK_FIELDS: Record<string, Spec> = {
  Node: "string",
  CheckID: "string",
  Name: "string",
  Status: "string",
  Notes: "string",
  Output: "string",
  ServiceID: "string",
  ServiceName: "string",
  ServiceTags: "strings",
  Type: "string",
  Namespace: "string",
  Definition: CHECK_DEFINITION,
  CreateIndex: "index",
  ModifyIndex: "index",
};

/** The body of PUT /v1/catalog/register. */
export const REGISTER_FIELDS: Record<string, Spec> = {
  ID: "string",
  Node: "string",
  Address: "string",
  TaggedAddresses: { map: "string" },
  NodeMeta: { map: "string" },
  Datacenter: "string",
  Service: { object: { ...SERVICE.object, Connect: { object: CONNECT, isOpen: true } } },
  Check: { object: CHECK_FIELDS },
  Checks: { list: { object: CHECK_FIELDS } },
  SkipNodeUpdate: "boolean",
};
