/** The blocks of the configuration with their defaults filled in, and the rules that hold within each. */
import { BlockList, isIP } from "node:net";
import * as defaults from "./defaults.ts";
import type { RawConfig } from "./keys.ts";
import type {
  AclConfig,
  AgentConfig,
  AgentPorts,
  DnsConfig,
  HttpConfig,
  LimitsConfig,
  TelemetryConfig,
  TlsConfig,
} from "./types.ts";

/** Reports that `key` is wrong; the place where it was said is put in front. */
export type Fail = (key: string, problem: string) => void;

export function buildPorts(raw: RawConfig["ports"] = {}, isDev: boolean): AgentPorts {
  const own = { ...defaults.DEFAULT_PORTS, ...(isDev && { grpc: defaults.DEV_GRPC_PORT }) };
  // Anything below zero is "no listener".
  const port = (value: number | undefined, initial: number) => Math.max(-1, value ?? initial);
  return {
    http: port(raw.http, own.http),
    https: port(raw.https, own.https),
    dns: port(raw.dns, own.dns),
    grpc: port(raw.grpc, own.grpc),
    grpcTls: port(raw.grpc_tls, own.grpcTls),
    server: port(raw.server, own.server),
    serfLan: port(raw.serf_lan, own.serfLan),
    serfWan: port(raw.serf_wan, own.serfWan),
    sidecarMin: Math.max(0, raw.sidecar_min_port ?? own.sidecarMin),
    sidecarMax: Math.max(0, raw.sidecar_max_port ?? own.sidecarMax),
    exposeMin: Math.max(0, raw.expose_min_port ?? own.exposeMin),
    exposeMax: Math.max(0, raw.expose_max_port ?? own.exposeMax),
  };
}

export function checkPorts(ports: AgentPorts, addresses: AgentConfig["addresses"], bindAddr: string, fail: Fail): void {
  for (const [name, min, max] of [
    ["sidecar", ports.sidecarMin, ports.sidecarMax],
    ["expose", ports.exposeMin, ports.exposeMax],
  ] as const)
    if (min > max)
      fail(
        `ports.${name}_min_port`,
        `invalid value ${min}: want at most ports.${name}_max_port, which is ${max}; both 0 for none`,
      );
  const taken = new Map<string, string>();
  const listeners: [string, number, string[]][] = [
    ["dns", ports.dns, addresses.dns],
    ["http", ports.http, addresses.http],
    ["https", ports.https, addresses.https],
    ["grpc", ports.grpc, addresses.grpc],
    ["server", ports.server, [bindAddr]],
  ];
  for (const [name, port, hosts] of listeners) {
    if (port <= 0) continue;
    for (const host of hosts) {
      const other = taken.get(`${host}:${port}`);
      if (other) fail(`ports.${name}`, `invalid value ${port}: ${host}:${port} is already that of ports.${other}`);
      taken.set(`${host}:${port}`, name);
    }
  }
}

export function buildDns(raw: RawConfig["dns_config"] = {}): DnsConfig {
  const { maxStaleMs, recursorTimeoutMs, soa, udpAnswerLimit } = defaults.DEFAULT_DNS;
  return {
    allowStale: raw.allow_stale ?? true,
    aRecordLimit: raw.a_record_limit ?? 0,
    cacheMaxAgeMs: raw.cache_max_age ?? 0,
    disableCompression: raw.disable_compression ?? false,
    enableTruncate: raw.enable_truncate ?? true,
    maxStaleMs: raw.max_stale ?? maxStaleMs,
    nodeMetaTxt: raw.enable_additional_node_meta_txt ?? true,
    nodeTtlMs: raw.node_ttl ?? 0,
    onlyPassing: raw.only_passing ?? false,
    recursorStrategy: raw.recursor_strategy ?? "sequential",
    recursorTimeoutMs: raw.recursor_timeout ?? recursorTimeoutMs,
    serviceTtlMs: raw.service_ttl ?? {},
    soa: {
      refresh: raw.soa?.refresh ?? soa.refresh,
      retry: raw.soa?.retry ?? soa.retry,
      expire: raw.soa?.expire ?? soa.expire,
      minTtl: raw.soa?.min_ttl ?? soa.minTtl,
    },
    udpAnswerLimit: raw.udp_answer_limit ?? udpAnswerLimit,
    useCache: raw.use_cache ?? false,
  };
}

