/** The flags of `heddle agent`: Consul's, each the same as a key of the configuration file, and some of our own. */
import { type AnyField, members, nearest } from "@heddle/hcl";
import { configField } from "./keys.ts";

export interface AgentFlag {
  name: string;
  help: string;
  /** The key that it sets, with dots: "ports.http". Absent: the flag says where the configuration is. */
  key?: string;
  /** What stands for the value in help, where no key says it. */
  value?: string;
}

const flag = (name: string, key: string, help: string): AgentFlag => ({ name, key, help });

/** In the order in which Consul prints them. */
export const AGENT_FLAGS: readonly AgentFlag[] = [
  flag("datacenter", "datacenter", "Name of the datacenter that this agent belongs to."),
  flag("advertise", "advertise_addr", "Address that other nodes are told to reach this one at."),
  flag("advertise-wan", "advertise_addr_wan", "Address that other datacenters are told."),
  flag(
    "allow-write-http-from",
    "http_config.allow_write_http_from",
    "Network (CIDR) that may write over HTTP. Repeatable.",
  ),
  flag("alt-domain", "alt_domain", "A second domain that DNS answers for."),
  flag("bind", "bind_addr", "Address on which the daemons of the cluster meet."),
  flag("bootstrap", "bootstrap", "Start as the only server."),
  flag("bootstrap-expect", "bootstrap_expect", "Number of servers to wait for; 1 is a server by itself."),
  flag("ca-addr", "heddle.ca_addr", "URL of a certificate authority that runs by itself."),
  flag(
    "ca-encryption-key",
    "heddle.ca_encryption_key",
    "Where the key is that encrypts the CA's keys on disk: file:PATH or env:NAME.",
  ),
  flag("catalog-addr", "heddle.catalog_addr", "URL of a catalog that runs by itself."),
  flag("check_output_max_size", "check_output_max_size", "Longest output of a check that is kept, in bytes."),
  flag("client", "client_addr", "Addresses for clients (HTTP, HTTPS, gRPC, DNS), with spaces between them."),
  {
    name: "config-dir",
    value: "value",
    help: "Directory whose .json and .hcl files are read, in the order of their names. Repeatable.",
  },
  { name: "config-file", value: "value", help: "A .json or .hcl file to read. Repeatable." },
  { name: "config-format", value: "string", help: "Read every file as 'hcl' or 'json', whatever its name." },
  flag("data-dir", "data_dir", "Directory in which the agent keeps its state."),
  flag("default-query-time", "default_query_time", "How long a blocking query waits that does not say how long."),
  { name: "dev", help: "Development: everything in one process, in memory, on the loopback address." },
  flag("disable-host-node-id", "disable_host_node_id", "Make a random node id instead of one from the host."),
  flag("disable-keyring-file", "disable_keyring_file", "Accepted; there is no gossip keyring."),
  flag("dns-port", "ports.dns", "Port for DNS."),
  flag("domain", "domain", "Domain that DNS answers for."),
  flag("enable-local-script-checks", "enable_local_script_checks", "Allow script checks from configuration files."),
  flag(
    "enable-script-checks",
    "enable_script_checks",
    "Allow script checks from configuration files and from the API.",
  ),
  flag("encrypt", "encrypt", "Accepted; there is no gossip to encrypt."),
  flag(
    "follow-redirects-elsewhere",
    "heddle.follow_redirects_elsewhere",
    "Let HTTP checks follow redirects to other hosts than the one they name.",
  ),
  flag("grpc-port", "ports.grpc", "Port for gRPC."),
  flag("grpc-tls-port", "ports.grpc_tls", "Port for gRPC over TLS."),
  { name: "hcl", value: "value", help: "A piece of configuration in HCL. Repeatable." },
  flag("health-addr", "heddle.health_addr", "URL of a health checker that runs by itself."),
  flag("http-port", "ports.http", "Port for HTTP."),
  flag("https-port", "ports.https", "Port for HTTPS."),
  flag("join", "start_join", "A line of 'heddle token join', or the address of a server. Repeatable."),
  flag("join-wan", "start_join_wan", "Accepted; there is no WAN gossip. Repeatable."),
  flag("log-file", "log_file", "File that logs are written to as well."),
  flag("log-json", "log_json", "Write logs as JSON."),
  flag("log-level", "log_level", "Lowest level that is logged: trace, debug, info, warn or error."),
  flag("log-rotate-bytes", "log_rotate_bytes", "Size at which a log file is rotated."),
  flag("log-rotate-duration", "log_rotate_duration", "Age at which a log file is rotated."),
  flag("log-rotate-max-files", "log_rotate_max_files", "Number of rotated log files that are kept."),
  flag("max-query-time", "max_query_time", "The longest that any blocking query waits."),
  flag("metrics-host", "heddle.metrics_host", "Address of -metrics-port, 127.0.0.1 by default."),
  flag("metrics-port", "heddle.metrics_port", "Port for /metrics, /healthz and /readyz alone; none by default."),
  flag("node", "node_name", "Name of this node, unique in the datacenter; the host's name by default."),
  flag("node-id", "node_id", "Id of this node, a UUID; made at random and kept by default."),
  flag("node-meta", "node_meta", "Metadata of this node. Repeatable."),
  flag("non-voting-server", "non_voting_server", "Accepted; there is no Raft to vote in."),
  flag("pid-file", "pid_file", "File in which the process id is kept."),
  flag("primary-gateway", "primary_gateways", "Accepted; there is no WAN federation. Repeatable."),
  flag("protocol", "protocol", "Accepted; there is no Serf protocol."),
  flag("raft-protocol", "raft_protocol", "Accepted; there is no Raft."),
  flag("read-replica", "read_replica", "Accepted; there is no Raft."),
  flag("recursor", "recursors", "DNS server to ask about other domains. Repeatable."),
  flag("rejoin", "rejoin_after_leave", "Accepted; an agent always joins again."),
  flag("retry-interval", "retry_interval", "Time between two attempts to join."),
  flag("retry-interval-wan", "retry_interval_wan", "Accepted; there is no WAN gossip."),
  flag("retry-join", "retry_join", "Address of a server to join, tried until it answers. Repeatable."),
  flag("retry-join-wan", "retry_join_wan", "Accepted; there is no WAN gossip. Repeatable."),
  flag("retry-max", "retry_max", "Number of attempts to join; 0 is without end."),
  flag("retry-max-wan", "retry_max_wan", "Accepted; there is no WAN gossip."),
  flag(
    "script-user",
    "heddle.script_user",
    "User that script checks run as: a name, a uid or uid:gid; needs root. The agent's own by default.",
  ),
  flag("segment", "segment", "Accepted; there are no network segments."),
  flag("serf-lan-allowed-cidrs", "serf_lan_allowed_cidrs", "Accepted; there is no gossip. Repeatable."),
  flag("serf-lan-bind", "serf_lan", "Accepted; there is no gossip."),
  flag("serf-lan-port", "ports.serf_lan", "Port that is reported for LAN gossip; nothing listens on it."),
  flag("serf-wan-allowed-cidrs", "serf_wan_allowed_cidrs", "Accepted; there is no gossip. Repeatable."),
  flag("serf-wan-bind", "serf_wan", "Accepted; there is no gossip."),
  flag("serf-wan-port", "ports.serf_wan", "Port that is reported for WAN gossip; nothing listens on it."),
  flag("server", "server", "Run the catalog and the certificate authority here."),
  flag("server-port", "ports.server", "Port on which the daemons of the cluster meet."),
  flag(
    "store",
    "heddle.store",
    "A server's etcd, instead of its data directory: etcd://HOST:PORT,…/PREFIX; etcds: TLS.",
  ),
  flag("store-ca-file", "heddle.store_ca_file", "CA certificates of etcd; the system's by default."),
  flag("store-cert-file", "heddle.store_cert_file", "Certificate to show to etcd."),
  flag("store-key-file", "heddle.store_key_file", "Its key."),
  flag("store-password-file", "heddle.store_password_file", "File with the password of -store-user."),
  flag("store-user", "heddle.store_user", "User of etcd's own authentication."),
  flag("syslog", "enable_syslog", "Accepted; logs go to standard output and to -log-file."),
  flag("ui", "ui_config.enabled", "Serve the web page."),
  flag("ui-content-path", "ui_config.content_path", "Path of the web page."),
  flag("ui-dir", "ui_config.dir", "Directory of a web page of your own."),
  flag("workload-api-dir", "heddle.workload_api_dir", "Folder for the sockets of SPIFFE's Workload API."),
];

