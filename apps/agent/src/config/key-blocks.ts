/** The blocks of the agent's configuration file, by Consul's names. What has no effect here is listed in ignored.ts. */
import { fields as f } from "@heddle/hcl";

const any = f.anyMap;
const port = () => f.integer(-Infinity, 65_535, { want: "a port up to 65535, or -1 for none" });
const count = () => f.integer(0);
/** No time of the agent's runs backwards. */
export const duration = () =>
  f.duration({
    want: "a duration such as '10s' or '1h30m', not below zero",
    check: (ms) => (ms < 0 ? "" : undefined),
  });

export const acl = () => ({
  enabled: f.boolean(),
  enable_token_replication: f.boolean(),
  enable_token_persistence: f.boolean(),
  enable_key_list_policy: f.boolean(),
  policy_ttl: duration(),
  role_ttl: duration(),
  token_ttl: duration(),
  disabled_ttl: duration(),
  down_policy: f.oneOf(["allow", "deny", "extend-cache", "async-cache"]),
  default_policy: f.oneOf(["allow", "deny"]),
  msp_disable_bootstrap: f.boolean(),
  tokens: f.object(tokens),
});

const tokens = () => ({
  initial_management: f.string({ aliases: ["master"] }),
  agent_recovery: f.string({ aliases: ["agent_master"] }),
  replication: f.string(),
  default: f.string(),
  agent: f.string(),
  config_file_service_registration: f.string(),
  dns: f.string(),
  managed_service_provider: f.list(any()),
});

export const addresses = () => ({
  dns: f.string(),
  http: f.string(),
  https: f.string(),
  grpc: f.string(),
  grpc_tls: f.string(),
});

export const autoEncrypt = () => ({
  tls: f.boolean(),
  dns_san: f.list(f.string()),
  ip_san: f.list(f.string()),
  allow_tls: f.boolean(),
});

export const autopilot = () => ({
  cleanup_dead_servers: f.boolean(),
  last_contact_threshold: duration(),
  max_trailing_logs: f.integer(),
  min_quorum: count(),
  server_stabilization_time: duration(),
  disable_upgrade_migration: f.boolean(),
  redundancy_zone_tag: f.string(),
  upgrade_version_tag: f.string(),
});

export const connect = () => ({
  enabled: f.boolean(),
  ca_provider: f.oneOf(["consul", "vault"], { want: "'consul', the built-in authority, or 'vault'" }),
  ca_config: any(),
  enable_mesh_gateway_wan_federation: f.boolean(),
  enable_serverless_plugin: f.boolean(),
  test_ca_leaf_root_change_spread: duration(),
});

export const dnsConfig = () => ({
  allow_stale: f.boolean(),
  a_record_limit: count(),
  cache_max_age: duration(),
  disable_compression: f.boolean(),
  enable_additional_node_meta_txt: f.boolean(),
  enable_truncate: f.boolean(),
  max_stale: duration(),
  node_ttl: duration(),
  only_passing: f.boolean(),
  prefer_namespace: f.boolean(),
  recursor_strategy: f.oneOf(["sequential", "random"]),
  recursor_timeout: duration(),
  service_ttl: f.map(duration()),
  soa: f.object(soa),
  udp_answer_limit: count(),
  use_cache: f.boolean(),
});

const soa = () => {
  const seconds = () => f.integer(0, 4_294_967_295, { want: "seconds from 0 to 4294967295" });
  return { refresh: seconds(), retry: seconds(), expire: seconds(), min_ttl: seconds() };
};

export const gossip = () => ({
  gossip_nodes: f.integer(),
  gossip_interval: duration(),
  probe_interval: duration(),
  probe_timeout: duration(),
  suspicion_mult: f.integer(),
  retransmit_mult: f.integer(),
});

/** Heddle's own: where daemons run that are processes of their own. */
export const heddle = () => ({
  flap_damping: f.boolean(),
  catalog_addr: f.string(),
  ca_addr: f.string(),
  ca_encryption_key: f.string(),
  health_addr: f.string(),
  script_user: f.string(),
  follow_redirects_elsewhere: f.boolean(),
  dns_addr: f.string(),
  metrics_host: f.string(),
  metrics_port: port(),
  store: f.string(),
  store_ca_file: f.string(),
  store_cert_file: f.string(),
  store_key_file: f.string(),
  store_user: f.string(),
  store_password_file: f.string(),
  workload_api_dir: f.string(),
});

