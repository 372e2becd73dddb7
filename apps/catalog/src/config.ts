/** The catalog's configuration: flags, `HEDDLE_CATALOG_…` variables, a JSON file. */
import { type ConfigSources, loadOptions, opsOptions, option, parseDuration } from "@heddle/daemon";
import { readStoreOptions, STORE_OPTIONS } from "@heddle/store";
import { DEFAULT_RECONNECT_TIMEOUT_MS, MIN_RECONNECT_TIMEOUT_MS } from "./members/suspicion.ts";

export const DEFAULT_CATALOG_PORT = 8300; // where Consul's servers talk to each other
export const DEFAULT_KV_MAX_VALUE_SIZE = 512 * 1024; // Consul's limits.kv_max_value_size
export const DEFAULT_SESSION_TTL_MIN_MS = 10_000; // Consul's session_ttl_min

export const CATALOG_OPTIONS = {
  host: option.string("Address to listen on; anything but loopback needs the TLS files.", "127.0.0.1"),
  port: option.port("Port to listen on; 0 picks a free one.", DEFAULT_CATALOG_PORT),
  advertise: option.string("host:port that the other servers and clients are told; host and port by default."),
  node: option.string("Name of this server among those that share a store.", "catalog"),
  dataDir: option.string("Directory of the record store; empty keeps everything in memory."),
  ...STORE_OPTIONS,
  datacenter: option.string("Name of the datacenter.", "dc1"),
  dnsDomain: option.string("Zone that DNS answers.", "consul"),
  caUrl: option.urls("The CA, or several: discovery chains name its trust domain.", "http://127.0.0.1:8310"),
  defaultIntentionPolicy: {
    ...option.string("allow or deny: what holds where no intention matches.", "allow"),
    expects: "allow or deny",
    // A misspelt deny must not come to mean allow.
    parse: (text: string): string => {
      if (text !== "allow" && text !== "deny") throw new TypeError("unknown policy");
      return text;
    },
  },
  kvMaxValueSize: option.integer("Largest value of a key in bytes.", 1, 64 * 1024 * 1024, DEFAULT_KV_MAX_VALUE_SIZE),
  txnMaxReqLen: option.integer(
    "Largest sum of the values in a transaction in bytes; kvMaxValueSize where that is more.",
    1,
    64 * 1024 * 1024,
    DEFAULT_KV_MAX_VALUE_SIZE,
  ),
  sessionTtlMin: option.durationMs("Shortest TTL that a session may have.", DEFAULT_SESSION_TTL_MIN_MS),
  reconnectTimeout: {
    ...option.durationMs("How long a node that failed stays in the catalog.", DEFAULT_RECONNECT_TIMEOUT_MS),
    expects: "a duration of 8h or more",
    parse: (text: string): number => {
      const ms = parseDuration(text);
      if (ms < MIN_RECONNECT_TIMEOUT_MS) throw new RangeError("too short");
      return ms;
    },
  },
  ...opsOptions,
  logLevel: option.logLevel(),
  logJson: option.boolean("Log JSON lines."),
  caFile: option.string("CA certificates of the internal API (PEM)."),
  certFile: option.string("This daemon's certificate (PEM), of role catalog."),
  keyFile: option.string("Its key (PEM)."),
};

export type CatalogConfig = ReturnType<typeof loadConfig>;

/** Throws ConfigError listing every problem. */
export function loadConfig(sources: ConfigSources) {
  const options = loadOptions("catalog", CATALOG_OPTIONS, sources);
  return { ...options, etcd: readStoreOptions(options) };
}
