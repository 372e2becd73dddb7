/**
 * Starts the agent: the node's front door. Its own routes answer from local state and from what it follows; the others are
 * the mounted tables of a composition, or go on to the servers.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import {
  createApiClient,
  createStreamClient,
  followServerNames,
  internalTls,
  serverList,
  tlsOptions,
  watchForHangs,
} from "@heddle/api-client";
import {
  type ApiTable,
  type Clock,
  createRegistry,
  describeError,
  type Health,
  type HttpServer,
  type LiveIdentity,
  type LogHub,
  type Operations,
  opsRoutes,
  type Running,
  startOpsServer,
  systemClock,
  TaskGroup,
} from "@heddle/daemon";
import { openStore } from "@heddle/store";
import type { Registry } from "prom-client";
import type { ClientOptions } from "ws";
import { createAgentApi } from "./api.ts";
import { isSameBoot } from "./boot.ts";
import { CatalogSync } from "./catalog-sync.ts";
import { CentralConfig } from "./central-config.ts";
import { AliasChecks } from "./checks/alias.ts";
import { linkHealthChecker } from "./checks/link.ts";
import { TtlChecks } from "./checks/ttl.ts";
import type { AgentConfig } from "./config/index.ts";
import type { AgentDeps } from "./deps.ts";
import { Decisions } from "./decisions.ts";
import { Drains } from "./drains.ts";
import { followServers, type LocalStream } from "./followed.ts";
import { watchLeafExpiry } from "./leaf-expiry.ts";
import type { LeaseFacts, LeaseOptions } from "./lease.ts";
import { Leaves, type Roots, type SignedLeaf } from "./leaves.ts";
import { forwardToServers, refusePlainTextOffLoopback, reloadTls, startListeners } from "./listeners.ts";
import { LocalState } from "./local-state.ts";
import { registerAgentMetrics } from "./metrics.ts";
import { memberOf, startLease } from "./own-lease.ts";
import { nodeFacts, serverService } from "./own-node.ts";
import { RuleHolders } from "./rule-holders.ts";
import { reportProgress } from "./progress.ts";
import { Registrar } from "./registrar.ts";
import { signByCa } from "./sign.ts";
import { SidecarPorts } from "./sidecar-ports.ts";
import { createStreamCache } from "./stream-cache.ts";
import { Telemetry } from "./telemetry.ts";
import type { Watches } from "./watches/index.ts";

export interface AgentStartDeps {
  hub: LogHub;
  version: string;
  /** Told each list of roots that the servers have. */
  onRoots?: (roots: Roots) => void;
  /** Where the daemons of this agent's mesh answer. */
  servers: { catalog: string; ca: string; health: string };
  /** Certificate for the internal API, where it is not loopback. */
  identity?: LiveIdentity | undefined;
  /** In a composition: the servers' own rows, so that a read costs no second hop. */
  mounted?: ApiTable;
  /** Rows of what else runs on this node, in a composition. */
  beside?: ApiTable;
  /** In a composition: what the rows of all daemons mean, for the OpenAPI document. */
  operations?: () => Promise<Operations>;
  /** In a composition: the catalog's changes, without a connection. */
  localStream?: LocalStream;
  /** In a composition: has a certificate request signed, without a connection. */
  sign?: (csrPem: string) => Promise<SignedLeaf>;
  /** In a composition: the lease of this node, which lives as long as the catalog in the same process. */
  ownLease?: (
    facts: Pick<LeaseFacts, "Address" | "ID" | "Node" | "Server">,
    onDeregister: LeaseOptions["onDeregister"],
  ) => Promise<void>;
  /** In a composition: takes the change stream's connections over. */
  upgrade?: (req: IncomingMessage, socket: Socket, head: Buffer) => boolean;
  /** In a composition: the servers' parts of /readyz. */
  health?: () => Record<string, Health>;
  /** In a composition: the other daemons' metrics, told beside the agent's own. */
  registries?: Registry[];
  /** Reads the configuration again, for `reload`. */
  readConfig: () => Promise<AgentConfig>;
  /** In a composition: hands the new configuration to the other daemons. */
  onReload?: (config: AgentConfig) => void;
  clock?: Clock;
}

export interface RunningAgent extends Running {
  /** Reads the configuration again and applies what can change. Throws what is wrong with it; then nothing has changed. */
  reload(): Promise<void>;
  /** Takes this node out of the catalog. */
  leave(): Promise<void>;
  /** Resolves when it has left. */
  readonly left: Promise<void>;
}

const LOOK_AT_CA_EVERY_MS = 5_000; // by each of many agents

