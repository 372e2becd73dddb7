/**
 * The composition: the agent with, on a server, the catalog, the CA, the health checker and DNS in the same process. The
 * daemons still meet over HTTP, on the internal listener; the public listener mounts the servers' rows directly, and what is
 * asked for the most (rules, DNS's records, signatures) is a call.
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  type AgentConfig,
  hasJoined,
  type NodeIdentity,
  openNodeIdentity,
  start as startAgentDaemon,
  type RunningAgent,
} from "@heddle/agent";
import { createApiClient, createStreamClient, internalTls } from "@heddle/api-client";
import type { Ca } from "@heddle/ca";
import {
  type Catalog,
  CATALOG_ROLES,
  createCatalog,
  EXTERNAL_PATH,
  EXTERNAL_ROLES,
  followCa,
  LEASE_PATH,
  LEASE_ROLES,
  registerCatalogMetrics,
} from "@heddle/catalog";
import {
  type ApiRequest,
  type ApiTable,
  createRegistry,
  followIdentityFiles,
  guardedTable,
  guardedUpgrade,
  type Health,
  isJoinLine,
  isLoopback,
  type LiveIdentity,
  type Logger,
  type LogHub,
  refusal,
  startInternalServer,
  systemClock,
} from "@heddle/daemon";
import { createDns, type Dns, DNS_EXPLAIN, DNS_OPTIONS, type DnsConfig } from "@heddle/dns";
import { createHealthChecker } from "@heddle/health";
import { openStore, readStoreOptions } from "@heddle/store";
import type { Registry } from "prom-client";
import { hasOwnIdentity } from "./internal-tls.ts";

export interface ComposeOptions {
  hub: LogHub;
  version: string;
  readConfig: () => Promise<AgentConfig>;
  /** Ends a start that waits for a server. */
  signal?: AbortSignal;
}

const LOOPBACK = "127.0.0.1";

