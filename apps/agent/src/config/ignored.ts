/** Keys of Consul that have no effect here, and why: accepted, with one line in the log. */
import { CIRCONUS_KEYS } from "./key-blocks.ts";

const NO_RAFT = "Heddle has no Raft: a server keeps its records in its own store";
const NO_GOSSIP = "Heddle has no gossip: agents reach their servers over HTTP";
const NO_WAN = "there is no WAN federation";
const ENTERPRISE = "it belongs to Consul Enterprise";
const NO_PUSH = "metrics are served at /v1/agent/metrics and /metrics, and pushed nowhere";

const FROM_MEMORY = "answers come from memory that follows the catalog's changes";
const NO_DRAIN = "a node that leaves is taken out of the catalog before its listeners close";

const REASONS: Record<string, readonly string[]> = {
  [NO_RAFT]: [
    "autopilot",
    "performance.raft_multiplier",
    "performance.rpc_hold_timeout",
    "protocol",
    "raft_boltdb",
    "raft_logstore",
    "raft_prevote_disabled",
    "raft_protocol",
    "raft_snapshot_interval",
    "raft_snapshot_threshold",
    "raft_trailing_logs",
    "server_rejoin_age_max",
  ],
  [NO_GOSSIP]: [
    "advertise_reconnect_timeout",
    "disable_keyring_file",
    "encrypt",
    "encrypt_verify_incoming",
    "encrypt_verify_outgoing",
    "gossip_lan",
    "gossip_wan",
    "rejoin_after_leave",
    "serf_lan",
    "serf_lan_allowed_cidrs",
    "serf_wan",
    "serf_wan_allowed_cidrs",
  ],
  [NO_WAN]: [
    "connect.enable_mesh_gateway_wan_federation",
    "primary_gateways",
    "primary_gateways_interval",
    "reconnect_timeout_wan",
    "retry_interval_wan",
    "retry_join_wan",
    "retry_max_wan",
    "start_join_wan",
  ],
  [ENTERPRISE]: [
    "acl.msp_disable_bootstrap",
    "acl.tokens.managed_service_provider",
    "audit",
    "dns_config.prefer_namespace",
    "license_path",
    "non_voting_server",
    "partition",
    "read_replica",
    "reporting",
    "segment",
    "segments",
  ],
  [NO_PUSH]: [
    ...CIRCONUS_KEYS.map((key) => `telemetry.${key}`),
    "telemetry.dogstatsd_addr",
    "telemetry.dogstatsd_tags",
    "telemetry.statsd_address",
    "telemetry.statsite_address",
  ],
  [FROM_MEMORY]: [
    "cache",
    "discovery_max_stale",
    "dns_config.allow_stale",
    "dns_config.cache_max_age",
    "dns_config.max_stale",
    "dns_config.use_cache",
  ],
  "a blocking read waits as long as its wait says: 5 minutes where it says nothing, 10 at most": [
    "default_query_time",
    "max_query_time",
  ],
  "agents look for their servers for ever, within a second at first": ["retry_interval", "retry_max"],
  "no proxy here opens paths to those outside the mesh": ["ports.expose_max_port", "ports.expose_min_port"],
  [NO_DRAIN]: ["performance.leave_drain_time"],
  "certificates for the internal API come from 'heddle tls'": ["auto_config", "auto_encrypt"],
  "there is no cluster peering": ["peering"],
  "there is no cloud service": ["cloud"],
  "logs go to standard output and to log_file": ["enable_syslog", "syslog_facility"],
  "requests between daemons are not limited by this key": [
    "limits.request_limits",
    "limits.rpc_client_timeout",
    "limits.rpc_handshake_timeout",
    "limits.rpc_max_burst",
    "limits.rpc_max_conns_per_client",
    "limits.rpc_rate",
  ],
  "reload with SIGHUP or 'heddle reload'": ["auto_reload_config"],
  "no listener is on a Unix socket": ["unix_sockets"],
  "Node.js chooses among safe cipher suites": ["tls_cipher_suites", "tls_prefer_server_cipher_suites"],
};

/** What to say of a key that was given, or undefined where it has its effect. */
export function whyIgnored(key: string): string | undefined {
  index ??= new Map(Object.entries(REASONS).flatMap(([reason, keys]) => keys.map((k) => [k, reason] as const)));
  return index.get(key);
}
let index: Map<string, string> | undefined;
