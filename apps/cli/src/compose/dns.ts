/** DNS on a node: of the catalog's memory beside it, or of what the servers' stream tells. */
import type { AgentConfig } from "@heddle/agent";
import { createApiClient, createStreamClient, internalTls } from "@heddle/api-client";
import type { Catalog } from "@heddle/catalog";
import { type ApiRequest, type LiveIdentity, type LogHub, refusal } from "@heddle/daemon";
import { createDns, type Dns, DNS_EXPLAIN, DNS_OPTIONS, type DnsConfig } from "@heddle/dns";
import type { Registry } from "prom-client";

const LOOPBACK = "127.0.0.1";

/** Answers as the DNS of this node does; 404 where there is none. */
export function explainDns(dns: Dns | undefined, request: ApiRequest): void | Promise<void> {
  if (!dns) throw refusal(404, "DNS does not run on this node");
  return dns.table[DNS_EXPLAIN]?.GET?.(request);
}

/** Undefined where this node has no DNS. */
export async function startDns(
  config: AgentConfig,
  {
    hub,
    stack,
    catalogUrl,
    identity,
    catalog,
    registry,
  }: {
    hub: LogHub;
    stack: AsyncDisposableStack;
    catalogUrl: string;
    identity: LiveIdentity | undefined;
    catalog: Catalog | undefined;
    registry: Registry;
  },
) {
  if (config.ports.dns < 0) return undefined;
  const log = hub.log.child("agent.dns");
  const tls = internalTls(identity, ["catalog", "server"]);
  // Beside the catalog DNS reads its memory: what was registered a moment ago is in the next answer, as in Consul.
  const stream =
    catalog?.localStream ?? stack.adopt(createStreamClient({ url: catalogUrl, tls, log }), (s) => s.close());
  const api = createApiClient({ address: catalogUrl, tls, log });
  stack.defer(() => api.close());
  const dns = stack.use(createDns({ config: toDnsConfig(config, catalogUrl), stream, api, registry, log }));
  await dns.listen();
  return dns;
}

export function toDnsConfig(config: AgentConfig, catalogUrl: string): DnsConfig {
  const { dns } = config;
  return {
    host: config.addresses.dns.join(" "),
    port: config.ports.dns,
    catalogUrl,
    datacenter: config.datacenter,
    nodeName: config.nodeName,
    domain: config.domain,
    altDomain: config.altDomain,
    nodeTtl: dns.nodeTtlMs,
    serviceTtl: dns.serviceTtlMs,
    onlyPassing: dns.onlyPassing,
    nodeMetaTxt: dns.nodeMetaTxt,
    aRecordLimit: dns.aRecordLimit,
    udpAnswerLimit: dns.udpAnswerLimit,
    enableTruncate: dns.enableTruncate,
    disableCompression: dns.disableCompression,
    recursors: config.recursors.length > 0 ? DNS_OPTIONS.recursors.parse(config.recursors.join("\n")) : [],
    recursorTimeout: dns.recursorTimeoutMs,
    recursorStrategy: dns.recursorStrategy,
    soaRefresh: dns.soa.refresh * 1000,
    soaRetry: dns.soa.retry * 1000,
    soaExpire: dns.soa.expire * 1000,
    soaMinTtl: dns.soa.minTtl * 1000,
    metricsHost: LOOPBACK,
    metricsPort: -1,
    logLevel: config.log.level,
    logJson: config.log.json,
    caFile: "",
    certFile: "",
    keyFile: "",
  };
}