/** Starts everything that this node runs. Throws UnavailableError for a port or a data directory that it cannot have. */
export async function startComposition(config: AgentConfig, options: ComposeOptions): Promise<RunningAgent> {
  const { hub, version } = options;
  const log = hub.log.child("agent");
  await using stack = new AsyncDisposableStack();
  const files = stack.use(followIdentityFiles(config.tls, log.child("internal")));
  const registries = {
    catalog: createRegistry("catalog"),
    ca: createRegistry("ca"),
    dns: createRegistry("dns"),
    health: createRegistry("health"),
  };
  const checker = createHealthChecker({
    // A checker in a server's process is its own agent's: nobody else has something run there.
    callers: ["server"],
    scripts: config.scripts.local || config.scripts.remote,
    outputMaxBytes: config.checkOutputMaxSize,
    damping: config.flapDamping,
    registry: registries.health,
    log: log.child("checks"),
  });
  stack.defer(() => checker.close());

  const servers = config.server
    ? await startServers(config, { hub, version, stack, identity: files, checker, registries })
    : undefined;
  const node = servers || files ? undefined : stack.use(await openIdentity(config, options));
  const identity = files ?? servers?.identity ?? node;
  const local = servers?.url ?? (await startNodeListener({ stack, checker, hub }));
  const named = [...config.retryJoin, ...config.startJoin].filter((text) => !isJoinLine(text));
  const joined = () => toServerUrls(named.length === 0 && node ? [node.address] : named, config, identity);
  const catalogUrl = config.internal.catalogAddr || servers?.url || joined();
  const caUrl = config.internal.caAddr || servers?.url || joined();
  let dns: Dns | undefined;
  const agent = await startAgentDaemon(config, {
    hub,
    version,
    servers: { catalog: catalogUrl, ca: caUrl, health: config.internal.healthAddr || local },
    identity,
    onRoots: (roots) => node?.rootsChanged(roots),
    ...(servers && {
      mounted: servers.table,
      health: () => ({ ...servers.catalog.health(), ...prefixed("ca", servers.ca.health()) }),
      // With a catalog of its own elsewhere, this one's rules are not those that count.
      ...(catalogUrl === servers.url && {
        localStream: servers.catalog.localStream,
        ownLease: (facts, onDeregister) => servers.catalog.members.holdOwn(facts, onDeregister),
      }),
      ...(caUrl === servers.url && { sign: (csr: string) => servers.ca.issuer.sign(csr, "this agent") }),
      upgrade: (req, socket, head) => servers.catalog.stream.upgrade(req, socket, head),
    }),
    // DNS starts after the agent, whose listener this is.
    beside: { [DNS_EXPLAIN]: { GET: (request) => explainDns(dns, request) } },
    registries: Object.values(registries),
    operations: async () => (await import("./operations.ts")).OPERATIONS,
    readConfig: options.readConfig,
    onReload: (next) => dns?.reload(toDnsConfig(next, catalogUrl)),
  });
  stack.defer(() => agent.close());
  dns = await startDns(config, {
    hub,
    stack,
    catalogUrl,
    identity,
    registry: registries.dns,
    catalog: catalogUrl === servers?.url ? servers.catalog : undefined,
  });
  const owned = stack.move();
  const close = () => owned.disposeAsync();
  return {
    url: agent.url,
    left: agent.left,
    leave: () => agent.leave(),
    reload: () => agent.reload(),
    health: () => ({
      ...agent.health(),
      checker: checker.health(),
      ...(dns && prefixed("dns", dns.health())),
    }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function explainDns(dns: Dns | undefined, request: ApiRequest): void | Promise<void> {
  if (!dns) throw refusal(404, "DNS does not run on this node");
  return dns.table[DNS_EXPLAIN]?.GET?.(request);
}

type Checker = ReturnType<typeof createHealthChecker>;

interface Servers {
  url: string;
  table: ApiTable;
  catalog: Catalog;
  ca: Ca;
  identity: LiveIdentity | undefined;
}

async function startServers(
  config: AgentConfig,
  {
    hub,
    version,
    stack,
    identity: files,
    checker,
    registries,
  }: {
    hub: LogHub;
    version: string;
    stack: AsyncDisposableStack;
    identity: LiveIdentity | undefined;
    checker: Checker;
    registries: { catalog: Registry; ca: Registry };
  },
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
    openStore({ dataDir, etcd, name: "catalog", log }),
    openStore({ dataDir, etcd, name: "ca", log }),
  ]);
  // The CA that counts may be another one than that of this process, which is made below.
  const elsewhere = config.internal.caAddr
    ? followElsewhere(config.internal.caAddr, { stack, identity: files, log })
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
  const catalog = stack.use(
    createCatalog({
      store: catalogStore,
      cluster,
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
  ca = stack.use(
    await createCa({
      store: caStore,
      cluster: await caStore.join(self),
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
      guardedTable(catalog.table, CATALOG_ROLES, context),
      { upgrade: (...request) => checker.handleUpgrade(...request) },
      guardedUpgrade(
        "/v1/stream",
        (req, socket, head) => catalog.stream.upgrade(req, socket, head),
        CATALOG_ROLES.readers,
      ),
      guardedUpgrade(LEASE_PATH, (...request) => catalog.leases.upgrade(...request), LEASE_ROLES),
      guardedUpgrade(
        EXTERNAL_PATH,
        (...[req, socket, head]) => catalog.externals.upgrade(req, socket, head),
        EXTERNAL_ROLES,
      ),
    ],
    log: log.child("internal"),
  });
  stack.defer(() => listener.close());
  return { url: listener.url, table, catalog, ca, identity };
}

function followElsewhere(
  address: string,
  { stack, identity, log }: { stack: AsyncDisposableStack; identity: LiveIdentity | undefined; log: Logger },
) {
  const tls = internalTls(identity, ["ca", "server"]);
  const client = stack.adopt(createApiClient({ address, tls, log }), (c) => c.close());
  return stack.use(followCa(client, log));
}

/** On a node without servers, the health checker is still reached over HTTP: on a port of loopback that nobody else needs to know. */
async function startNodeListener({
  stack,
  checker,
  hub,
}: {
  stack: AsyncDisposableStack;
  checker: Checker;
  hub: LogHub;
}): Promise<string> {
  const listener = await startInternalServer({
    host: LOOPBACK,
    port: 0,
    identity: undefined,
    parts: [{ upgrade: (...request) => checker.handleUpgrade(...request) }],
    log: hub.log.child("agent.internal"),
  });
  stack.defer(() => listener.close());
  return listener.url;
}

async function startDns(
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

function toDnsConfig(config: AgentConfig, catalogUrl: string): DnsConfig {
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

async function openIdentity(config: AgentConfig, { hub, signal }: ComposeOptions): Promise<NodeIdentity | undefined> {
  const line = [...config.startJoin, ...config.retryJoin].find(isJoinLine);
  const { dataDir, nodeName, datacenter } = config;
  // What waits for the first join is loaded with it: most agents have no servers elsewhere.
  if (line === undefined && !hasJoined(dataDir)) return undefined;
  return openNodeIdentity({
    ...{ dataDir, node: nodeName, datacenter, line, signal },
    clock: systemClock,
    log: hub.log.child("agent.join"),
  });
}

const hostPort = (host: string, port: number): string => `${host.includes(":") ? `[${host}]` : host}:${port}`;

/** Of all servers that were named, with commas between them: one of them is asked, and the next where that one is gone. */
function toServerUrls(joined: string[], config: AgentConfig, identity: LiveIdentity | undefined): string {
  if (joined.length === 0) {
    throw new Error(
      "this agent is no server and has none to join: give -join with a line of 'heddle token join', -retry-join=ADDRESS, or -server (or -dev) to run one here",
    );
  }
  return [...new Set(joined.map((address) => toServerUrl(address, config, identity)))].join(",");
}

function toServerUrl(joined: string, config: AgentConfig, identity: LiveIdentity | undefined): string {
  if (/^https?:\/\//.test(joined)) return joined;
  const hasPort = /^\[.*\]:\d+$|^[^:]+:\d+$/.test(joined);
  const host = joined.includes(":") && !hasPort && !joined.startsWith("[") ? `[${joined}]` : joined;
  return `${identity ? "https" : "http"}://${host}${hasPort ? "" : `:${config.ports.server}`}`;
}

const prefixed = (name: string, health: Record<string, Health>): Record<string, Health> =>
  Object.fromEntries(Object.entries(health).map(([k, v]) => [`${name}.${k}`, v]));
