/**
 * The table of everything that a service definition may say: Consul's keys in their CamelCase spelling, from which the
 * snake_case one follows. Both the register bodies and the files are read by it, and the editors' JSON Schema is made from it.
 */
import { type AnyField, fields as f } from "@heddle/hcl";

export const CHECK_STATUSES: readonly string[] = ["passing", "warning", "critical"];

const meshGateway = () => ({ Mode: f.oneOf(["", "none", "local", "remote"], { filesOnly: true }) });

const exposedPath = () => ({
  Path: f.string(),
  LocalPathPort: f.integer(),
  ListenerPort: f.integer(),
  Protocol: f.string(),
  ParsedFromCheck: f.boolean(),
});

const expose = () => ({ Checks: f.boolean(), Paths: f.list(f.object(exposedPath)) });

const upstream = () => ({
  DestinationType: f.string(),
  DestinationNamespace: f.string(),
  DestinationPartition: f.string(),
  DestinationName: f.string(),
  Datacenter: f.string(),
  LocalBindAddress: f.string(),
  LocalBindPort: f.integer(),
  LocalBindSocketPath: f.string(),
  LocalBindSocketMode: f.string(),
  Config: f.anyMap(),
  MeshGateway: f.object(meshGateway),
});

const proxy = () => ({
  DestinationServiceName: f.string(),
  DestinationServiceID: f.string(),
  LocalServiceAddress: f.string(),
  LocalServicePort: f.integer(),
  LocalServiceSocketPath: f.string(),
  Mode: f.oneOf(["", "direct", "transparent"]),
  TransparentProxy: f.object(transparentProxy),
  Config: f.anyMap(),
  Upstreams: f.list(f.object(upstream)),
  MeshGateway: f.object(meshGateway),
  Expose: f.object(expose),
});

const transparentProxy = () => ({ OutboundListenerPort: f.integer(), DialedDirectly: f.boolean() });

/** A sidecar is a service with a connect block of its own, which is then refused; the annotation ends the circle. */
export const sidecar = (): Record<string, AnyField> => service();

const connect = () => ({ Native: f.boolean(), SidecarService: f.object(sidecar) });

const weights = () => ({ Passing: f.integer(), Warning: f.integer() });

const address = () => ({ Address: f.string(), Port: f.integer() });

const check = () => ({
  ID: f.string({ aliases: ["checkid", "check_id"] }),
  Name: f.string(),
  Notes: f.string(),
  ServiceID: f.string(),
  Token: f.string(),
  Status: f.string({ want: `one of ${CHECK_STATUSES.map((s) => `'${s}'`).join(", ")}` }),
  Args: f.list(f.string(), { aliases: ["scriptargs", "script_args"] }),
  ScriptUser: f.string({ want: "a user's name, uid or uid:gid, in files alone" }),
  HTTP: f.string(),
  Method: f.string(),
  Header: f.map(f.list(f.string())),
  Body: f.string(),
  DisableRedirects: f.boolean({ camelOnly: true }),
  TCP: f.string(),
  UDP: f.string(),
  Interval: f.duration(),
  Timeout: f.duration(),
  TTL: f.duration(),
  DockerContainerID: f.string(),
  Shell: f.string(),
  GRPC: f.string(),
  GRPCUseTLS: f.boolean(),
  H2PING: f.string(),
  H2PingUseTLS: f.boolean(),
  OSService: f.string({ camelOnly: true }),
  TLSServerName: f.string(),
  TLSSkipVerify: f.boolean(),
  AliasNode: f.string({ camelOnly: true }),
  AliasService: f.string({ camelOnly: true }),
  OutputMaxSize: f.integer(undefined, undefined, { camelOnly: true }),
  SuccessBeforePassing: f.integer(undefined, undefined, { camelOnly: true }),
  FailuresBeforeWarning: f.integer(undefined, undefined, { camelOnly: true }),
  FailuresBeforeCritical: f.integer(undefined, undefined, { camelOnly: true }),
  DeregisterCriticalServiceAfter: f.duration(),
  Namespace: f.string(),
  Partition: f.string(),
});

const service = () => ({
  Kind: f.string(),
  ID: f.string(),
  Name: f.string(),
  Tags: f.list(f.string()),
  Address: f.string(),
  TaggedAddresses: f.map(f.object(address)),
  Meta: f.map(f.string()),
  Port: f.integer(),
  SocketPath: f.string(),
  Check: f.object(check),
  Checks: f.list(f.object(check)),
  Weights: f.object(weights),
  Token: f.string(),
  EnableTagOverride: f.boolean(),
  Proxy: f.object(proxy),
  Connect: f.object(connect),
  Namespace: f.string(),
  Partition: f.string(),
});

export const checkField = f.object(check);
export const serviceField = f.object(service);
/** Of a file: what of the agent's configuration belongs to the service definition. */
export const fileField = f.object(() => ({
  service: f.object(service),
  services: f.list(f.object(service)),
  check: f.object(check),
  checks: f.list(f.object(check)),
}));
