/**
 * What one proxy is to do: whose it is, where it listens, where it dials. Made from flags or from the proxy's
 * registration (`/v1/agent/service/:id`), with Consul's `proxy.config` keys and defaults.
 */
export const DEFAULT_BIND_ADDRESS = "0.0.0.0";
export const DEFAULT_UPSTREAM_BIND_ADDRESS = "127.0.0.1";
export const DEFAULT_LOCAL_CONNECT_TIMEOUT_MS = 1_000; // the service is on this machine
export const DEFAULT_HANDSHAKE_TIMEOUT_MS = 10_000;
export const DEFAULT_CONNECT_TIMEOUT_MS = 10_000; // over all endpoints that one connection tries
export const DEFAULT_MAX_CONNECTIONS = 16_384; // each costs two sockets and two pipes' buffers

/** Under way at once from one address: one host may not take what all callers share. */
export const DEFAULT_MAX_HANDSHAKES_PER_SOURCE = 1_024;

export interface HostPort {
  host: string;
  port: number;
}

export interface PublicSpec {
  bind: HostPort;
  /** Where the service itself listens. */
  local: HostPort;
  localConnectTimeoutMs: number;
  handshakeTimeoutMs: number;
  maxConnections: number;
  maxHandshakesPerSource: number;
}

export interface UpstreamSpec {
  name: string;
  /** Whether the name is a service's or that of a prepared query, which says what service it means. */
  kind: "prepared_query" | "service";
  namespace: string;
  /** Empty for the proxy's own. */
  datacenter: string;
  bind: HostPort;
  connectTimeoutMs: number;
  maxConnections: number;
}

export interface ProxySpec {
  service: string;
  namespace: string;
  public?: PublicSpec | undefined;
  upstreams: UpstreamSpec[];
  /** Peers that cannot agree on a key by a post-quantum hybrid are refused, at both of our ends. */
  requirePq?: boolean;
}

/** The answer of `/v1/agent/service/:id`, as far as a proxy reads it. */
export interface AgentService {
  Kind?: string;
  ID: string;
  Service: string;
  Port?: number;
  Proxy?: {
    DestinationServiceName?: string;
    DestinationServiceID?: string;
    LocalServiceAddress?: string;
    LocalServicePort?: number;
    Config?: Record<string, unknown> | null;
    Upstreams?: AgentUpstream[] | null;
  };
}

interface AgentUpstream {
  DestinationType?: string;
  DestinationName?: string;
  DestinationNamespace?: string;
  Datacenter?: string;
  LocalBindAddress?: string;
  LocalBindPort?: number;
  Config?: Record<string, unknown> | null;
}

export interface ParsedSpec {
  spec: ProxySpec;
  /** What keeps it from being used. */
  problems: string[];
  /** Upstreams that this proxy does not know how to serve; the rest of the spec stands. */
  skipped: string[];
}

export function parseAgentService(service: AgentService): ParsedSpec {
  const problems: string[] = [];
  const skipped: string[] = [];
  const proxy = service.Proxy ?? {};
  if (service.Kind !== "connect-proxy")
    problems.push(`service '${service.ID}' is of kind '${service.Kind ?? ""}': want 'connect-proxy'`);
  const name = proxy.DestinationServiceName ?? "";
  if (name === "") problems.push(`proxy '${service.ID}' names no destination service`);
  const spec: ProxySpec = {
    service: name,
    namespace: "default",
    public: publicSpec(service, proxy.Config ?? {}, problems),
    upstreams: (proxy.Upstreams ?? []).flatMap((upstream) => upstreamSpec(upstream, problems, skipped)),
    ...(reader(proxy.Config ?? {}, "proxy.config", problems).boolean("require_pq") && { requirePq: true }),
  };
  const binds = new Map<string, string>();
  for (const { name, bind } of spec.upstreams) {
    const at = formatHostPort(bind);
    const other = binds.get(at);
    if (other !== undefined) problems.push(`upstreams '${other}' and '${name}' both bind ${at}`);
    binds.set(at, name);
  }
  return { spec, problems, skipped };
}

