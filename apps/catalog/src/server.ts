/** Starts the catalog as a daemon of its own: one internal listener with the public rows, the stream and the operator's routes. */
import { randomUUID } from "node:crypto";
import {
  createApiClient,
  createRelay,
  followServerNames,
  internalTls,
  type TlsSource,
  watchForHangs,
} from "@heddle/api-client";
import {
  createRegistry,
  followIdentityFiles,
  type Health,
  InvalidArgumentError,
  isLoopback,
  type LiveIdentity,
  type Logger,
  requireTlsOffLoopback,
  type Running,
  startInternalServer,
  startOpsServer,
} from "@heddle/daemon";
import { openStore, otherAddresses } from "@heddle/store";
import { createCatalog } from "./catalog.ts";
import type { CatalogConfig } from "./config.ts";
import { followCa } from "./followed-ca.ts";
import { internalParts } from "./internal-parts.ts";
import { registerCatalogMetrics } from "./metrics.ts";
import { PEER_ROLES } from "./roles.ts";

export interface StartDeps {
  log: Logger;
  /** Until then an etcd that is away is waited for; without it the start fails. */
  waitUntil?: AbortSignal;
}

const OPENING: Health = { started: false, live: true, ready: false, details: "waiting for its records" };

/** Resolves when it serves. Throws UnavailableError for a port or a data directory that it cannot have. */
export async function start(config: CatalogConfig, { log, waitUntil }: StartDeps): Promise<Running> {
  await using stack = new AsyncDisposableStack();
  const identity = stack.use(followIdentityFiles(config, log));
  requireTlsOffLoopback(config.host, identity);
  const tls = caTls(config.caUrl, identity);
  stack.use(await followServerNames(config.caUrl, log));
  const caClient = createApiClient({ address: config.caUrl, tls, log });
  stack.defer(() => caClient.close());
  stack.use(watchForHangs(caClient, config.caUrl));
  const ca = stack.use(followCa(caClient, log));
  const registry = createRegistry("catalog");
  let health = (): Record<string, Health> => ({ store: OPENING });
  const { metricsHost, metricsPort } = config;
  stack.use(await startOpsServer({ host: metricsHost, port: metricsPort, registry, health: () => health(), log }));
  const store = await openStore({ dataDir: config.dataDir, etcd: config.etcd, name: "catalog", log, waitUntil });
  const cluster = await store.join({
    ...{ id: randomUUID(), name: config.node, version: "", startedAt: Date.now() },
    address: config.advertise || `${config.host}:${config.port}`,
  });
  const relay = stack.use(
    createRelay({ others: () => otherAddresses(cluster), tls: internalTls(identity, PEER_ROLES.writers), log }),
  );
  const catalog = stack.use(
    createCatalog({
      store,
      tellOthers: relay.tell,
      cluster,
      datacenter: config.datacenter,
      dnsDomain: config.dnsDomain,
      nodeName: config.node,
      trustDomain: () => ca.trustDomain(),
      beside: () => ca.followable,
      defaultIntentionPolicy: config.defaultIntentionPolicy === "deny" ? "deny" : "allow",
      kvMaxValueSize: config.kvMaxValueSize,
      txnMaxReqLen: config.txnMaxReqLen,
      sessionTtlMinMs: config.sessionTtlMin,
      reconnectTimeoutMs: config.reconnectTimeout,
      log,
    }),
  );
  await catalog.prepare();
  registerCatalogMetrics(registry, catalog);
  const server = await startInternalServer({
    host: config.host,
    port: config.port,
    identity,
    revoked: ca.revokedCallers,
    parts: internalParts(catalog, { datacenter: config.datacenter, log }),
    ops: { registry, health: () => health() },
    log,
  });
  stack.defer(() => server.close());
  health = () => catalog.health();
  store.hasStarted();
  log.info("catalog is serving", {
    address: server.url,
    store: config.store || config.dataDir || "(memory)",
    index: store.revision,
  });
  const owned = stack.move();
  const close = () => owned.disposeAsync();
  return { url: server.url, health, close, [Symbol.asyncDispose]: close };
}

function caTls(caUrl: string, identity: LiveIdentity | undefined): TlsSource | undefined {
  const urls = caUrl.split(",").map((url) => new URL(url));
  const isTls = urls.every(({ protocol }) => protocol === "https:");
  if (isTls && identity) return internalTls(identity, ["ca", "server"]);
  if (urls.every(({ protocol, hostname }) => protocol === "http:" && isLoopback(hostname.replace(/^\[|\]$/g, ""))))
    return undefined;
  throw new InvalidArgumentError(
    `refusing to ask the CA at ${caUrl}: off loopback it needs https, -ca-file, -cert-file and -key-file (made by 'heddle tls cert create')`,
  );
}