export const httpConfig = () => ({
  allow_write_http_from: f.list(f.string()),
  block_endpoints: f.list(f.string()),
  max_header_bytes: count(),
  response_headers: f.map(f.string()),
  use_cache: f.boolean(),
});

export const limits = () => ({
  http_max_conns_per_client: f.integer(),
  http_max_requests_per_client: count(),
  https_handshake_timeout: duration(),
  kv_max_value_size: count(),
  request_limits: any(),
  rpc_client_timeout: duration(),
  rpc_handshake_timeout: duration(),
  rpc_max_burst: f.integer(),
  rpc_max_conns_per_client: f.integer(),
  rpc_rate: f.number(),
  txn_max_req_len: count(),
});

export const performance = () => ({
  grpc_keepalive_interval: duration(),
  grpc_keepalive_timeout: duration(),
  leave_drain_time: duration(),
  raft_multiplier: f.integer(1, 10),
  rpc_hold_timeout: duration(),
});

export const ports = () => ({
  dns: port(),
  http: port(),
  https: port(),
  grpc: port(),
  grpc_tls: port(),
  serf_lan: port(),
  serf_wan: port(),
  server: port(),
  proxy_min_port: port(),
  proxy_max_port: port(),
  sidecar_min_port: port(),
  sidecar_max_port: port(),
  expose_min_port: port(),
  expose_max_port: port(),
});

export const telemetry = () => ({
  ...Object.fromEntries(CIRCONUS_KEYS.map((key) => [key, f.string()])),
  disable_hostname: f.boolean(),
  "disable_compat_1.9": f.boolean(),
  disable_per_tenancy_usage_metrics: f.boolean(),
  dogstatsd_addr: f.string(),
  dogstatsd_tags: f.list(f.string()),
  enable_host_metrics: f.boolean(),
  filter_default: f.boolean(),
  metrics_prefix: f.string(),
  prefix_filter: f.list(f.string()),
  prometheus_retention_time: duration(),
  retry_failed_connection: f.boolean(),
  statsd_address: f.string(),
  statsite_address: f.string(),
});

export const CIRCONUS_KEYS = [
  "circonus_api_app",
  "circonus_api_token",
  "circonus_api_url",
  "circonus_broker_id",
  "circonus_broker_select_tag",
  "circonus_check_display_name",
  "circonus_check_force_metric_activation",
  "circonus_check_id",
  "circonus_check_instance_id",
  "circonus_check_search_tag",
  "circonus_check_tags",
  "circonus_submission_interval",
  "circonus_submission_url",
];

export const tls = () => ({
  defaults: f.object(tlsProtocol),
  internal_rpc: f.object(tlsProtocol),
  https: f.object(tlsProtocol),
  grpc: f.object(tlsProtocol),
});

export const tlsProtocol = () => ({
  ca_file: f.string(),
  ca_path: f.string(),
  cert_file: f.string(),
  key_file: f.string(),
  tls_cipher_suites: f.string(),
  tls_min_version: tlsVersion(),
  use_auto_cert: f.boolean(),
  verify_incoming: f.boolean(),
  verify_outgoing: f.boolean(),
  verify_server_hostname: f.boolean(),
});

// The older spellings and the older versions are Consul's; nothing below TLS 1.2 is ever spoken here.
export const tlsVersion = () =>
  f.oneOf(["", "tls10", "tls11", "tls12", "tls13", "TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"]);

export const uiConfig = () => ({
  enabled: f.boolean(),
  dir: f.string(),
  content_path: f.string(),
  metrics_provider: f.string(),
  metrics_provider_files: f.list(f.string()),
  metrics_provider_options_json: f.string(),
  metrics_proxy: any(),
  dashboard_url_templates: f.map(f.string()),
});

export const unixSockets = () => ({ group: f.string(), mode: f.string(), user: f.string() });
