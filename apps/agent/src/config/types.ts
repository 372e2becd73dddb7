/** The agent's configuration as the rest of the agent sees it: typed, complete, frozen. Durations are milliseconds. */
import type { ConfigEntry } from "@heddle/config-entries";
import type { LogLevel } from "@heddle/daemon";
import type { CheckDefinition, ServiceDefinition } from "@heddle/service-definition";
import type { StoreOptions } from "@heddle/store";

export type Policy = "allow" | "deny";

export interface AgentConfig {
  nodeName: string;
  /** Empty: the agent makes one and keeps it in the data directory. */
  nodeId: string;
  nodeMeta: Record<string, string>;
  datacenter: string;
  primaryDatacenter: string;
  /** Empty in development mode unless given: everything is kept in memory. */
  dataDir: string;
  /** Without the trailing dot: "consul". */
  domain: string;
  altDomain: string;
  bindAddr: string;
  advertiseAddr: string;
  advertiseAddrWan: string;
  /** The node's own tagged addresses: what the file gives, and `lan`, `wan` with their IPv4 or IPv6 twins. */
  taggedAddresses: Record<string, string>;
  clientAddrs: string[];
  /** Where each listener binds: the client addresses, unless `addresses` says otherwise. IP addresses or `unix://…`. */
  addresses: { http: string[]; https: string[]; dns: string[]; grpc: string[] };
  ports: AgentPorts;
  server: boolean;
  bootstrap: boolean;
  bootstrapExpect: number;
  devMode: boolean;
  retryJoin: string[];
  retryIntervalMs: number;
  /** 0: for ever. */
  retryMax: number;
  startJoin: string[];
  log: { level: LogLevel; json: boolean; file: string; rotateBytes: number; rotateMs: number; rotateMaxFiles: number };
  pidFile: string;
  enableDebug: boolean;
  /** Script checks: from the API, and from files (which `enable_script_checks` allows too). */
  scripts: { remote: boolean; local: boolean };
  /** Whom script checks run as; "": the agent's own user. */
  scriptUser: string;
  checkUpdateIntervalMs: number;
  checkOutputMaxSize: number;
  /** Whether a check that comes and goes is held critical for a while. */
  flapDamping: boolean;
  /** Whether HTTP checks follow redirects to other hosts. */
  followRedirectsElsewhere: boolean;
  discardCheckOutput: boolean;
  defaultQueryTimeMs: number;
  maxQueryTimeMs: number;
  discoveryMaxStaleMs: number;
  recursors: string[];
  dns: DnsConfig;
  http: HttpConfig;
  telemetry: TelemetryConfig;
  limits: LimitsConfig;
  sessionTtlMinMs: number;
  connect: { enabled: boolean; caProvider: "consul" | "vault"; caConfig: Record<string, unknown> };
  configEntriesBootstrap: ConfigEntry[];
  acl: AclConfig;
  defaultIntentionPolicy: Policy;
  uiConfig: {
    enabled: boolean;
    contentPath: string;
    dir: string;
    metricsProvider: string;
    dashboardUrlTemplates: Record<string, string>;
  };
  /** How long a failed node stays in the catalog. */
  reconnectTimeoutMs: number;
  leaveOnTerminate: boolean;
  skipLeaveOnInterrupt: boolean;
  leaveDrainTimeMs: number;
  /** For the internal API between daemons (Consul's `internal_rpc`), and for the HTTPS and gRPC listeners. */
  tls: TlsConfig & { https: TlsConfig; grpc: TlsConfig };
  enableCentralServiceConfig: boolean;
  translateWanAddrs: boolean;
  disableHostNodeId: boolean;
  disableRemoteExec: boolean;
  disableCoordinates: boolean;
  watches: Record<string, unknown>[];
  services: ServiceDefinition[];
  checks: CheckDefinition[];
  /** Daemons that run by themselves; empty: the agent's own, or the servers it joins. Each `http(s)://host:port`. */
  internal: { catalogAddr: string; caAddr: string; healthAddr: string; dnsAddr: string };
  /** Where the key is that encrypts the roots' keys on disk; empty for none. */
  caEncryptionKey: string;
  /** Where the sockets of SPIFFE's Workload API are; empty for none. */
  workloadApiDir: string;
  /** Where a server keeps the catalog and the CA, if not in its data directory. */
  store: StoreOptions;
  /** A listener for scrapers alone, who then need no way to the API. A port below zero: none. */
  metrics: { host: string; port: number };
  /** One line for each key that is accepted but does nothing here, or that may not mean what its writer thinks. */
  warnings: string[];
}

/** -1: no listener. 0: any free port. */
export interface AgentPorts {
  http: number;
  https: number;
  dns: number;
  grpc: number;
  grpcTls: number;
  server: number;
  serfLan: number;
  serfWan: number;
  /** Both 0: no sidecar gets a port by itself. */
  sidecarMin: number;
  sidecarMax: number;
  exposeMin: number;
  exposeMax: number;
}

export interface DnsConfig {
  allowStale: boolean;
  aRecordLimit: number;
  cacheMaxAgeMs: number;
  disableCompression: boolean;
  enableTruncate: boolean;
  maxStaleMs: number;
  nodeMetaTxt: boolean;
  nodeTtlMs: number;
  onlyPassing: boolean;
  recursorStrategy: "sequential" | "random";
  recursorTimeoutMs: number;
  /** By service name; "*" for all others. */
  serviceTtlMs: Record<string, number>;
  /** Seconds. */
  soa: { refresh: number; retry: number; expire: number; minTtl: number };
  udpAnswerLimit: number;
  useCache: boolean;
}

export interface HttpConfig {
  allowWriteHttpFrom: string[];
  blockEndpoints: string[];
  maxHeaderBytes: number;
  responseHeaders: Record<string, string>;
  useCache: boolean;
}

export interface TelemetryConfig {
  disableHostname: boolean;
  filterDefault: boolean;
  metricsPrefix: string;
  prefixFilter: string[];
  /** 0: `/v1/agent/metrics?format=prometheus` is off, as in Consul. */
  prometheusRetentionTimeMs: number;
}

export interface LimitsConfig {
  /** 0 or less: no limit. */
  httpMaxConnsPerClient: number;
  /** A second; 0: no limit. */
  httpMaxRequestsPerClient: number;
  httpsHandshakeTimeoutMs: number;
  kvMaxValueSize: number;
  txnMaxReqLen: number;
}

export interface AclConfig {
  enabled: boolean;
  defaultPolicy: Policy;
  downPolicy: "allow" | "async-cache" | "deny" | "extend-cache";
  enableTokenPersistence: boolean;
  tokens: { initialManagement: string; agentRecovery: string; default: string; agent: string; replication: string };
}

export interface TlsConfig {
  caFile: string;
  caPath: string;
  certFile: string;
  keyFile: string;
  minVersion: "TLSv1.2" | "TLSv1.3";
  verifyIncoming: boolean;
  verifyOutgoing: boolean;
  verifyServerHostname: boolean;
}