export async function start(config: AgentConfig, deps: AgentStartDeps): Promise<RunningAgent> {
  const { hub, version, servers } = deps;
  for (const url of Object.values(servers)) refusePlainTextOffLoopback(url);
  const log = hub.log.child("agent");
  const clock = deps.clock ?? systemClock;
  await using stack = new AsyncDisposableStack();
  const store = stack.use(await openStore({ dataDir: config.dataDir, name: "agent", log }));
  // What a reload changes is read from here, each time.
  let current = config;
  const { identity } = deps;
  for (const url of new Set([servers.catalog, servers.ca])) stack.use(await followServerNames(url, log));
  const tlsFor = (role: string) => internalTls(identity, [role, "server"]);
  for (const url of [servers.catalog, servers.ca]) serverList(url); // so that all who ask them make their connections anew together
  const catalog = createApiClient({ address: servers.catalog, tls: tlsFor("catalog"), log: log.child("catalog") });
  const ca = createApiClient({ address: servers.ca, tls: tlsFor("ca"), log: log.child("ca") });
  stack.defer(() => catalog.close());
  stack.defer(() => ca.close());
  // The lease tells of a catalog that hangs; of a CA elsewhere nothing else would.
  if (servers.ca !== servers.catalog) stack.use(watchForHangs(ca, servers.ca, LOOK_AT_CA_EVERY_MS));

  const isNewBoot = !(await isSameBoot(store));
  const state = new LocalState({
    ...{ store, nodeName: config.nodeName, clock, log, isNewBoot },
    discardOutput: () => current.discardCheckOutput,
  });
  const ports = new SidecarPorts({
    store,
    min: config.ports.sidecarMin,
    max: config.ports.sidecarMax,
    claimed: () => claimedPorts(state),
  });
  const registrar = new Registrar({ state, ports, scripts: config.scripts });
  const sync = new CatalogSync({
    catalog,
    state,
    node: () => nodeFacts(current),
    serverService: serverService(config, version),
    checkUpdateIntervalMs: config.checkUpdateIntervalMs,
    log,
  });
  stack.defer(() => sync.close());
  const central = new CentralConfig({ catalog, store, state, log, isEnabled: config.enableCentralServiceConfig });
  let leaves: Leaves | undefined;
  const followed = followServers({
    catalog,
    ca,
    log,
    onRoots(roots) {
      deps.onRoots?.(roots);
      void leaves?.rootsChanged();
    },
    onRevocations: () => void leaves?.revocationsChanged(),
    onRestored: () => sync.resync(),
    local: deps.localStream && { stream: deps.localStream, defaultAllow: config.defaultIntentionPolicy !== "deny" },
  });
  leaves = new Leaves({
    sign: deps.sign ?? signByCa({ ca, sync, state }),
    roots: followed.roots,
    revocations: followed.revocations,
    datacenter: config.datacenter,
    clock,
    log: log.child("connect"),
  });
  stack.defer(() => leaves.close());

  await registrar.files(config.services, config.checks);
  const ttl = new TtlChecks(state, clock);
  stack.defer(() => ttl.close());
  const drains = new Drains({ state, clock, log });
  stack.defer(() => drains.close());
  const alias = new AliasChecks({ state, catalog, nodeName: config.nodeName, log });
  stack.defer(() => alias.close());

  let watches: Watches | undefined;
  let onLeft = () => {};
  const left = new Promise<void>((resolve) => {
    onLeft = resolve;
  });
  const reload = async () => {
    const next = await deps.readConfig();
    const tls = listeners.length > 0 ? reloadTls(listeners, next) : undefined;
    await registrar.files(next.services, next.checks);
    hub.setLevel(next.log.level);
    const { changedWithoutReload } = await import("./config/index.ts");
    const ignored = changedWithoutReload(current, next);
    if (ignored.length > 0) log.warn("these settings changed but need a restart", { settings: ignored.join(", ") });
    current = next;
    tls?.apply();
    telemetry.filterChanged();
    sync.resync(); // the node's own metadata
    deps.onReload?.(next);
    await setWatches(next.watches);
    log.info("configuration reloaded", { services: state.services().length, checks: state.checks().length });
  };
  // Most agents have none: what runs them is loaded with the first.
  const setWatches = async (blocks: AgentConfig["watches"]) => {
    if (blocks.length === 0 && !watches) return;
    const { connectToSelf, Watches: WatchesClass } = await import("./watches/index.ts");
    if (!watches) {
      watches = new WatchesClass({
        connect: (token) => connectToSelf(config, listeners, token),
        store,
        log: log.child("watch"),
      });
    }
    await watches.set(blocks);
  };
  const listeners: HttpServer[] = [];
  const tasks = new TaskGroup();
  stack.defer(() => tasks.close());
  let lease: AsyncDisposable | undefined;
  const leave = async () => {
    log.info("leaving: taking this node out of the catalog", { node: config.nodeName });
    await tasks.close(); // or anti-entropy would bring it back
    await lease?.[Symbol.asyncDispose]();
    await catalog.put("/v1/internal/leave", { body: { Node: config.nodeName } });
    onLeft();
  };
  const telemetry = new Telemetry(() => current, clock);
  const ruleHolders = new RuleHolders({ catalog, node: config.nodeName, clock, log });
  const agentDeps: AgentDeps = {
    config,
    settings: () => current,
    version,
    state,
    registrar,
    sync,
    central,
    telemetry,
    ttl,
    decisions: new Decisions(),
    ruleHolders,
    drains,
    followed,
    leaves,
    catalog,
    reload,
    leave,
    hub,
    log,
  };

  const parts: (() => Record<string, Health>)[] = [
    () => ({ sync: sync.health() }),
    ...(deps.health ? [deps.health] : []),
  ];
  const health = () => Object.assign({}, ...parts.map((part) => part())) as Record<string, Health>;
  const registry = createRegistry("agent");
  registerAgentMetrics(registry, state);
  const expiry = watchLeafExpiry({ leaves, registry, clock });
  stack.defer(() => expiry.close());
  parts.push(() => ({ leaves: expiry.health() }));

  const forwarding = deps.mounted
    ? undefined
    : forwardToServers({ servers, identity, nodeName: config.nodeName, log: log.child("forward") });
  stack.defer(() => forwarding?.close());
  let silentSince: number | undefined;
  const cache =
    forwarding &&
    stack.use(
      createStreamCache({
        connect: () => createStreamClient({ url: servers.catalog, tls: tlsFor("catalog"), log: log.child("cache") }),
        datacenter: config.datacenter,
        isDefaultAllow: () => followed.rules.value?.defaultAllow,
        silentSince: () => silentSince,
        registry,
        clock,
      }),
    );
  const ops = { registry, others: deps.registries ?? [], health };
  const api = createAgentApi(agentDeps, {
    mounted: { ...deps.mounted, ...deps.beside },
    ops: opsRoutes(ops),
    forward:
      forwarding &&
      ((req, res) => {
        const pass = () => forwarding.handle(req, res);
        if (!cache?.handle(req, res, pass)) pass();
      }),
    operations: deps.operations ?? (async () => (await import("./operations.ts")).AGENT_OPERATIONS),
  });
  const upgrade = (...request: [IncomingMessage, Socket, Buffer]) =>
    forwarding?.upgrade(...request) || (deps.upgrade?.(...request) ?? false);
  listeners.push(
    ...(await startListeners(config, stack, { api, upgrade, limits: () => current.limits, registry, log })),
  );
  stack.use(await startOpsServer({ ...config.metrics, ...ops, log: log.child("metrics") }));
  const onDeregister: LeaseOptions["onDeregister"] = ({ service, check }) => {
    if (state.check(check)?.definition.ServiceID !== service || state.checkState(check).status !== "critical") return;
    log.warn("Check was critical for too long, deregistering service", { service, check });
    state
      .removeService(service)
      .catch((error: unknown) => log.error("cannot deregister a service", { service, error: describeError(error) }));
  };
  if (deps.ownLease) await deps.ownLease(memberOf(config), onDeregister);
  else {
    const onRegained = () => sync.resync();
    const onWayBack = () => serverList(servers.ca).renew();
    const onSilence = (isSilent: boolean) => {
      silentSince = isSilent ? (silentSince ?? clock.now()) : undefined;
    };
    const { revokedCallers: revoked } = followed;
    const on = { onDeregister, onRegained, onSilence, onWayBack };
    const options = { catalogUrl: servers.catalog, identity, revoked, log, ...on };
    lease = stack.use(await startLease(config, options));
  }
  tasks.run((signal) => sync.run(signal));
  tasks.run((signal) => followed.run(signal));
  tasks.run((signal) => ruleHolders.run(signal));
  tasks.run((signal) => central.run(signal));
  if (config.workloadApiDir !== "") {
    const { serveWorkloads } = await import("./workload/sockets.ts");
    const options = { dir: config.workloadApiDir, state, leaves, followed, log: log.child("workload") };
    stack.defer(await serveWorkloads(options));
  }
  stack.defer(reportProgress({ ca, followed, leaves, node: config.nodeName, clock, log: log.child("connect") }));
  const link = linkHealthChecker({
    url: servers.health,
    tls: identity && (() => tlsOptions(tlsFor("health")) as ClientOptions),
    state,
    log: log.child("checks"),
  });
  stack.defer(() => link.close());
  parts.push(() => ({ checks: link.health() }));
  await setWatches(config.watches);
  stack.defer(() => watches?.close());
  const owned = stack.move();
  const close = () => owned.disposeAsync();
  return { url: listeners[0]?.url ?? "", health, reload, leave, left, close, [Symbol.asyncDispose]: close };
}

/** The ports that registered proxies claim. */
function claimedPorts(state: LocalState): Map<number, string> {
  return new Map(
    state
      .services()
      .flatMap(({ definition: d }) => (d.Kind === "connect-proxy" && d.Port > 0 ? [[d.Port, d.ID] as const] : [])),
  );
}
