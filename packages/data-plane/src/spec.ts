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

/** The kernel's limit for the path of a Unix socket (`sun_path` but for its NUL). */
const MAX_SUN_PATH_BYTES = 107;
/** Of a socket that we make, first under a longer name: `listenOnSocket` of the proxy. */
export const MAX_SOCKET_PATH_BYTES = 100;
/** Its owner's alone: whoever may write to it speaks as our service. */
export const DEFAULT_SOCKET_MODE = 0o600;

/** Under way at once from one address: one host may not take what all callers share. */
export const DEFAULT_MAX_HANDSHAKES_PER_SOURCE = 1_024;

export interface HostPort {
  host: string;
  port: number;
}

/** Where somebody listens: a port, or a Unix socket, which has a `path`, no host and port 0. */
export interface Address extends HostPort {
  path?: string;
}

export interface PublicSpec {
  bind: HostPort;
  /** Where the service itself listens. */
  local: Address;
  localConnectTimeoutMs: number;
  handshakeTimeoutMs: number;
  /** A caller's connection on which no byte moves for so long is cut; absent for none. */
  localIdleTimeoutMs?: number;
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
  bind: Address;
  /** Permissions of a Unix socket. */
  socketMode?: number;
  connectTimeoutMs: number;
  maxConnections: number;
}

/** For sentences about an upstream: nothing for the proxy's own datacenter. */
export const inDatacenter = ({ datacenter }: Pick<UpstreamSpec, "datacenter">): string =>
  datacenter === "" ? "" : ` in datacenter '${datacenter}'`;

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
    LocalServiceSocketPath?: string;
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
  LocalBindSocketPath?: string;
  LocalBindSocketMode?: string;
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
    const at = formatAddress(bind);
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
  const { LocalServiceAddress, LocalServicePort = 0, LocalServiceSocketPath = "" } = service.Proxy ?? {};
  let local: Address = { host: LocalServiceAddress || "127.0.0.1", port: LocalServicePort };
  if (LocalServiceSocketPath !== "")
    local = socketAddress(LocalServiceSocketPath, "local_service_socket_path", MAX_SUN_PATH_BYTES, problems);
  const given = read.text("local_service_address", "");
  if (given !== "") {
    const parsed = parseHostPort(given);
    if (parsed) local = parsed;
    else problems.push(`proxy.config.local_service_address: invalid value '${given}': want host:port`);
  }
  if (local.port === 0 && local.path === undefined)
    problems.push(`proxy '${service.ID}' has no local_service_port or local_service_socket_path to forward to`);
  const localIdleTimeoutMs = read.ms("local_idle_timeout_ms", 0);
  return {
    bind,
    local,
    ...(localIdleTimeoutMs > 0 && { localIdleTimeoutMs }),
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
  return [
    {
      name,
      kind: type,
      namespace: upstream.DestinationNamespace || "default",
      datacenter: upstream.Datacenter ?? "",
      ...bindOf(upstream, what, problems),
      connectTimeoutMs: read.ms("connect_timeout_ms", DEFAULT_CONNECT_TIMEOUT_MS),
      maxConnections: readLimits.count("max_connections", DEFAULT_MAX_CONNECTIONS),
    },
  ];
}

function bindOf(
  { LocalBindAddress, LocalBindPort: port = 0, LocalBindSocketPath: path = "", LocalBindSocketMode }: AgentUpstream,
  what: string,
  problems: string[],
): Pick<UpstreamSpec, "bind" | "socketMode"> {
  if (path === "") {
    if (port < 1 || port > 65_535) problems.push(`${what}: local_bind_port is ${port}: want a port from 1 to 65535`);
    return { bind: { host: LocalBindAddress || DEFAULT_UPSTREAM_BIND_ADDRESS, port } };
  }
  if (port !== 0)
    problems.push(`${what}: has both local_bind_port ${port} and local_bind_socket_path '${path}': want one of them`);
  const bind = socketAddress(path, `${what}: local_bind_socket_path`, MAX_SOCKET_PATH_BYTES, problems);
  return { bind, socketMode: socketMode(LocalBindSocketMode, what, problems) };
}

function socketAddress(path: string, what: string, maxBytes: number, problems: string[]): Address {
  const bytes = Buffer.byteLength(path);
  if (!path.startsWith("/") || path.endsWith("/") || path.includes("\0"))
    problems.push(`${what}: invalid value ${JSON.stringify(path)}: want the absolute path of a Unix socket`);
  else if (bytes > maxBytes)
    problems.push(`${what}: ${JSON.stringify(path)} has ${bytes} bytes: want at most ${maxBytes}`);
  return { host: "", port: 0, path };
}

/** In octal digits, as Consul takes them: "0660", "0o660"; also "660". */
function socketMode(text = "", what: string, problems: string[]): number {
  if (text === "") return DEFAULT_SOCKET_MODE;
  const [, digits] = /^(?:0o?)?([0-7]{3})$/.exec(text) ?? [];
  if (digits !== undefined) return Number.parseInt(digits, 8);
  problems.push(
    `${what}: local_bind_socket_mode: invalid value ${JSON.stringify(text)}: want octal permissions, such as "0660"`,
  );
  return DEFAULT_SOCKET_MODE;
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

/** "127.0.0.1:9191", or a Unix socket's path. */
export function formatAddress(address: Address): string {
  return address.path ?? formatHostPort(address);
}

/** "127.0.0.1:9191->service:default/socat", the name of an upstream's listener in Consul's logs; of a query "…->prepared_query:default/find-db". */
export function upstreamListenerName(upstream: UpstreamSpec): string {
  const dc = upstream.datacenter === "" ? "" : `?dc=${upstream.datacenter}`;
  return `${formatAddress(upstream.bind)}->${upstream.kind}:${upstream.namespace}/${upstream.name}${dc}`;
}
