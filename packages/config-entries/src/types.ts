/**
 * Config entries as they are stored, and answered once the record's two indexes are added. Keys are those of Consul's API; a key
 * that may be absent is left out of the answer where it is empty. Durations are Go's text ("15s").
 */
import type {
  ExportedServicesEntry,
  IngressGatewayEntry,
  JwtProviderEntry,
  MeshEntry,
  ServiceIntentionsEntry,
  TerminatingGatewayEntry,
} from "./types-mesh.ts";
import type { ServiceResolverEntry, ServiceRouterEntry, ServiceSplitterEntry } from "./types-routing.ts";

export type Meta = Record<string, string>;

export interface MeshGateway {
  Mode?: string;
}

export interface ExposePath {
  ListenerPort?: number;
  Path?: string;
  LocalPathPort?: number;
  Protocol?: string;
  ParsedFromCheck?: boolean;
}

export interface Expose {
  Checks?: boolean;
  Paths?: ExposePath[];
}

export interface TransparentProxy {
  OutboundListenerPort?: number;
  DialedDirectly?: boolean;
}

/** How the proxies of a service treat one upstream, or all of them. */
export interface UpstreamSettings {
  Name?: string;
  Namespace?: string;
  EnvoyListenerJSON?: string;
  EnvoyClusterJSON?: string;
  Protocol?: string;
  ConnectTimeoutMs?: number;
  Limits?: {
    MaxConnections?: number | null;
    MaxPendingRequests?: number | null;
    MaxConcurrentRequests?: number | null;
  };
  PassiveHealthCheck?: {
    Interval?: string;
    MaxFailures?: number;
    EnforcingConsecutive5xx?: number | null;
    MaxEjectionPercent?: number | null;
    BaseEjectionTime?: string | null;
  };
  MeshGateway?: MeshGateway;
  BalanceOutboundConnections?: string;
}

export interface ServiceDefaultsEntry {
  Kind: "service-defaults";
  Name: string;
  /** Empty: what proxy-defaults say, or tcp. */
  Protocol: string;
  Mode?: string;
  TransparentProxy?: TransparentProxy;
  MeshGateway: MeshGateway;
  Expose: Expose;
  ExternalSNI?: string;
  UpstreamConfig?: { Overrides?: UpstreamSettings[]; Defaults?: UpstreamSettings };
  Destination?: { Addresses?: string[]; Port?: number };
  MaxInboundConnections?: number;
  LocalConnectTimeoutMs?: number;
  LocalRequestTimeoutMs?: number;
  BalanceInboundConnections?: string;
  /** Heddle's own: key agreements of the service's proxies have to be post-quantum hybrids. */
  RequirePQ?: boolean;
  Meta?: Meta;
}

export interface ProxyDefaultsEntry {
  Kind: "proxy-defaults";
  Name: string;
  /** Opaque to us but for `protocol`, which counts where service-defaults say nothing. */
  Config: Record<string, unknown> | null;
  Mode?: string;
  TransparentProxy?: TransparentProxy;
  MeshGateway: MeshGateway;
  Expose: Expose;
  Meta?: Meta;
}

export type ConfigEntry =
  | ExportedServicesEntry
  | IngressGatewayEntry
  | JwtProviderEntry
  | MeshEntry
  | ProxyDefaultsEntry
  | ServiceDefaultsEntry
  | ServiceIntentionsEntry
  | ServiceResolverEntry
  | ServiceRouterEntry
  | ServiceSplitterEntry
  | TerminatingGatewayEntry;

/** The entry of a kind. */
export type ConfigEntryOf<K extends ConfigEntry["Kind"]> = Extract<ConfigEntry, { Kind: K }>;