export function buildHttp(raw: RawConfig["http_config"] = {}, fail: Fail): HttpConfig {
  for (const network of raw.allow_write_http_from ?? [])
    if (!isNetwork(network))
      fail("http_config.allow_write_http_from", `invalid value '${network}': want networks such as 10.0.0.0/8`);
  for (const [name, value] of Object.entries(raw.response_headers ?? {}))
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || /[\r\n\0]/.test(value))
      fail("http_config.response_headers", `invalid header '${name}': want a token, and a value of one line`);
  return {
    allowWriteHttpFrom: raw.allow_write_http_from ?? [],
    blockEndpoints: raw.block_endpoints ?? [],
    maxHeaderBytes: raw.max_header_bytes || defaults.DEFAULT_MAX_HEADER_BYTES,
    responseHeaders: raw.response_headers ?? {},
    useCache: raw.use_cache ?? true,
  };
}

function isNetwork(text: string): boolean {
  const [address = "", prefix = ""] = text.split("/");
  const family = isIP(address);
  if (family === 0 || !/^\d{1,3}$/.test(prefix)) return false;
  try {
    new BlockList().addSubnet(address, Number(prefix), family === 4 ? "ipv4" : "ipv6");
    return true;
  } catch {
    return false;
  }
}

export function buildTelemetry(
  raw: RawConfig["telemetry"],
  warn: (key: string, text: string) => void,
): TelemetryConfig {
  const rules = raw?.prefix_filter ?? [];
  for (const rule of rules)
    if (!/^[+-]/.test(rule))
      warn("telemetry.prefix_filter", `rule '${rule}' has no effect: want '+' or '-' at its beginning`);
  return {
    disableHostname: raw?.disable_hostname ?? false,
    filterDefault: raw?.filter_default ?? true,
    metricsPrefix: raw?.metrics_prefix ?? defaults.DEFAULT_METRICS_PREFIX,
    prefixFilter: rules.filter((rule) => /^[+-]/.test(rule)),
    prometheusRetentionTimeMs: raw?.prometheus_retention_time ?? 0,
  };
}

export function buildLimits(raw: RawConfig["limits"] = {}): LimitsConfig {
  const kvMaxValueSize = raw.kv_max_value_size ?? defaults.DEFAULT_KV_MAX_VALUE_SIZE;
  return {
    httpMaxConnsPerClient: raw.http_max_conns_per_client ?? defaults.DEFAULT_HTTP_MAX_CONNS_PER_CLIENT,
    httpMaxRequestsPerClient: raw.http_max_requests_per_client ?? 0,
    httpsHandshakeTimeoutMs: raw.https_handshake_timeout ?? defaults.DEFAULT_HTTPS_HANDSHAKE_TIMEOUT_MS,
    kvMaxValueSize,
    txnMaxReqLen: raw.txn_max_req_len ?? defaults.DEFAULT_KV_MAX_VALUE_SIZE,
  };
}

export function buildAcl(raw: RawConfig): AclConfig {
  const acl = raw.acl ?? {};
  const tokens = acl.tokens ?? {};
  return {
    enabled: acl.enabled ?? false,
    defaultPolicy: acl.default_policy ?? raw.acl_default_policy ?? "allow",
    downPolicy: acl.down_policy ?? raw.acl_down_policy ?? "extend-cache",
    enableTokenPersistence: acl.enable_token_persistence ?? false,
    tokens: {
      initialManagement: tokens.initial_management ?? raw.acl_master_token ?? "",
      agentRecovery: tokens.agent_recovery ?? raw.acl_agent_master_token ?? "",
      default: tokens.default ?? raw.acl_token ?? "",
      agent: tokens.agent ?? raw.acl_agent_token ?? "",
      replication: tokens.replication ?? raw.acl_replication_token ?? "",
    },
  };
}