function publicSpec(
  service: AgentService,
  config: Record<string, unknown>,
  problems: string[],
): PublicSpec | undefined {
  const read = reader(config, "proxy.config", problems);
  const bind = {
    host: read.text("bind_address", DEFAULT_BIND_ADDRESS),
    port: read.port("bind_port", service.Port ?? 0),
  };
  if (bind.port === 0) return undefined;
  const { LocalServiceAddress, LocalServicePort = 0 } = service.Proxy ?? {};
  let local: HostPort = { host: LocalServiceAddress || "127.0.0.1", port: LocalServicePort };
  const given = read.text("local_service_address", "");
  if (given !== "") {
    const parsed = parseHostPort(given);
    if (parsed) local = parsed;
    else problems.push(`proxy.config.local_service_address: invalid value '${given}': want host:port`);
  }
  if (local.port === 0) problems.push(`proxy '${service.ID}' has no local_service_port to forward to`);
  return {
    bind,
    local,
    localConnectTimeoutMs: read.ms("local_connect_timeout_ms", DEFAULT_LOCAL_CONNECT_TIMEOUT_MS),
    handshakeTimeoutMs: read.ms("handshake_timeout_ms", DEFAULT_HANDSHAKE_TIMEOUT_MS),
    maxConnections: read.count("max_inbound_connections", DEFAULT_MAX_CONNECTIONS),
    maxHandshakesPerSource: read.count("max_handshakes_per_source", DEFAULT_MAX_HANDSHAKES_PER_SOURCE),
  };
}

function upstreamSpec(upstream: AgentUpstream, problems: string[], skipped: string[]): UpstreamSpec[] {
  const name = upstream.DestinationName ?? "";
  const what = `upstream '${name}'`;
  if (name === "") problems.push("an upstream names no destination");
  const type = upstream.DestinationType || "service";
  if (type !== "service" && type !== "prepared_query") {
    skipped.push(`${what}: destination type '${type}' is not supported: want 'service' or 'prepared_query'`);
    return [];
  }
  const config = upstream.Config ?? {};
  const read = reader(config, `${what}: config`, problems);
  const limits = typeof config.limits === "object" && config.limits !== null ? config.limits : {};
  const readLimits = reader(limits as Record<string, unknown>, `${what}: config.limits`, problems);
  const port = upstream.LocalBindPort ?? 0;
  if (port < 1 || port > 65_535) problems.push(`${what}: local_bind_port is ${port}: want a port from 1 to 65535`);
  return [
    {
      name,
      kind: type,
      namespace: upstream.DestinationNamespace || "default",
      datacenter: upstream.Datacenter ?? "",
      bind: { host: upstream.LocalBindAddress || DEFAULT_UPSTREAM_BIND_ADDRESS, port },
      connectTimeoutMs: read.ms("connect_timeout_ms", DEFAULT_CONNECT_TIMEOUT_MS),
      maxConnections: readLimits.count("max_connections", DEFAULT_MAX_CONNECTIONS),
    },
  ];
}

const DAY_MS = 86_400_000;

// Opaque configuration comes as JSON or from HCL, where numbers may be text: both are read.
function reader(config: Record<string, unknown>, where: string, problems: string[]) {
  const number = (key: string, initial: number, max: number, expects: string): number => {
    const value = Object.hasOwn(config, key) ? config[key] : undefined;
    if (value === undefined || value === null) return initial;
    const parsed = typeof value === "number" ? value : typeof value === "string" ? Number(value || Number.NaN) : NaN;
    if (Number.isInteger(parsed) && parsed >= 0 && parsed <= max) return parsed === 0 ? initial : parsed;
    problems.push(`${where}.${key}: invalid value ${JSON.stringify(value)}: want ${expects}`);
    return initial;
  };
  return {
    text(key: string, initial: string): string {
      const value = Object.hasOwn(config, key) ? config[key] : undefined;
      if (value === undefined || value === null || value === "") return initial;
      if (typeof value === "string") return value;
      problems.push(`${where}.${key}: invalid value ${JSON.stringify(value)}: want text`);
      return initial;
    },
    boolean(key: string): boolean {
      const value = Object.hasOwn(config, key) ? config[key] : undefined;
      if (value === undefined || value === null || value === "") return false;
      if (value === true || value === "true") return true;
      if (value !== false && value !== "false")
        problems.push(`${where}.${key}: invalid value ${JSON.stringify(value)}: want true or false`);
      return false;
    },
    ms: (key: string, initial: number) => number(key, initial, DAY_MS, "milliseconds, at most a day"),
    count: (key: string, initial: number) => number(key, initial, 1_000_000, "a number up to 1000000"),
    port: (key: string, initial: number) => number(key, initial, 65_535, "a port from 1 to 65535"),
  };
}

/** Parses "host:port", ":port" and "[v6]:port". Undefined for anything else. */
export function parseHostPort(text: string): HostPort | undefined {
  const [, v6, name, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits ?? -1);
  if (digits === undefined || port > 65_535) return undefined;
  return { host: v6 ?? name ?? "", port };
}

export function formatHostPort({ host, port }: HostPort): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** "127.0.0.1:9191->service:default/socat", the name of an upstream's listener in Consul's logs; of a query "…->prepared_query:default/find-db". */
export function upstreamListenerName(upstream: UpstreamSpec): string {
  const dc = upstream.datacenter === "" ? "" : `?dc=${upstream.datacenter}`;
  return `${formatHostPort(upstream.bind)}->${upstream.kind}:${upstream.namespace}/${upstream.name}${dc}`;
}