/** The help text of all flags, as Consul lays it out. */
export function formatAgentFlags(): string {
  const [first, ...rest] = AGENT_FLAGS.map((flag) => {
    const value = placeholder(flag);
    return `  -${flag.name}${value && `=<${value}>`}\n     ${wrap(flag.help)}\n`;
  });
  return `HTTP API Options\n\n${first}\nCommand Options\n\n${rest.join("\n")}`;
}

/** What stands for a flag's value in help; empty for a flag that stands alone. */
function placeholder({ key, value = "" }: AgentFlag): string {
  if (key === undefined) return value;
  const { type } = fieldAt(key);
  return type === "boolean" ? "" : type === "map" ? "key:value" : "value";
}

export interface ReadFlags {
  isDev: boolean;
  /** Files and directories in the order given. */
  paths: string[];
  format: string;
  hcl: string[];
  /** What the other flags say, by key, with the flag's own name for messages. */
  values: { flag: AgentFlag; text: string; source: string }[];
}

/** Reads the command line: `-flag=value`, `-flag value`, `--flag`, and booleans without a value. */
export function readFlags(argv: readonly string[], report: (problem: string) => void): ReadFlags {
  const known = new Map(AGENT_FLAGS.map((f) => [f.name, f]));
  const read: ReadFlags = { isDev: false, paths: [], format: "", hcl: [], values: [] };
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] as string;
    const [, name, inline] = /^--?([a-zA-Z0-9][\w-]*)(?:=([\s\S]*))?$/.exec(argument) ?? [];
    if (name === undefined) {
      report(`unexpected argument '${argument}': want flags such as -data-dir=DIR`);
      continue;
    }
    const found = known.get(name);
    if (!found) {
      report(unknownFlag(name, known.keys()));
      // What follows is most likely its value: one mistake, one message.
      if (inline === undefined && argv[i + 1]?.startsWith("-") === false) i++;
      continue;
    }
    const text = inline ?? (placeholder(found) ? argv[++i] : "true");
    if (text === undefined) report(`-${name}: needs a value`);
    else take(read, found, text, report);
  }
  return read;
}

