/** The servers in an agent's process: catalog, CA and their internal listener, where other servers and nodes reach them. */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { AgentConfig } from "@heddle/agent";
import { createApiClient, createRelay, followServerNames, internalTls, watchForHangs } from "@heddle/api-client";
import type { Ca } from "@heddle/ca";
import { type Catalog, createCatalog, followCa, internalParts, registerCatalogMetrics } from "@heddle/catalog";
import {
  type ApiTable,
  guardedTable,
  isLoopback,
  type LiveIdentity,
  type Logger,
  type LogHub,
  startInternalServer,
} from "@heddle/daemon";
import type { createHealthChecker } from "@heddle/health";
import { type Cluster, openStore, otherAddresses, readStoreOptions } from "@heddle/store";
import type { Registry } from "prom-client";
import { hasOwnIdentity } from "./internal-tls.ts";

const LOOPBACK = "127.0.0.1";

export interface Servers {
  url: string;
  table: ApiTable;
  catalog: Catalog;
  ca: Ca;
  identity: LiveIdentity | undefined;
}

export interface ServersOptions {
  hub: LogHub;
  version: string;
  stack: AsyncDisposableStack;
  identity: LiveIdentity | undefined;
  checker: ReturnType<typeof createHealthChecker>;
  registries: { catalog: Registry; ca: Registry };
  /** Ends a start that waits for etcd. */
  signal: AbortSignal | undefined;
}

/** Resolves when they serve. */
export async function startServers(
  config: AgentConfig,
  { hub, version, stack, identity: files, checker, registries, signal: waitUntil }: ServersOptions,
): Promise<Servers> {
  const log = hub.log.child("agent.server");
  const dataDir = config.devMode ? "" : config.dataDir;
  const etcd = readStoreOptions(config.store);
  const { CA_ROLES, createCa, readEncryptionKeys, requireSealing } = await import("@heddle/ca");
  const encryptionKeys = readEncryptionKeys(config.caEncryptionKey, {
    env: process.env,
    readFile: (path) => readFileSync(path, "utf8"),
  });
  requireSealing(etcd, encryptionKeys);
  const [catalogStore, caStore] = await Promise.all([
    openStore({ dataDir, etcd, name: "catalog", log, waitUntil }),
    openStore({ dataDir, etcd, name: "ca", log, waitUntil }),
  ]);
  // The CA that counts may be another one than that of this process, which is made below.
  const elsewhere = config.internal.caAddr
    ? await followElsewhere(config.internal.caAddr, { stack, identity: files, log })
    : undefined;
  // Off loopback, and without files, the mesh's own CA says who is who on the internal API, too: nodes join by a token.
  const joining = hasOwnIdentity(config)
    ? {
        address: hostPort(config.advertiseAddr, config.ports.server),
        isAlive: (name: string) => catalog.members.isAlive(name),
      }
    : undefined;
  let ca: Ca | undefined;
  const self = {
    ...{ id: randomUUID(), name: config.nodeName, version, startedAt: Date.now() },
    address: `${config.advertiseAddr}:${config.ports.server}`,
  };
  const cluster = await catalogStore.join(self);
  const own: { identity: LiveIdentity | undefined } = { identity: files };
  const relayTo = (others: Cluster, log: Logger) =>
    stack.use(
      createRelay({
        others: () => otherAddresses(others),
        // Its certificate comes with the CA, which is made below.
        tls: files || joining ? () => internalTls(own.identity, ["ca", "catalog", "server"])?.() ?? {} : undefined,
        log,
      }),
    );
  const catalog = stack.use(
    createCatalog({
      store: catalogStore,
      cluster,
      tellOthers: relayTo(cluster, log.child("catalog")).tell,
      datacenter: config.datacenter,
      dnsDomain: config.domain,
      nodeName: config.nodeName,
      trustDomain: () => (elsewhere ? elsewhere.trustDomain() : ca?.authority.trustDomain),
      beside: () => elsewhere?.followable ?? ca?.followable ?? {},
      defaultIntentionPolicy: config.defaultIntentionPolicy,
      kvMaxValueSize: config.limits.kvMaxValueSize,
      txnMaxReqLen: config.limits.txnMaxReqLen,
      sessionTtlMinMs: config.sessionTtlMinMs,
      configEntries: config.configEntriesBootstrap,
      reconnectTimeoutMs: config.reconnectTimeoutMs,
      log: log.child("catalog"),
    }),
  );
  await catalog.prepare();
  registerCatalogMetrics(registries.catalog, catalog);
  const caCluster = await caStore.join(self);
  ca = stack.use(
    await createCa({
      store: caStore,
      cluster: caCluster,
      tellOthers: relayTo(caCluster, hub.log.child("agent.connect.ca")).tell,
      datacenter: config.datacenter,
      clusterId: (config.connect.caConfig["ClusterID"] as string | undefined) || undefined,
      initialConfig: config.connect.caConfig,
      initialProvider: config.connect.caProvider,
      encryptionKeys,
      runsOn: (name, service) => catalog.runsOn(name, service),
      daemonRoots: () => files?.current().roots ?? [],
      joining,
      registry: registries.ca,
      log: hub.log.child("agent.connect.ca"),
    }),
  );
  const table: ApiTable = { ...catalog.table, ...ca.table };
  const identity = files ?? (joining && stack.use(await ca.serverIdentity()));
  own.identity = identity;
  // Without certificates the internal API stays on this machine: plain text never leaves it.
  const host = identity || isLoopback(config.bindAddr) ? config.bindAddr : LOOPBACK;
  if (host !== config.bindAddr) {
    log.warn(
      "no TLS certificates for the internal API (ca_file, cert_file, key_file): it listens on loopback only, and no other node can join; make them with 'heddle tls'",
      { bind_addr: config.bindAddr },
    );
  }
  const context = { datacenter: config.datacenter, log };
  const listener = await startInternalServer({
    host,
    port: config.ports.server,
    identity,
    open: joining && ca.joining ? [ca.joining.open] : [],
    revoked: elsewhere?.revokedCallers ?? ca.revokedCallers,
    parts: [
      { handle: ca.internal },
      guardedTable(ca.table, CA_ROLES, context),
      ...internalParts(catalog, context),
      { upgrade: (...request) => checker.handleUpgrade(...request) },
    ],
    log: log.child("internal"),
  });
  stack.defer(() => listener.close());
  for (const store of [catalogStore, caStore]) store.hasStarted();
  return { url: listener.url, table, catalog, ca, identity };
}

async function followElsewhere(
  address: string,
  { stack, identity, log }: { stack: AsyncDisposableStack; identity: LiveIdentity | undefined; log: Logger },
) {
  const tls = internalTls(identity, ["ca", "server"]);
  stack.use(await followServerNames(address, log));
  const client = stack.adopt(createApiClient({ address, tls, log }), (c) => c.close());
  stack.use(watchForHangs(client, address));
  return stack.use(followCa(client, log));
}

const hostPort = (host: string, port: number): string => `${host.includes(":") ? `[${host}]` : host}:${port}`;
