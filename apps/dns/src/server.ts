/** Starts DNS as a daemon of its own: a stream of the catalog, the listeners, and the operator's routes where asked for. */
import {
  createApiClient,
  createStreamClient,
  followServerNames,
  internalTls,
  type StreamClient,
  type TlsSource,
} from "@heddle/api-client";
import {
  createRegistry,
  followIdentityFiles,
  InvalidArgumentError,
  isLoopback,
  type LiveIdentity,
  type Logger,
  publicApi,
  type Running,
  startOpsServer,
} from "@heddle/daemon";
import type { DnsConfig } from "./config.ts";
import { createDns, type Dns } from "./dns.ts";

export interface StartDeps {
  log: Logger;
  /** A stream that somebody else owns; by default one is opened to `catalogUrl`. */
  stream?: StreamClient;
}

export interface RunningDns extends Running {
  readonly port: number;
  /** Where the operator's routes are; empty where they are off. */
  readonly metricsUrl: string;
  reload: Dns["reload"];
}

/** Resolves when it serves. Throws UnavailableError for a port that is in use, InvalidArgumentError for settings that cannot be. */
export async function start(config: DnsConfig, deps: StartDeps): Promise<RunningDns> {
  const { log } = deps;
  await using stack = new AsyncDisposableStack();
  const identity = stack.use(followIdentityFiles(config, log));
  refusePlainTextOffLoopback(config.catalogUrl);
  const tls = config.catalogUrl.startsWith("https:") ? catalogTls(identity) : undefined;
  const registry = createRegistry("dns");
  if (!deps.stream) stack.use(await followServerNames(config.catalogUrl, log));
  const stream = deps.stream ?? stack.adopt(createStreamClient({ url: config.catalogUrl, tls, log }), (s) => s.close());
  const api = stack.adopt(createApiClient({ address: config.catalogUrl, tls, log }), (a) => a.close());
  const dns = stack.use(createDns({ config, stream, api, registry, log }));
  await dns.listen();
  const { metricsHost, metricsPort } = config;
  const ops = stack.use(
    await startOpsServer({
      host: metricsHost,
      port: metricsPort,
      registry,
      health: () => dns.health(),
      handle: publicApi(dns.table, { datacenter: config.datacenter, log }),
      log,
    }),
  );

  const hosts = config.host.split(/[\s,]+/).filter((h) => h !== "");
  const addresses = hosts.map((h) => `${h.includes(":") ? `[${h}]` : h}:${dns.port}`);
  log.info("DNS is serving", { addresses: addresses.join(" "), domain: config.domain, catalog: config.catalogUrl });
  const owned = stack.move();
  const close = () => owned.disposeAsync();
  return {
    url: `dns://${addresses[0]}`,
    port: dns.port,
    metricsUrl: ops.url,
    health: () => dns.health(),
    reload: (next) => dns.reload(next),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function refusePlainTextOffLoopback(catalogUrls: string): void {
  catalogUrls.split(",").forEach(refusePlainText);
}

function refusePlainText(catalogUrl: string): void {
  const { protocol, hostname } = new URL(catalogUrl);
  if (protocol === "https:" || isLoopback(hostname.replace(/^\[|\]$/g, ""))) return;
  throw new InvalidArgumentError(
    `refusing to follow the catalog in plain text at ${catalogUrl}: use https and give -ca-file, -cert-file and -key-file (made by 'heddle tls cert create')`,
  );
}

function catalogTls(identity: LiveIdentity | undefined): TlsSource | undefined {
  if (identity === undefined)
    throw new InvalidArgumentError(
      "an https catalog needs -ca-file, -cert-file and -key-file (made by 'heddle tls cert create')",
    );
  return internalTls(identity, ["catalog", "agent", "server"]);
}
