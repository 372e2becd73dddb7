/** `start`: finds out which proxy this is, and sets the parts of the data plane going. */
import { createApiClient } from "@heddle/api-client";
import {
  describeError,
  type Health,
  type Logger,
  type Running,
  sleep,
  startOpsServer,
  TaskGroup,
  writeToStandardOutput,
} from "@heddle/daemon";
import {
  createAgentLink,
  createCarrier,
  createDecisionReports,
  createSharedCounts,
  type Address,
  keepRegistered,
  sharedMemory,
} from "@heddle/data-plane";
import { statusOf } from "./admin/status.ts";
import { configurationLines, LOG_FOLLOWS, SHUTDOWN, STARTING } from "./banner.ts";
import type { Config } from "./config.ts";
import type { ListenerState } from "./listeners.ts";
import { createProxies, type Proxies } from "./proxies.ts";
import { registrationOf } from "./registration.ts";
import { findSidecar } from "./resolve.ts";
import { createCrew } from "./threads/crew.ts";
import { ThreadedRegistry } from "./threads/registry.ts";

const SAY_WAIT_EVERY_MS = 15_000;
const SETTLE_MS = 300; // until callers have heard that our service drains
const READY_POLL_MS = 20;

export interface Deps {
  /** Named "proxy" by its caller. */
  log: Logger;
  /** Where other threads' log lines go; standard output by default. */
  writeLog?: (text: string) => void;
  /** Lines of the banner; none by default. */
  print?: (line: string) => void;
  /** Ends a start that is still looking for its sidecar. */
  signal?: AbortSignal;
  /** Another process has taken over: this one may end. */
  onHandedOver?: () => void;
}

export interface RunningProxy extends Running {
  /** Where each listener stands, or why it does not. */
  listeners(): ListenerState[];
}