/** The newer block `tls` over the flat keys that came before it. */
export function buildTls(raw: RawConfig, ports: AgentPorts, fail: Fail): AgentConfig["tls"] {
  const flat = {
    ca_file: raw.ca_file,
    ca_path: raw.ca_path,
    cert_file: raw.cert_file,
    key_file: raw.key_file,
    tls_min_version: raw.tls_min_version,
    verify_outgoing: raw.verify_outgoing,
    verify_server_hostname: raw.verify_server_hostname,
  };
  const all = { ...flat, ...raw.tls?.defaults };
  const verify = raw.tls?.defaults?.verify_incoming ?? raw.verify_incoming;
  const internal = toTls({ ...all, verify_incoming: raw.verify_incoming_rpc ?? verify, ...raw.tls?.internal_rpc });
  const https = toTls({ ...all, verify_incoming: raw.verify_incoming_https ?? verify, ...raw.tls?.https });
  const grpc = toTls({ ...all, verify_incoming: raw.tls?.defaults?.verify_incoming, ...raw.tls?.grpc });
  const problems = new Set<string>();
  for (const [name, tls] of [
    ["", internal],
    ["tls.https.", https],
    ["tls.grpc.", grpc],
  ] as const)
    for (const [key, problem] of checkTls(tls)) {
      // What all three inherit is told once.
      if (!problems.has(key)) fail(`${name}${key}`, problem);
      problems.add(key);
    }
  if (ports.https > 0 && !https.certFile)
    fail("ports.https", "needs a certificate: want cert_file and key_file, or -1 for no listener");
  return { ...internal, https, grpc };
}

function checkTls(tls: TlsConfig): [key: string, problem: string][] {
  const problems: [string, string][] = [];
  if (Boolean(tls.certFile) !== Boolean(tls.keyFile))
    problems.push([
      tls.certFile ? "key_file" : "cert_file",
      "not given: want a certificate and its key, both or neither",
    ]);
  if (tls.verifyIncoming && !tls.caFile && !tls.caPath)
    problems.push(["verify_incoming", "needs an authority to verify against: want ca_file or ca_path"]);
  return problems;
}

type RawTls = NonNullable<NonNullable<RawConfig["tls"]>["defaults"]>;

function toTls(raw: RawTls): TlsConfig {
  return {
    caFile: raw.ca_file ?? "",
    caPath: raw.ca_path ?? "",
    certFile: raw.cert_file ?? "",
    keyFile: raw.key_file ?? "",
    minVersion: /1_?3$/.test(raw.tls_min_version ?? "") ? "TLSv1.3" : "TLSv1.2",
    verifyIncoming: raw.verify_incoming ?? false,
    verifyOutgoing: raw.verify_outgoing ?? false,
    verifyServerHostname: raw.verify_server_hostname ?? false,
  };
}

const CA_KEYS: Record<string, string> = {
  cluster_id: "ClusterID",
  csr_max_concurrent: "CSRMaxConcurrent",
  csr_max_per_second: "CSRMaxPerSecond",
  intermediate_cert: "IntermediateCert",
  intermediate_cert_ttl: "IntermediateCertTTL",
  intermediate_signs: "IntermediateSigns",
  leaf_cert_ttl: "LeafCertTTL",
  private_key: "PrivateKey",
  private_key_bits: "PrivateKeyBits",
  private_key_type: "PrivateKeyType",
  root_cert: "RootCert",
  root_cert_ttl: "RootCertTTL",
  rotation_period: "RotationPeriod",
  rotation_timeout: "RotationTimeout",
  skip_validate: "SkipValidate",
};

/** Of the provider vault, beside those. */
const VAULT_KEYS: Record<string, string> = {
  address: "Address",
  ca_file: "CAFile",
  cert_file: "CertFile",
  intermediate_pki_path: "IntermediatePKIPath",
  key_file: "KeyFile",
  namespace: "Namespace",
  root_pki_path: "RootPKIPath",
  tls_server_name: "TLSServerName",
  token: "Token",
};

/** The authority's configuration with the keys of the HTTP API, whichever way the file spells them. */
export function buildCaConfig(
  raw: Record<string, unknown> = {},
  isVault: boolean,
  fail: Fail,
): Record<string, unknown> {
  const keys = isVault ? { ...CA_KEYS, ...VAULT_KEYS } : CA_KEYS;
  const known = new Map(
    Object.entries(keys).flatMap(
      ([snake, camel]) =>
        [
          [snake, camel],
          [camel.toLowerCase(), camel],
        ] as const,
    ),
  );
  const config: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(raw)) {
    const name = known.get(key.toLowerCase());
    if (name === undefined)
      fail("connect.ca_config", `unknown key '${key}': known here are ${Object.keys(keys).toSorted().join(", ")}`);
    else config[name] = value;
  }
  return config;
}
