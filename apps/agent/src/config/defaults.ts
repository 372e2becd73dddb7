/** The values of keys that are not given: Consul's, each with its reason where the name does not say it. */
const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

export const DEFAULT_DATACENTER = "dc1";
export const DEFAULT_DOMAIN = "consul"; // so that names in clients' configuration go on working
export const DEFAULT_BIND_ADDR = "0.0.0.0";
export const DEV_BIND_ADDR = "127.0.0.1"; // a development agent trusts everybody who can reach it
export const DEFAULT_CLIENT_ADDR = "127.0.0.1"; // the API has no password by default

export const DEFAULT_PORTS = {
  http: 8500,
  https: -1,
  dns: 8600,
  grpc: -1,
  grpcTls: -1,
  server: 8300,
  serfLan: 8301, // reported as the member's port
  serfWan: 8302,
  sidecarMin: 21_000,
  sidecarMax: 21_255,
  exposeMin: 21_500,
  exposeMax: 21_755,
};
export const DEV_GRPC_PORT = 8502;

export const DEFAULT_CHECK_UPDATE_INTERVAL_MS = 5 * MINUTE_MS; // output alone changes often, and nobody decides by it
export const DEFAULT_CHECK_OUTPUT_MAX_SIZE = 4_096;
export const DEFAULT_QUERY_TIME_MS = 5 * MINUTE_MS;
export const DEFAULT_MAX_QUERY_TIME_MS = 10 * MINUTE_MS;
export const DEFAULT_RETRY_INTERVAL_MS = 30 * SECOND_MS;
export const DEFAULT_SESSION_TTL_MIN_MS = 10 * SECOND_MS;
export const DEFAULT_RECONNECT_TIMEOUT_MS = 72 * HOUR_MS;
export const MIN_RECONNECT_TIMEOUT_MS = 8 * HOUR_MS; // a network may be parted for a night
export const DEFAULT_LEAVE_DRAIN_TIME_MS = 5 * SECOND_MS;
export const DEFAULT_LOG_ROTATE_MS = 24 * HOUR_MS;

export const DEFAULT_HTTP_MAX_CONNS_PER_CLIENT = 200;
export const DEFAULT_HTTPS_HANDSHAKE_TIMEOUT_MS = 5 * SECOND_MS;
export const DEFAULT_KV_MAX_VALUE_SIZE = 512 * 1_024; // what fits one Raft entry, which clients have come to count on
export const DEFAULT_MAX_HEADER_BYTES = 64 * 1_024; // Go's is 1 MiB

export const DEFAULT_DNS = {
  maxStaleMs: 87_600 * HOUR_MS, // ten years: an old answer is better than none
  recursorTimeoutMs: 2 * SECOND_MS,
  udpAnswerLimit: 3, // what fits 512 bytes
  soa: { refresh: 3_600, retry: 600, expire: 86_400, minTtl: 0 },
};

export const DEFAULT_METRICS_PREFIX = "consul";
