/**
 * What is registered, in the shapes and with the keys of Consul's HTTP API, so that an answer is the record itself.
 * `null` and absent differ in answers; the comments say where Consul's answers show `null` or `{}`.
 */

export type CheckStatus = "passing" | "warning" | "critical";
export type ServiceKind =
  | ""
  | "api-gateway"
  | "connect-proxy"
  | "ingress-gateway"
  | "mesh-gateway"
  | "terminating-gateway";
export type CheckType =
  | ""
  | "alias"
  | "docker"
  | "grpc"
  | "h2ping"
  | "http"
  | "os_service"
  | "script"
  | "tcp"
  | "ttl"
  | "udp";

export interface ServiceAddress {
  Address: string;
  Port: number;
}

export interface Weights {
  Passing: number;
  Warning: number;
}

export interface Upstream {
  DestinationType?: "service" | "prepared_query" | "";
  DestinationNamespace?: string;
  DestinationName: string;
  Datacenter?: string;
  LocalBindAddress?: string;
  LocalBindPort?: number;
  /** Instead of an address and port. */
  LocalBindSocketPath?: string;
  /** Octal digits. */
  LocalBindSocketMode?: string;
  Config?: Record<string, unknown> | null;
  MeshGateway?: { Mode?: string };
}

export interface ProxyConfig {
  DestinationServiceName?: string;
  DestinationServiceID?: string;
  LocalServiceAddress?: string;
  LocalServicePort?: number;
  LocalServiceSocketPath?: string;
  Mode?: string;
  TransparentProxy?: { OutboundListenerPort?: number; DialedDirectly?: boolean };
  Config?: Record<string, unknown> | null;
  Upstreams?: Upstream[];
  MeshGateway?: { Mode?: string };
  Expose?: { Checks?: boolean; Paths?: ExposedPath[] };
}

/** A path that a proxy lets through without mutual TLS. */
export interface ExposedPath {
  ListenerPort?: number;
  Path?: string;
  LocalPathPort?: number;
  Protocol?: string;
  ParsedFromCheck: boolean;
}

/** A service instance on a node, as the catalog holds it. */
export interface NodeService {
  Kind?: ServiceKind;
  ID: string;
  Service: string;
  Tags: string[];
  Address: string;
  TaggedAddresses?: Record<string, ServiceAddress>;
  Meta: Record<string, string>;
  Port: number;
  Weights: Weights;
  EnableTagOverride: boolean;
  SocketPath?: string;
  Proxy?: ProxyConfig;
  Connect?: { Native?: boolean };
}

/** A service as `/v1/agent/services` and `/v1/agent/service/:id` show it; the latter adds `ContentHash`. */
export interface AgentService {
  Kind?: ServiceKind;
  ID: string;
  Service: string;
  Tags: string[];
  Meta: Record<string, string>;
  Port: number;
  Address: string;
  TaggedAddresses?: Record<string, ServiceAddress>;
  Weights: Weights;
  EnableTagOverride: boolean;
  SocketPath?: string;
  ContentHash?: string;
  Proxy?: ProxyConfig;
  Connect?: { Native?: boolean };
}

/** A node of the catalog. `Meta` and `TaggedAddresses` are null where never given. */
export interface Node {
  ID: string;
  Node: string;
  Address: string;
  Datacenter: string;
  TaggedAddresses: Record<string, string> | null;
  Meta: Record<string, string> | null;
}

/** What an agent needs to run a check. Durations are milliseconds; zero or absent: not set. */
export interface CheckDefinition {
  CheckID: string;
  Name: string;
  Notes: string;
  ServiceID: string;
  /** What answers show as the check's type; absent: what `checkType` says. */
  Type?: string;
  /** The ACL token that its registration uses; never shown. */
  Token?: string;
  Status?: CheckStatus;
  TTLMs?: number;
  IntervalMs?: number;
  TimeoutMs?: number;
  Args?: string[];
  /** Whom the script runs as, where not as the checker says: from files alone. */
  ScriptUser?: string;
  HTTP?: string;
  Method?: string;
  Header?: Record<string, string[]>;
  Body?: string;
  DisableRedirects?: boolean;
  TLSSkipVerify?: boolean;
  TLSServerName?: string;
  TCP?: string;
  UDP?: string;
  GRPC?: string;
  GRPCUseTLS?: boolean;
  H2PING?: string;
  H2PingUseTLS?: boolean;
  OSService?: string;
  DockerContainerID?: string;
  Shell?: string;
  AliasNode?: string;
  AliasService?: string;
  OutputMaxSize?: number;
  SuccessBeforePassing?: number;
  FailuresBeforeWarning?: number;
  FailuresBeforeCritical?: number;
  DeregisterCriticalServiceAfterMs?: number;
}

/** A check of the catalog. */
export interface HealthCheck {
  Node: string;
  CheckID: string;
  Name: string;
  Status: CheckStatus;
  Notes: string;
  Output: string;
  ServiceID: string;
  ServiceName: string;
  ServiceTags: string[] | null;
  Type: string;
  /** What Consul's answers show of the check's definition: Go duration text, only the keys that are set. */
  Definition: Record<string, unknown>;
}

/** A service as somebody registers it with an agent, in canonical form: after `parseServiceDefinition`. */
export interface ServiceDefinition {
  Kind: ServiceKind;
  ID: string;
  Name: string;
  Tags: string[];
  Address: string;
  TaggedAddresses: Record<string, ServiceAddress>;
  Meta: Record<string, string>;
  Port: number;
  Weights: Weights;
  EnableTagOverride: boolean;
  Proxy?: ProxyConfig;
  SocketPath?: string;
  /** `SidecarService` is what stood there, with canonical keys; `expandSidecar` makes a definition of it. */
  Connect?: { Native?: boolean; SidecarService?: Record<string, unknown> };
  Checks: CheckDefinition[];
  Token: string;
}
