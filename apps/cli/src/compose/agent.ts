/**
 * The composition: the agent with, on a server, the catalog, the CA, the health checker and DNS in the same process. The
 * daemons still meet over HTTP, on the internal listener; the public listener mounts the servers' rows directly, and what is
 * asked for the most (rules, DNS's records, signatures) is a call.
 */
import {
  type AgentConfig,
  hasJoined,
  type NodeIdentity,
  openNodeIdentity,
  start as startAgentDaemon,
  type RunningAgent,
} from "@heddle/agent";
import { serverList } from "@heddle/api-client";
import {
  createRegistry,
  followIdentityFiles,
  type Health,
  isJoinLine,
  type LogHub,
  startInternalServer,
  systemClock,
} from "@heddle/daemon";
import { type Dns, DNS_EXPLAIN } from "@heddle/dns";
import { createHealthChecker, findScriptUser } from "@heddle/health";
import { explainDns, startDns, toDnsConfig } from "./dns.ts";
import { namedServers, toHostPort, toServerUrls } from "./server-urls.ts";
import { startServers } from "./servers.ts";

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
  const { hub, version, signal } = options;
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
    scriptUser: config.scriptUser === "" ? undefined : await findScriptUser(config.scriptUser),
    outputMaxBytes: config.checkOutputMaxSize,
    damping: config.flapDamping,
    redirectsElsewhere: config.followRedirectsElsewhere,
    registry: registries.health,
    log: log.child("checks"),
  });
  stack.defer(() => checker.close());

  const servers = config.server
    ? await startServers(config, { hub, version, stack, identity: files, checker, registries, signal })
    : undefined;
  const node = servers || files ? undefined : stack.use(await openIdentity(config, options));
  const identity = files ?? servers?.identity ?? node;
  const local = servers?.url ?? (await startNodeListener({ stack, checker, hub }));
  const joined = () => {
    const urls = toServerUrls(
      node ? [...namedServers(config), ...node.servers] : namedServers(config),
      config,
      identity,
    );
    // Whoever joined at the only server there was goes on with those that came since.
    node?.onServers((others) => serverList(urls).learn(others.map((address) => `https://${address}`)));
    return urls;
  };
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

type Checker = ReturnType<typeof createHealthChecker>;

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

async function openIdentity(config: AgentConfig, { hub, signal }: ComposeOptions): Promise<NodeIdentity | undefined> {
  const line = [...config.startJoin, ...config.retryJoin].find(isJoinLine);
  const { dataDir, nodeName, datacenter } = config;
  // What waits for the first join is loaded with it: most agents have no servers elsewhere.
  if (line === undefined && !hasJoined(dataDir)) return undefined;
  return openNodeIdentity({
    ...{ dataDir, node: nodeName, datacenter, line, signal },
    servers: namedServers(config).map((text) => toHostPort(text, config)),
    clock: systemClock,
    log: hub.log.child("agent.join"),
  });
}

const prefixed = (name: string, health: Record<string, Health>): Record<string, Health> =>
  Object.fromEntries(Object.entries(health).map(([k, v]) => [`${name}.${k}`, v]));