/** Resolves once the proxy knows what it is and works at the rest: `health()` says what is still missing. */
export async function start(config: Config, deps: Deps): Promise<RunningProxy> {
  const { log, print = () => {}, writeLog = writeToStandardOutput } = deps;
  const { source } = config;
  await using stack = new AsyncDisposableStack();
  print(STARTING);

  // Which proxy is this?
  const client = createApiClient({ ...config.api, log: log.child("api") });
  stack.defer(() => client.close());
  const { stateDir: dir } = config;
  const file =
    dir && source.mode !== "node"
      ? (await import("./saved.ts")).createSnapshotFile({ dir, owner: ownerOf(config), log })
      : undefined;
  const saved = await file?.load();
  const proxyId =
    source.mode === "sidecar"
      ? await findSidecar(client, source.serviceId, { log, signal: deps.signal, last: saved?.proxyId })
      : source.mode === "registered"
        ? source.proxyId
        : "";
  for (const line of configurationLines(source, proxyId)) print(line);
  print(LOG_FOLLOWS);

  // What carries, on this thread and others, and what they count together.
  const link = createAgentLink(log);
  const reports = createDecisionReports(client);
  stack.defer(() => reports.close());
  const { max, isFixed } = config.threads;
  const memory = sharedMemory(max);
  const counts = createSharedCounts(memory, 0);
  const registry = new ThreadedRegistry();
  const carrier = createCarrier({ registry, log, reports, counts, awayMs: () => link.awayMs });
  stack.defer(() => carrier.close());
  const { logLevel, logFormat } = config;
  const crew = createCrew({ max, isFixed, memory, counts, client, log, writeLog, logLevel, logFormat });
  stack.defer(() => crew.close());
  registry.others = () => crew.ask({ about: "metrics" });

  // What it does: watches fill each snapshot, a snapshot opens listeners.
  const owner = ownerOf(config);
  const predecessor = config.takesOver
    ? await (await import("./hand-over/takeover.ts")).findPredecessor(config.adminDir, owner, log)
    : undefined;
  const mayShare = (bind: Address) => predecessor?.has(bind) ?? false;
  const adopt = (at: string) => predecessor?.adopt(at) ?? [];
  const proxies = createProxies({ client, link, carrier, crew, log, mayShare, adopt });
  const { drainMs } = config;
  const tasks = new TaskGroup();
  stack.defer(() => tasks.close());
  if (source.mode === "node") {
    const { followNode } = await import("./node.ts");
    const ownerOfOne = (id: string) => JSON.stringify([config.api.address, "node", id]);
    tasks.run((signal) => followNode({ client, link, proxies, log, drainMs, dir, owner: ownerOfOne }, signal));
  } else {
    const origin = source.mode === "flags" ? { spec: source.spec } : { proxyId };
    await proxies.start({ id: proxyId, origin, file, saved });
  }
  stack.defer(sayWhatIsMissing(proxies, log));
  const states = () => [...proxies.all.values()].flatMap(({ listeners }) => listeners.states());

  let isHandedOver = false;
  const registration = registrationOf(source);
  if (registration) {
    const isReady = () => states().some((s) => s.name === "public listener" && s.address);
    const isKept = () => isHandedOver; // by the process that took over
    tasks.run((signal) => keepRegistered({ ...registration, client, isReady, isKept, log }, signal));
  }

  let isClosing = false;
  const health = (): Record<string, Health> => {
    const { identity, listeners } = proxies.health();
    return {
      agent: { started: true, live: true, ready: true, details: link.isUp ? "answers" : "away, last snapshot in use" },
      identity,
      listeners: isClosing ? { ...listeners, ready: false, details: "closing" } : listeners,
    };
  };
  if (predecessor) {
    const areStanding = () => proxies.all.size > 0 && Object.values(proxies.health()).every(({ ready }) => ready);
    await until(() => areStanding() && states().length > 0, deps.signal);
    await predecessor.relieve();
  }
  const ops = config.metrics
    ? await startOpsServer({ ...config.metrics, registry, health, log: log.child("metrics") })
    : undefined;

  // Others must stop choosing us before we stop answering.
  const startedAt = new Date();
  const stopAccepting = async (): Promise<{ drained: Promise<unknown> }> => {
    isClosing = true;
    if (config.drainsService && source.mode === "sidecar" && !isHandedOver) {
      const path = `/v1/agent/service/drain/${encodeURIComponent(source.serviceId)}`;
      const timeout = `${drainMs}ms`;
      await client.put(path, { query: { timeout }, timeoutMs: 1_000 }).then(
        () => sleep(SETTLE_MS),
        (error: unknown) => log.warn("the service cannot be drained", { error: describeError(error) }),
      );
    }
    await tasks.close();
    return { drained: Promise.all([...proxies.all.keys()].map((id) => proxies.end(id, drainMs))) };
  };
  let opsClosed: PromiseLike<void> | undefined;
  const closeOps = async () => (opsClosed ??= ops?.[Symbol.asyncDispose]());
  let stopping: ReturnType<typeof stopAccepting> | undefined;
  const handOver = async () => {
    isHandedOver = true;
    log.info("another process takes over");
    await (stopping ??= stopAccepting());
    await closeOps(); // the other process wants its port
    deps.onHandedOver?.();
  };
  if (config.adminDir !== "") {
    const status = () => statusOf({ source, owner, startedAt, client, link, proxies, counts, health: health() });
    const { startAdmin } = await import("./admin/server.ts");
    const offered = () => [...proxies.all.values()].flatMap(({ listeners }) => listeners.offered());
    const admin = await startAdmin({ dir: config.adminDir, carrier, crew, log, status, offered, handOver });
    if (admin) stack.use(admin);
  }

  const owned = stack.move();
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    const { drained } = await (stopping ??= stopAccepting());
    await drained;
    await closeOps(); // which said until now that we are not ready
    await owned.disposeAsync();
    print(SHUTDOWN);
  };
  const closeOnce = () => (closed ??= close());
  const url = ops?.url ?? "";
  return { url, health, listeners: states, close: closeOnce, [Symbol.asyncDispose]: closeOnce };
}

async function until(isTrue: () => boolean, signal: AbortSignal | undefined): Promise<void> {
  while (!isTrue()) await sleep(READY_POLL_MS, signal);
}

/** Two proxies never share a file: neither of two agents, nor of one. */
function ownerOf({ source, api }: Config): string {
  if (source.mode === "node") return JSON.stringify([api.address, source.mode]);
  const which =
    source.mode === "sidecar" ? source.serviceId : source.mode === "registered" ? source.proxyId : source.spec.service;
  const listeners = source.mode === "flags" ? [source.spec.public?.bind, source.spec.upstreams.map((u) => u.bind)] : [];
  return JSON.stringify([api.address, source.mode, which, listeners]);
}

function sayWhatIsMissing(proxies: Proxies, log: Logger): () => void {
  const sayWait = setInterval(() => {
    for (const { id, carried } of proxies.all.values()) {
      const missing = carried.proxy.missing();
      if (missing.length === 0) continue;
      const proxy = proxies.all.size > 1 ? { proxy: id } : {};
      log.warn("no listener is open yet, still waiting", { ...proxy, for: missing.join(", ") });
    }
  }, SAY_WAIT_EVERY_MS);
  return () => clearInterval(sayWait);
}
