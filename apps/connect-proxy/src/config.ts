/** Flags, environment and file of `heddle connect proxy`: Consul's names, with HEDDLE_… variables ahead of CONSUL_…. */
import { availableParallelism } from "node:os";
import { type ApiClientOptions, apiOptions, toApiClientOptions } from "@heddle/api-client";
import {
  ConfigError,
  type ConfigSources,
  formatOptions,
  loadOptions,
  type LogFormat,
  type LogLevel,
  option,
} from "@heddle/daemon";
import {
  DEFAULT_BIND_ADDRESS,
  DEFAULT_CONNECT_TIMEOUT_MS,
  DEFAULT_HANDSHAKE_TIMEOUT_MS,
  DEFAULT_LOCAL_CONNECT_TIMEOUT_MS,
  DEFAULT_MAX_CONNECTIONS,
  DEFAULT_MAX_HANDSHAKES_PER_SOURCE,
  DEFAULT_UPSTREAM_BIND_ADDRESS,
  type HostPort,
  parseHostPort,
  type ProxySpec,
  type UpstreamSpec,
} from "@heddle/data-plane";
import { defaultAdminDir } from "./admin/places.ts";

const DEFAULT_DRAIN_MS = 4_000; // below the 5 s after which an orchestrator's SIGKILL is common

const MAX_THREADS = 64;

const variables = (name: string) => ({ env: [`HEDDLE_${name}`, name] });

export const proxyOptions = {
  sidecarFor: {
    ...option.string("ID of a service instance on the local agent that this proxy is the sidecar of."),
    ...variables("CONNECT_SIDECAR_FOR"),
  },
  proxyId: { ...option.string("ID of this proxy on the local agent."), ...variables("CONNECT_PROXY_ID") },
  node: option.boolean("Be the proxy of every sidecar that is registered with the agent, as long as it is."),
  service: option.string("Name of the service that this proxy represents."),
  serviceAddr: option.string("Address of the local service. Only with -service and -listen."),
  listen: option.string("Address to accept the service's callers on, such as ':8443'. Needs -service-addr."),
  upstream: option.list(
    "Service to reach and where to offer it: name:port or name:address:port; NAME.query is a prepared query. Repeatable.",
  ),
  register: option.boolean("Register this proxy with the local agent. Only with -service and -listen."),
  registerId: option.string("Suffix of the registered ID, to tell several proxies of a service apart."),
  logLevel: option.logLevel("info"),
  logFormat: option.logFormat(),
  logJson: option.boolean("Log as JSON: short for -log-format=json."),
  metricsAddr: option.string("Address of /metrics, /healthz and /readyz, such as '127.0.0.1:9102'. Off by default."),
  pprofAddr: option.string("Accepted for Consul's sake; -metrics-addr serves what there is to see."),
  stateDir: {
    ...option.string("Folder for what the proxy knows, its key among it, to start from while no agent answers."),
    env: ["HEDDLE_STATE_DIR", "STATE_DIRECTORY"],
  },
  workers: option.integer(
    "Threads that carry connections: that many, or 0 for a second one once there is work and more as load asks for them, up to one for each processor.",
    0,
    MAX_THREADS,
    0,
  ),
  takeover: option.boolean("Take the listeners over from a running process of the same proxy, which then ends."),
  adminDir: {
    ...option.string("Folder of the admin socket, which 'heddle proxy' asks; 'none' for no socket."),
    env: ["HEDDLE_RUNTIME_DIR"],
  },
  drainService: option.boolean(
    "On SIGTERM drain the service of -sidecar-for first: it leaves the catalog, and does not come back.",
  ),
  drainTime: option.durationMs("How long open connections may go on after SIGTERM.", DEFAULT_DRAIN_MS),
  ...apiOptions,
};

/** Where the proxy learns what to do. */
export type ProxySource =
  | { mode: "node" }
  | { mode: "sidecar"; serviceId: string }
  | { mode: "registered"; proxyId: string }
  | { mode: "flags"; spec: ProxySpec; register?: { idSuffix: string } | undefined };

export interface Config {
  source: ProxySource;
  api: ApiClientOptions;
  logLevel: LogLevel;
  logFormat: LogFormat;
  metrics?: HostPort | undefined;
  drainMs: number;
  drainsService: boolean;
  /** Where the admin socket is; empty for none. */
  adminDir: string;
  takesOver: boolean;
  /** How many threads carry connections at most, and whether they do from the start. */
  threads: { max: number; isFixed: boolean };
  /** Where snapshots are saved; nowhere by default, for they hold a key. */
  stateDir?: string | undefined;
}

