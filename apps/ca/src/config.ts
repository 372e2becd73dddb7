/** The CA's configuration: flags, `HEDDLE_CA_…` variables, a JSON file. */
import { type ConfigSources, loadOptions, opsOptions, option } from "@heddle/daemon";
import { readStoreOptions, STORE_OPTIONS } from "@heddle/store";
import { readEncryptionKeys } from "./encryption-key.ts";

export const DEFAULT_CA_PORT = 8310;

export const CA_OPTIONS = {
  host: option.string("Address to listen on; anything but loopback needs the TLS files.", "127.0.0.1"),
  port: option.port("Port to listen on; 0 picks a free one.", DEFAULT_CA_PORT),
  node: option.string("Name of this server among those that share a store.", "ca"),
  advertise: option.string("host:port that the other CAs on the store are told; host and port by default."),
  dataDir: option.string("Directory of the roots and their keys; empty keeps everything in memory."),
  ...STORE_OPTIONS,
  datacenter: option.string("Name of the datacenter; certificates are signed for this one only.", "dc1"),
  clusterId: option.string("UUID of a new cluster; a random one by default. Read at the first start only."),
  leafCertTtl: option.string("Life of leaf certificates, 1h to 8760h. Read at the first start only.", "72h"),
  csrMaxPerSecond: option.integer("Certificates signed per second; 0 is no limit. First start only.", 0, 1_000_000, 50),
  encryptionKey: option.string(
    "Where the key is that encrypts the roots' keys on disk: file:PATH or env:NAME; older keys after commas.",
  ),
  catalogUrl: option.urls("The catalog, or several, which says what runs on a node; needed off loopback.", ""),
  ...opsOptions,
  logLevel: option.logLevel(),
  logJson: option.boolean("Log JSON lines."),
  caFile: option.string("CA certificates of the internal API (PEM)."),
  certFile: option.string("This daemon's certificate (PEM), of role ca."),
  keyFile: option.string("Its key (PEM)."),
};

export type CaConfig = ReturnType<typeof loadConfig>;

/** Throws ConfigError listing every problem. */
export function loadConfig(sources: ConfigSources) {
  const options = loadOptions("ca", CA_OPTIONS, sources);
  const encryptionKeys = readEncryptionKeys(options.encryptionKey, sources);
  return { ...options, encryptionKeys, etcd: readStoreOptions(options) };
}
