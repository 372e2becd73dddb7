/** From everything that was said to the agent's configuration: defaults, addresses, and the rules between keys. */
import { hostname } from "node:os";
import { isIP } from "node:net";
import { CONFIG_KINDS, type ConfigEntry, decodeConfigEntry, normaliseConfigEntry } from "@heddle/config-entries";
import { describeError, formatDuration, HeddleError, LOG_LEVELS, parseLogLevel } from "@heddle/daemon";
import { isAnyAddress, validateMeta } from "@heddle/service-definition";
import { parseStoreAddress } from "@heddle/store";
import { expandTemplate, hostAddress, type Network, parseAddresses } from "./addresses.ts";
import {
  buildAcl,
  buildCaConfig,
  buildDns,
  buildHttp,
  buildLimits,
  buildPorts,
  buildTelemetry,
  buildTls,
  checkPorts,
  type Fail,
} from "./build-blocks.ts";
import * as defaults from "./defaults.ts";
import { parseWatch } from "../watches/definition.ts";
import type { RawConfig } from "./keys.ts";
import type { AgentConfig, Policy } from "./types.ts";

export interface BuildContext {
  isDev: boolean;
  network: Network;
  fail: Fail;
  warn: (key: string, text: string) => void;
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function buildConfig(
  raw: RawConfig,
  context: BuildContext,
): Omit<AgentConfig, "checks" | "services" | "warnings"> {
  const { isDev, fail, warn } = context;
  const server = raw.server ?? isDev;
  const datacenter = (raw.datacenter ?? defaults.DEFAULT_DATACENTER).toLowerCase();
  const ports = buildPorts(raw.ports, isDev);
  const addresses = buildAddresses(raw, context);
  checkPorts(ports, addresses.addresses, addresses.bindAddr, fail);
  const { enabled, content_path, dir, metrics_provider, dashboard_url_templates } = raw.ui_config ?? {};
  const config = {
    ...addresses,
    ...buildNode(raw, context),
    datacenter,
    primaryDatacenter: (raw.primary_datacenter ?? datacenter).toLowerCase(),
    dataDir: raw.data_dir ?? "",
    domain: toDomain("domain", raw.domain ?? defaults.DEFAULT_DOMAIN, fail),
    altDomain: toDomain("alt_domain", raw.alt_domain ?? "", fail),
    ports,
    server,
    ...buildBootstrap(raw, server, context),
    devMode: isDev,
    retryJoin: raw.retry_join ?? [],
    retryIntervalMs: raw.retry_interval ?? defaults.DEFAULT_RETRY_INTERVAL_MS,
    retryMax: raw.retry_max ?? 0,
    startJoin: raw.start_join ?? [],
    log: buildLog(raw, context),
    pidFile: raw.pid_file ?? "",
    enableDebug: raw.enable_debug ?? isDev,
    scripts: {
      remote: raw.enable_script_checks ?? false,
      local: (raw.enable_script_checks ?? false) || (raw.enable_local_script_checks ?? false),
    },
    scriptUser: raw.heddle?.script_user ?? "",
    checkUpdateIntervalMs: raw.check_update_interval ?? defaults.DEFAULT_CHECK_UPDATE_INTERVAL_MS,
    checkOutputMaxSize: raw.check_output_max_size ?? defaults.DEFAULT_CHECK_OUTPUT_MAX_SIZE,
    discardCheckOutput: raw.discard_check_output ?? false,
    defaultQueryTimeMs: raw.default_query_time ?? defaults.DEFAULT_QUERY_TIME_MS,
    maxQueryTimeMs: raw.max_query_time ?? defaults.DEFAULT_MAX_QUERY_TIME_MS,
    discoveryMaxStaleMs: raw.discovery_max_stale ?? 0,
    recursors: buildRecursors(raw.recursors ?? [], context),
    dns: buildDns(raw.dns_config),
    http: buildHttp(raw.http_config, fail),
    telemetry: buildTelemetry(raw.telemetry, warn),
    limits: buildLimits(raw.limits),
    sessionTtlMinMs: raw.session_ttl_min || defaults.DEFAULT_SESSION_TTL_MIN_MS,
    connect: {
      enabled: raw.connect?.enabled ?? true,
      caProvider: raw.connect?.ca_provider ?? "consul",
      caConfig: buildCaConfig(raw.connect?.ca_config, raw.connect?.ca_provider === "vault", fail),
    },
    configEntriesBootstrap: buildConfigEntries(raw.config_entries?.bootstrap ?? [], fail),
    acl: buildAcl(raw),
    defaultIntentionPolicy: intentionPolicy(raw, warn),
    uiConfig: {
      enabled: raw.ui ?? enabled ?? isDev,
      contentPath: raw.ui_content_path ?? content_path ?? "/ui/",
      dir: raw.ui_dir ?? dir ?? "",
      metricsProvider: metrics_provider ?? "",
      dashboardUrlTemplates: dashboard_url_templates ?? {},
    },
    reconnectTimeoutMs: buildReconnectTimeout(raw.reconnect_timeout, fail),
    // A server that stops comes back; a client that stops is gone.
    leaveOnTerminate: raw.leave_on_terminate ?? !server,
    skipLeaveOnInterrupt: raw.skip_leave_on_interrupt ?? server,
    leaveDrainTimeMs: raw.performance?.leave_drain_time ?? defaults.DEFAULT_LEAVE_DRAIN_TIME_MS,
    tls: buildTls(raw, ports, fail),
    enableCentralServiceConfig: raw.enable_central_service_config ?? false,
    translateWanAddrs: raw.translate_wan_addrs ?? false,
    disableHostNodeId: raw.disable_host_node_id ?? true,
    disableRemoteExec: raw.disable_remote_exec ?? true,
    disableCoordinates: raw.disable_coordinates ?? false,
    watches: buildWatches(raw.watches ?? [], fail),
    internal: buildInternal(raw.heddle, fail),
    flapDamping: raw.heddle?.flap_damping ?? true,
    followRedirectsElsewhere: raw.heddle?.follow_redirects_elsewhere ?? false,
    caEncryptionKey: raw.heddle?.ca_encryption_key ?? "",
    workloadApiDir: raw.heddle?.workload_api_dir ?? "",
    store: {
      store: raw.heddle?.store ?? "",
      storeCaFile: raw.heddle?.store_ca_file ?? "",
      storeCertFile: raw.heddle?.store_cert_file ?? "",
      storeKeyFile: raw.heddle?.store_key_file ?? "",
      storeUser: raw.heddle?.store_user ?? "",
      storePasswordFile: raw.heddle?.store_password_file ?? "",
    },
    metrics: { host: raw.heddle?.metrics_host || "127.0.0.1", port: raw.heddle?.metrics_port ?? -1 },
  };
  for (const key of ["datacenter", "primary_datacenter"] as const) {
    const given = raw[key];
    if (given !== undefined && !/^[a-zA-Z0-9_-]{1,64}$/.test(given))
      fail(key, `invalid value '${given}': want letters, digits, '-' and '_'`);
  }
  try {
    if (config.store.store !== "") parseStoreAddress(config.store.store);
  } catch (error) {
    fail("heddle.store", describeError(error));
  }
  if (config.dataDir === "" && !isDev)
    fail("data_dir", "not given: want the directory in which the agent keeps its state (or -dev)");
  return config;
}

/** Checked here and parsed again by who runs them, so that the configuration stays plain data. */
function buildWatches(blocks: Record<string, unknown>[], fail: Fail): Record<string, unknown>[] {
  const cursors = new Map<string, number>();
  blocks.forEach((block, i) => {
    try {
      const { cursor } = parseWatch(block);
      if (cursors.has(cursor)) fail(`watches[${i}]`, `cursor '${cursor}' is that of watches[${cursors.get(cursor)}]`);
      else if (cursor !== "") cursors.set(cursor, i);
    } catch (error) {
      fail(`watches[${i}]`, describeError(error));
    }
  });
  return blocks;
}

function buildReconnectTimeout(given: number | undefined, fail: Fail): number {
  if (given === undefined) return defaults.DEFAULT_RECONNECT_TIMEOUT_MS;
  if (given < defaults.MIN_RECONNECT_TIMEOUT_MS)
    fail("reconnect_timeout", `invalid value '${formatDuration(given)}': want 8h or more`);
  return given;
}

function buildNode(
  raw: RawConfig,
  { fail, warn }: BuildContext,
): Pick<AgentConfig, "nodeId" | "nodeMeta" | "nodeName"> {
  const nodeName = raw.node_name?.trim() || hostname();
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f/]/.test(nodeName) || nodeName.length > 253)
    fail(
      "node_name",
      `invalid value ${JSON.stringify(nodeName.slice(0, 64))}: want at most 253 characters without '/' and control characters`,
    );
  else if (!/^[a-zA-Z0-9.-]+$/.test(nodeName))
    warn("node_name", `'${nodeName}' will not be found over DNS: that takes letters, digits and dashes`);
  const nodeId = raw.node_id ?? "";
  if (nodeId !== "" && !UUID.test(nodeId)) fail("node_id", `invalid value '${nodeId}': want a UUID`);
  const nodeMeta = raw.node_meta ?? {};
  const problem = validateMeta(nodeMeta);
  if (problem !== undefined) fail("node_meta", `invalid: ${problem}`);
  return { nodeName, nodeId: nodeId.toLowerCase(), nodeMeta };
}

