/** Starts the CA as a daemon of its own: one internal listener with its public rows, the signing route and the operator's routes. */
import { randomUUID } from "node:crypto";
import {
  createRegistry,
  guardedTable,
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
  systemClock as clock,
} from "@heddle/daemon";
import {
  createApiClient,
  createRelay,
  followServerNames,
  internalTls,
  type ApiClient,
  watchForHangs,
} from "@heddle/api-client";
import { openStore, otherAddresses } from "@heddle/store";
import { askCatalog } from "./ask-catalog.ts";
import { createCa } from "./ca.ts";
import type { CaConfig } from "./config.ts";
import { requireSealing } from "./key-vault.ts";
import { CA_ROLES } from "./roles.ts";
import { PEER_ROLES } from "./routes/progress.ts";

export interface StartDeps {
  log: Logger;
  /** Until then an etcd that is away is waited for; without it the start fails. */
  waitUntil?: AbortSignal;
}

const OPENING: Health = { started: false, live: true, ready: false, details: "waiting for its records" };

/** Resolves when it serves. Throws UnavailableError for a port or a data directory that it cannot have. */
export async function start(config: CaConfig, { log, waitUntil }: StartDeps): Promise<Running> {
  await using stack = new AsyncDisposableStack();
  const identity = stack.use(followIdentityFiles(config, log));
  requireTlsOffLoopback(config.host, identity);
  requireSealing(config.etcd, config.encryptionKeys);
  // Without it an agent would get the certificate of any service.
  if (identity && config.catalogUrl === "")
    throw new InvalidArgumentError(
      "-catalog-url is missing: with mutual TLS an agent gets certificates for what the catalog has on its node",
    );
  const registry = createRegistry("ca");
  let health = (): Record<string, Health> => ({ store: OPENING });
  const { metricsHost, metricsPort } = config;
  stack.use(await startOpsServer({ host: metricsHost, port: metricsPort, registry, health: () => health(), log }));
  const store = stack.use(await openStore({ dataDir: config.dataDir, etcd: config.etcd, name: "ca", log, waitUntil }));
  const cluster = await store.join({
    ...{ id: randomUUID(), name: config.node, version: "", startedAt: Date.now() },
    address: config.advertise || `${config.host}:${config.port}`,
  });
  const relay = stack.use(
    createRelay({ others: () => otherAddresses(cluster), tls: internalTls(identity, PEER_ROLES), log }),
  );
  const catalog = config.catalogUrl === "" ? undefined : await catalogClient(config, { stack, identity, log });
  const ca = await createCa({
    store,
    cluster,
    datacenter: config.datacenter,
    clusterId: config.clusterId || undefined,
    initialConfig: { LeafCertTTL: config.leafCertTtl, CSRMaxPerSecond: config.csrMaxPerSecond },
    encryptionKeys: config.encryptionKeys,
    daemonRoots: () => identity?.current().roots ?? [],
    ...(catalog && { runsOn: askCatalog({ catalog, clock }) }),
    tellOthers: relay.tell,
    registry,
    log,
  });
  const server = await startInternalServer({
    host: config.host,
    port: config.port,
    identity,
    revoked: ca.revokedCallers,
    parts: [{ handle: ca.internal }, guardedTable(ca.table, CA_ROLES, { datacenter: config.datacenter, log })],
    ops: { registry, health: () => health() },
    log,
  });
  stack.defer(() => server.close());
  health = () => ca.health();
  store.hasStarted();
  log.info("CA is serving", { address: server.url, store: config.store || config.dataDir || "(memory)" });
  const owned = stack.move();
  const close = () => owned.disposeAsync();
  return { url: server.url, health, close, [Symbol.asyncDispose]: close };
}

interface ClientDeps {
  stack: AsyncDisposableStack;
  identity: LiveIdentity | undefined;
  log: Logger;
}

async function catalogClient({ catalogUrl }: CaConfig, { stack, identity, log }: ClientDeps): Promise<ApiClient> {
  const urls = catalogUrl.split(",").map((url) => new URL(url));
  if (urls.some(({ protocol, hostname }) => protocol !== "https:" && !isLoopback(hostname.replace(/^\[|\]$/g, ""))))
    throw new InvalidArgumentError(`refusing to ask the catalog in plain text at ${catalogUrl}: use https`);
  const tls = internalTls(identity, ["catalog", "server"]);
  stack.use(await followServerNames(catalogUrl, log));
  const client = stack.adopt(createApiClient({ address: catalogUrl, tls, log }), (c) => c.close());
  stack.use(watchForHangs(client, catalogUrl));
  return client;
}
