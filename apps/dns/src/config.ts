/** The DNS daemon's configuration: flags, `HEDDLE_DNS_…` variables, a JSON file. Names follow Consul's `dns_config`. */
import {
  type ConfigSources,
  InvalidArgumentError,
  loadOptions,
  opsOptions,
  type Option,
  option,
  parseDuration,
} from "@heddle/daemon";
import { parseNameServer, type NameServer } from "./net/exchange.ts";

export const DEFAULT_DNS_PORT = 8600; // Consul's
const DEFAULT_RECURSOR_TIMEOUT_MS = 2_000; // Consul's; a resolver gives a server 5 s, so one may fail and the next still answer
const DEFAULT_UDP_ANSWER_LIMIT = 3; // Consul's: few enough for 512 bytes, and a client uses one of them anyway
const MAX_UDP_ANSWER_LIMIT = 8; // Consul's cap
const DEFAULT_SOA_REFRESH_MS = 3_600_000;
const DEFAULT_SOA_RETRY_MS = 600_000;
const DEFAULT_SOA_EXPIRE_MS = 86_400_000;

const serviceTtl: Option<Record<string, number>> = {
  help: "TTL of a service's records as name=duration, several times; `*` and `prefix*` stand for others.",
  expects: "name=duration such as web=10s, several times",
  parse: (text) => Object.fromEntries(text.split("\n").map(parseServiceTtl)),
  default: {},
  isRepeatable: true,
};
const recursors: Option<NameServer[]> = {
  help: "Name server for names that are not ours, several times; without one they are refused.",
  expects: "addresses such as 8.8.8.8 or [2001:db8::1]:53, several times",
  parse: (text) => text.split("\n").map(parseNameServer),
  default: [],
  isRepeatable: true,
};
const recursorStrategy: Option<"random" | "sequential"> = {
  help: "Which recursor is asked first: sequential or random.",
  expects: "sequential or random",
  parse(text) {
    if (text !== "sequential" && text !== "random") throw new TypeError("unknown strategy");
    return text;
  },
  default: "sequential",
};
const on = (help: string): Option<boolean> => ({ ...option.boolean(help), default: true });

export const DNS_OPTIONS = {
  host: option.string("Addresses to listen on (UDP and TCP), separated by spaces.", "127.0.0.1"),
  port: option.port("Port to listen on; 0 picks a free one.", DEFAULT_DNS_PORT),
  catalogUrl: option.urls("The catalog, or several.", "http://127.0.0.1:8300"),
  datacenter: option.string("Name of the datacenter.", "dc1"),
  nodeName: option.string("The node whose view of what is near counts (Near: _agent in a prepared query)."),
  domain: option.string("Domain that is answered for.", "consul."),
  altDomain: option.string("A second domain that is answered for."),
  nodeTtl: option.durationMs("TTL of nodes' records.", 0),
  serviceTtl,
  onlyPassing: option.boolean("Leave out instances with a warning, too."),
  nodeMetaTxt: on("Add nodes' meta as TXT records."),
  aRecordLimit: option.integer("Most A or AAAA records of an answer; 0 is no limit.", 0, 4_096, 0),
  udpAnswerLimit: option.integer(
    "Most records of an answer to a UDP client without EDNS.",
    1,
    MAX_UDP_ANSWER_LIMIT,
    DEFAULT_UDP_ANSWER_LIMIT,
  ),
  enableTruncate: on("Say (TC) when records had to be left out; false is Consul's default."),
  disableCompression: option.boolean("Write every name in full."),
  recursors,
  recursorTimeout: option.durationMs("How long each recursor may take.", DEFAULT_RECURSOR_TIMEOUT_MS),
  recursorStrategy,
  soaRefresh: option.durationMs("SOA refresh.", DEFAULT_SOA_REFRESH_MS),
  soaRetry: option.durationMs("SOA retry.", DEFAULT_SOA_RETRY_MS),
  soaExpire: option.durationMs("SOA expire.", DEFAULT_SOA_EXPIRE_MS),
  soaMinTtl: option.durationMs('How long "no such name" may be remembered.', 0),
  ...opsOptions,
  logLevel: option.logLevel(),
  logJson: option.boolean("Log JSON lines."),
  caFile: option.string("CA certificates of the internal API (PEM)."),
  certFile: option.string("This daemon's certificate (PEM), of role dns."),
  keyFile: option.string("Its key (PEM)."),
};

export type DnsConfig = ReturnType<typeof loadConfig>;

/** Throws ConfigError listing every problem. */
export const loadConfig = (sources: ConfigSources) => loadOptions("dns", DNS_OPTIONS, sources);

function parseServiceTtl(text: string): [string, number] {
  const at = text.lastIndexOf("=");
  if (at <= 0) throw new InvalidArgumentError(`'${text}' has no name`);
  return [text.slice(0, at), parseDuration(text.slice(at + 1))];
}