type AddressKey =
  | "advertise_addr"
  | "advertise_addr_ipv4"
  | "advertise_addr_wan"
  | "advertise_addr_wan_ipv4"
  | "bind_addr";

function buildAddresses(
  raw: RawConfig,
  context: BuildContext,
): Pick<
  AgentConfig,
  "addresses" | "advertiseAddr" | "advertiseAddrWan" | "bindAddr" | "clientAddrs" | "taggedAddresses"
> {
  const one = (key: AddressKey, fallback: string) => {
    const text = raw[key];
    return (text === undefined ? [fallback] : readAddresses(key, text, context))[0] ?? fallback;
  };
  const bindAddr = one("bind_addr", context.isDev ? defaults.DEV_BIND_ADDR : defaults.DEFAULT_BIND_ADDR);
  const advertiseKey =
    raw.advertise_addr === undefined && raw.advertise_addr_ipv4 !== undefined
      ? "advertise_addr_ipv4"
      : "advertise_addr";
  const advertiseAddr = one(advertiseKey, isAnyAddress(bindAddr) ? hostAddress(context.network) : bindAddr);
  const wanKey =
    raw.advertise_addr_wan === undefined && raw.advertise_addr_wan_ipv4 !== undefined
      ? "advertise_addr_wan_ipv4"
      : "advertise_addr_wan";
  const advertiseAddrWan = one(wanKey, advertiseAddr);
  for (const [key, address] of [
    [advertiseKey, advertiseAddr],
    [wanKey, advertiseAddrWan],
  ] as const)
    if (raw[key] !== undefined && isAnyAddress(address))
      context.fail(key, `invalid value '${address}': want an address that others can dial`);
  const clientAddrs = readAddresses("client_addr", raw.client_addr ?? defaults.DEFAULT_CLIENT_ADDR, context);
  const listener = (name: "dns" | "grpc" | "http" | "https") => {
    const text = raw.addresses?.[name];
    return text === undefined ? clientAddrs : readAddresses(`addresses.${name}`, text, context);
  };
  const twin = (name: string, address: string) => ({ [name]: address, [`${name}_ipv${isIP(address) || 4}`]: address });
  return {
    bindAddr,
    advertiseAddr,
    advertiseAddrWan,
    clientAddrs,
    addresses: { http: listener("http"), https: listener("https"), dns: listener("dns"), grpc: listener("grpc") },
    taggedAddresses: { ...raw.tagged_addresses, ...twin("lan", advertiseAddr), ...twin("wan", advertiseAddrWan) },
  };
}