function take(read: ReadFlags, flag: AgentFlag, text: string, report: (problem: string) => void): void {
  if (flag.name === "config-file" || flag.name === "config-dir") read.paths.push(text);
  else if (flag.name === "config-format") {
    if (text !== "hcl" && text !== "json") report(`-config-format: invalid value '${text}': want 'hcl' or 'json'`);
    read.format = text;
  } else if (flag.name === "hcl") read.hcl.push(text);
  else if (flag.name === "dev") {
    const isDev = toBoolean(text);
    if (typeof isDev !== "boolean") report(`-dev: invalid value '${text}': want true or false`);
    read.isDev = isDev === true;
  } else read.values.push({ flag, text, source: `-${flag.name}` });
}

/** `HEDDLE_AGENT_HTTP_PORT` says what `-http-port` says; a list has commas. */
export function readEnvironment(env: Record<string, string | undefined>): ReadFlags["values"] {
  const values: ReadFlags["values"] = [];
  for (const flag of AGENT_FLAGS) {
    const name = `HEDDLE_AGENT_${flag.name.replaceAll("-", "_").toUpperCase()}`;
    const text = env[name];
    if (text === undefined || text === "" || flag.key === undefined) continue;
    const isSeveral = ["list", "map"].includes(fieldAt(flag.key).type);
    for (const one of isSeveral ? text.split(",") : [text]) values.push({ flag, text: one.trim(), source: name });
  }
  return values;
}

/** The text of a flag as the value that a file would hold; a text that cannot be one stays what it is and is refused later. */
export function flagValue(key: string, text: string): unknown {
  const { type } = fieldAt(key);
  if (type === "list") return [text];
  if (type === "map") {
    const colon = text.indexOf(":");
    return { [colon === -1 ? text : text.slice(0, colon)]: colon === -1 ? "" : text.slice(colon + 1) };
  }
  if (type === "boolean") return toBoolean(text);
  if (type === "integer" || type === "number") return /^[+-]?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
  return text;
}

export function fieldAt(key: string): AnyField {
  let field: AnyField = configField;
  for (const name of key.split(".")) field = members(field)[name] as AnyField;
  return field;
}

function toBoolean(text: string): boolean | string {
  if (/^(?:1|t|true)$/i.test(text)) return true;
  return /^(?:0|f|false)$/i.test(text) ? false : text;
}

function unknownFlag(name: string, known: Iterable<string>): string {
  const meant = nearest(name, known);
  return `unknown flag -${name}: ${meant ? `did you mean -${meant}?` : "'heddle agent --help' lists all flags"}`;
}

function wrap(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < 70) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join("\n     ");
}