/** Throws ConfigError with every problem at once. */
export function loadConfig(sources: ConfigSources & { readDir?: (path: string) => string[] }): Readonly<Config> {
  const values = loadOptions("connect-proxy", proxyOptions, sources);
  const problems: string[] = [];
  const hostPort = (flag: string, text: string): HostPort | undefined => {
    if (text === "") return undefined;
    const parsed = parseHostPort(text);
    if (!parsed) problems.push(`${flag}: invalid value '${text}': want host:port or :port`);
    return parsed;
  };
  const upstreams = values.upstream.flatMap((text) => parseUpstreamFlag(text, problems));
  const listen = hostPort("-listen", values.listen);
  const local = hostPort("-service-addr", values.serviceAddr);
  const metrics = hostPort("-metrics-addr", values.metricsAddr);
  const api = toApiClientOptions(values, sources, problems);

  const given = [
    values.sidecarFor && "-sidecar-for",
    values.proxyId && "-proxy-id",
    values.service && "-service",
    values.node && "-node",
  ];
  const modes = given.filter(Boolean);
  if (modes.length === 0)
    problems.push("-sidecar-for, -proxy-id, -service or -node must be specified so that proxy can configure itself");
  if (values.drainService && values.sidecarFor === "")
    problems.push("-drain-service is only useful with -sidecar-for: that service is drained");
  if (values.logJson && values.logFormat === "logfmt")
    problems.push("-log-json and -log-format=logfmt exclude each other");
  if (modes.length > 1) problems.push(`${modes.join(" and ")} exclude each other`);
  const isFlags = values.service !== "";
  if (!isFlags && modes.length > 0) {
    for (const [flag, text] of [
      ["-listen", values.listen],
      ["-service-addr", values.serviceAddr],
    ] as const)
      if (text !== "") problems.push(`${flag} is only useful with -service: a registered proxy says where it listens`);
    if (upstreams.length > 0)
      problems.push("-upstream is only useful with -service: a registered proxy names its upstreams");
  }
  if (isFlags && values.listen !== "" && values.serviceAddr === "")
    problems.push("-service-addr must be specified with -listen so the proxy knows the backend service address");
  if (isFlags && values.listen === "" && values.serviceAddr !== "")
    problems.push("-service-addr is only useful with -listen");
  if (values.register && (!isFlags || values.listen === ""))
    problems.push("-register is only useful with -service and -listen");
  if (problems.length > 0) throw new ConfigError(problems);

  const flagsSpec: ProxySpec = {
    service: values.service,
    namespace: "default",
    public: listen &&
      local && {
        bind: { host: listen.host || DEFAULT_BIND_ADDRESS, port: listen.port },
        local: { host: local.host || "127.0.0.1", port: local.port },
        localConnectTimeoutMs: DEFAULT_LOCAL_CONNECT_TIMEOUT_MS,
        handshakeTimeoutMs: DEFAULT_HANDSHAKE_TIMEOUT_MS,
        maxConnections: DEFAULT_MAX_CONNECTIONS,
        maxHandshakesPerSource: DEFAULT_MAX_HANDSHAKES_PER_SOURCE,
      },
    upstreams,
  };
  const source: ProxySource = values.node
    ? { mode: "node" }
    : values.sidecarFor !== ""
      ? { mode: "sidecar", serviceId: values.sidecarFor }
      : values.proxyId !== ""
        ? { mode: "registered", proxyId: values.proxyId }
        : { mode: "flags", spec: flagsSpec, register: values.register ? { idSuffix: values.registerId } : undefined };
  return Object.freeze({
    source,
    api,
    logLevel: values.logLevel,
    logFormat: values.logJson ? "json" : values.logFormat,
    metrics: metrics && { host: metrics.host || DEFAULT_BIND_ADDRESS, port: metrics.port },
    drainMs: values.drainTime,
    drainsService: values.drainService,
    adminDir: values.adminDir === "none" ? "" : values.adminDir || defaultAdminDir(sources.env),
    takesOver: values.takeover,
    threads: { max: values.workers || Math.min(MAX_THREADS, availableParallelism()), isFixed: values.workers > 0 },
    // systemd gives several folders as one list.
    stateDir: values.stateDir.split(":")[0] || undefined,
  });
}

/** The help text of the flags. */
export function usage(): string {
  return `Usage: heddle connect proxy [options]\n\n${formatOptions(proxyOptions)}`;
}

/** As in Consul, "find-db.query" is a prepared query, and "db.service" the service db. */
function nameOfUpstream(text: string): Pick<UpstreamSpec, "kind" | "name"> {
  const [, name = text, type = "service"] = /^(.+)\.(query|service)$/.exec(text) ?? [];
  return { name, kind: type === "query" ? "prepared_query" : "service" };
}

/** Parses "name:port" and "name:address:port" (an IPv6 address in brackets). */
function parseUpstreamFlag(text: string, problems: string[]): UpstreamSpec[] {
  const colon = text.indexOf(":");
  const name = text.slice(0, colon);
  const rest = text.slice(colon + 1);
  const bind = colon > 0 ? parseHostPort(rest.includes(":") ? rest : `:${rest}`) : undefined;
  if (!bind) {
    problems.push(`-upstream: invalid value '${text}': want name:port or name:address:port, such as 'db:8181'`);
    return [];
  }
  return [
    {
      ...nameOfUpstream(name),
      namespace: "default",
      datacenter: "",
      bind: { host: bind.host || DEFAULT_UPSTREAM_BIND_ADDRESS, port: bind.port },
      connectTimeoutMs: DEFAULT_CONNECT_TIMEOUT_MS,
      maxConnections: DEFAULT_MAX_CONNECTIONS,
    },
  ];
}