function readAddresses(key: string, text: string, { network, fail }: BuildContext): string[] {
  try {
    const found = parseAddresses(expandTemplate(text, network));
    if (found.length === 0) throw new TypeError("it is empty");
    return found;
  } catch (error) {
    fail(key, `invalid value '${text}': want an IP address (${describeError(error)})`);
    return [];
  }
}

function buildBootstrap(
  raw: RawConfig,
  server: boolean,
  { isDev, fail, warn }: BuildContext,
): Pick<AgentConfig, "bootstrap" | "bootstrapExpect"> {
  const expect = raw.bootstrap_expect ?? 0;
  if (raw.bootstrap && expect > 0) fail("bootstrap_expect", "cannot be given together with bootstrap = true");
  else if (isDev && expect > 0)
    fail("bootstrap_expect", "cannot be given in development mode, which is a server by itself");
  else if (!server && (raw.bootstrap || expect > 0))
    fail(raw.bootstrap ? "bootstrap" : "bootstrap_expect", "needs server = true");
  if (expect > 1)
    warn("bootstrap_expect", "one server is enough here: several share a store, and none waits for the others");
  return { bootstrap: (raw.bootstrap ?? false) || expect === 1 || (isDev && server), bootstrapExpect: expect };
}

function buildLog(raw: RawConfig, { isDev, fail }: BuildContext): AgentConfig["log"] {
  const text = raw.log_level ?? (isDev ? "debug" : "info");
  const level = parseLogLevel(text);
  if (level === undefined) fail("log_level", `invalid value '${text}': want one of ${LOG_LEVELS.join(", ")}`);
  return {
    level: level ?? "info",
    json: raw.log_json ?? false,
    file: raw.log_file ?? "",
    rotateBytes: raw.log_rotate_bytes ?? 0,
    rotateMs: raw.log_rotate_duration ?? defaults.DEFAULT_LOG_ROTATE_MS,
    rotateMaxFiles: raw.log_rotate_max_files ?? 0,
  };
}

