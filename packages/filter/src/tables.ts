/** The selectors of each kind of row that the API lists, as Consul has them: what it leaves out cannot be asked about. */
import { type Field, type Fields, fields as f } from "./fields.ts";

const address: Field = f.object({ Address: f.string, Port: f.integer });
const meshGateway: Field = f.object({ Mode: f.string });
const proxy: Field = f.object({
  DestinationServiceName: f.string,
  DestinationServiceID: f.string,
  LocalServiceAddress: f.string,
  LocalServicePort: f.integer,
  MeshGateway: meshGateway,
  Expose: f.object({
    Checks: f.boolean,
    Paths: f.list({
      Path: f.string,
      ListenerPort: f.integer,
      LocalPathPort: f.integer,
      Protocol: f.string,
      ParsedFromCheck: f.boolean,
    }),
  }),
  Upstreams: f.list({
    DestinationType: f.string,
    DestinationNamespace: f.string,
    DestinationName: f.string,
    Datacenter: f.string,
    LocalBindAddress: f.string,
    LocalBindPort: f.integer,
    MeshGateway: meshGateway,
  }),
});
const weights: Field = f.object({ Passing: f.integer, Warning: f.integer });
const connect: Field = f.object({ Native: f.boolean });

/** /v1/catalog/nodes */
export const nodeFields: Fields = {
  ID: f.string,
  Node: f.string,
  Address: f.string,
  Datacenter: f.string,
  TaggedAddresses: f.map(),
  Meta: f.map(),
};

/** /v1/agent/services, and the services of /v1/catalog/node */
export const serviceFields: Fields = {
  Kind: f.string,
  ID: f.string,
  Service: f.string,
  Tags: f.strings,
  Address: f.string,
  TaggedAddresses: f.map(address),
  Meta: f.map(),
  Port: f.integer,
  Weights: weights,
  EnableTagOverride: f.boolean,
  Proxy: proxy,
  Connect: connect,
};

/** /v1/agent/checks, /v1/health/node, /v1/health/checks, /v1/health/state */
export const checkFields: Fields = {
  Node: f.string,
  CheckID: f.string,
  Name: f.string,
  Status: f.string,
  Notes: f.string,
  Output: f.string,
  ServiceID: f.string,
  ServiceName: f.string,
  ServiceTags: f.strings,
  Type: f.string,
};

/** /v1/catalog/service, /v1/catalog/connect */
export const catalogServiceFields: Fields = {
  ID: f.string,
  Node: f.string,
  Address: f.string,
  Datacenter: f.string,
  TaggedAddresses: f.map(),
  NodeMeta: f.map(),
  ServiceKind: f.string,
  ServiceID: f.string,
  ServiceName: f.string,
  ServiceTags: f.strings,
  ServiceAddress: f.string,
  ServiceTaggedAddresses: f.map(address),
  ServiceWeights: weights,
  ServiceMeta: f.map(),
  ServicePort: f.integer,
  ServiceEnableTagOverride: f.boolean,
  ServiceProxy: proxy,
  ServiceConnect: connect,
};

/** /v1/health/service, /v1/health/connect, /v1/health/ingress */
export const instanceFields: Fields = {
  Node: f.object(nodeFields),
  Service: f.object(serviceFields),
  Checks: f.list(checkFields),
};

/** /v1/internal/ui/nodes */
export const nodeInfoFields: Fields = {
  ID: f.string,
  Node: f.string,
  Address: f.string,
  TaggedAddresses: f.map(),
  Meta: f.map(),
  Services: f.list(serviceFields),
  Checks: f.list(checkFields),
};

/** /v1/connect/intentions */
export const intentionFields: Fields = {
  ID: f.string,
  Description: f.string,
  SourceNS: f.string,
  SourceName: f.string,
  DestinationNS: f.string,
  DestinationName: f.string,
  SourceType: f.string,
  Action: f.string,
  DefaultAddr: f.string,
  DefaultPort: f.integer,
  Meta: f.map(),
  Precedence: f.integer,
};