/** DNS servers by address or name, with a port where it is not 53; each once. */
function buildRecursors(given: string[], context: BuildContext): string[] {
  const found = new Set<string>();
  for (const text of given) {
    try {
      const recursor = expandTemplate(text, context.network);
      if (isIP(recursor) === 0 && !/^(?:[\w.-]+|\[[0-9a-fA-F:.%]+\])(?::\d{1,5})?$/.test(recursor))
        throw new TypeError("not an address");
      found.add(recursor);
    } catch (error) {
      context.fail(
        "recursors",
        `invalid value '${text}': want an IP address, with a port or without (${describeError(error)})`,
      );
    }
  }
  return [...found];
}

function toDomain(key: string, text: string, fail: Fail): string {
  const domain = text.replace(/\.$/, "");
  if (!/^(?:[a-zA-Z0-9_-]{1,63}(?:\.[a-zA-Z0-9_-]{1,63})*)?$/.test(domain) || domain.length > 253)
    fail(key, `invalid value '${text}': want a DNS domain such as 'consul'`);
  return domain;
}

/** Who may connect where no intention says: an explicit policy, else that of the ACLs. */
function intentionPolicy(raw: RawConfig, warn: BuildContext["warn"]): Policy {
  // Somebody who sets this believes the API to be closed: say so at each start, loudly.
  if (raw.acl?.enabled)
    warn(
      "acl.enabled",
      "ACLs are not enforced yet: whoever reaches the API may read and write everything; only intentions are",
    );
  const aclPolicy = raw.acl?.default_policy ?? raw.acl_default_policy ?? "allow";
  if (raw.default_intention_policy === undefined && aclPolicy === "deny" && !raw.acl?.enabled)
    warn("acl.default_policy", "is 'deny' while ACLs are off: connections are denied unless an intention allows them");
  return raw.default_intention_policy ?? aclPolicy;
}

function buildConfigEntries(entries: Record<string, unknown>[], fail: Fail): ConfigEntry[] {
  return entries.flatMap((entry, i) => {
    try {
      return [normaliseConfigEntry(decodeConfigEntry(entry))];
    } catch (error) {
      if (!(error instanceof HeddleError)) throw error;
      const isKind = error.message.startsWith("invalid config entry kind");
      const want = isKind ? `: want one of ${CONFIG_KINDS.join(", ")}` : "";
      fail(`config_entries.bootstrap[${i}]`, `${error.message.trim()}${want}`);
      return [];
    }
  });
}

function buildInternal(raw: RawConfig["heddle"] = {}, fail: Fail): AgentConfig["internal"] {
  const url = (key: "ca_addr" | "catalog_addr" | "dns_addr" | "health_addr") => {
    const text = raw[key] ?? "";
    if (text === "") return "";
    const parsed = text.split(",").map((one) => URL.parse(one.includes("://") ? one.trim() : `http://${one.trim()}`));
    if (!parsed.every((one) => one && /^https?:$/.test(one.protocol))) {
      fail(
        `heddle.${key}`,
        `invalid value '${text}': want a URL such as http://127.0.0.1:8300, or several with commas`,
      );
      return "";
    }
    return parsed.map((one) => one?.origin).join(",");
  };
  return {
    catalogAddr: url("catalog_addr"),
    caAddr: url("ca_addr"),
    healthAddr: url("health_addr"),
    dnsAddr: url("dns_addr"),
  };
}
