/** `start`: finds out which proxy this is, and sets the parts of the data plane going. */
import { type ApiClient, createApiClient } from "@heddle/api-client";
import {
  type Health,
  type Logger,
  type Running,
  startOpsServer,
  TaskGroup,
  UnavailableError,
  writeToStandardOutput,
} from "@heddle/daemon";
import {
  createAgentLink,
  createCarrier,
  createDecisionReports,
  createSharedCounts,
  createSnapshotStore,
  DEFAULT_BIND_ADDRESS,
  followAgent,
  type HostPort,
  keepRegistered,
  type Proxy,
  sharedMemory,
} from "@heddle/data-plane";
import { configurationLines, LOG_FOLLOWS, SHUTDOWN, STARTING } from "./banner.ts";
import type { Config } from "./config.ts";
import type { ListenerState } from "./listeners.ts";
import { findSidecar } from "./resolve.ts";
import { createCrew } from "./threads/crew.ts";
import { ThreadedRegistry } from "./threads/registry.ts";
import { createUnit } from "./unit.ts";

const SAY_WAIT_EVERY_MS = 15_000;
const ASK_MS = 2_000; // an agent that is there answers sooner

export interface Deps {
  /** Named "proxy" by its caller. */
  log: Logger;
  /** Where other threads' log lines go; standard output by default. */
  writeLog?: (text: string) => void;
  /** Lines of the banner; none by default. */
  print?: (line: string) => void;
  /** Ends a start that is still looking for its sidecar. */
  signal?: AbortSignal;
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
  const file = dir ? (await import("./saved.ts")).createSnapshotFile({ dir, owner: ownerOf(config), log }) : undefined;
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
  const { logLevel, logJson } = config;
  const crew = createCrew({ max, isFixed, memory, counts, client, log, writeLog, logLevel, logJson });
  stack.defer(() => crew.close());
  registry.others = () => crew.ask("metrics");

  // What it does: watches fill the snapshot, the snapshot opens listeners.
  const store = createSnapshotStore();
  const unit = createUnit({ id: proxyId, store, carrier, log, onChange: () => crew.stand(unit) });
  const { listeners, carried } = unit;
  const { proxy } = carried;
  crew.add(unit);
  const origin = source.mode === "flags" ? { spec: source.spec } : { proxyId };
  stack.defer(followAgent({ client, store, link, log, origin }));
  if (saved && !(await answers(client))) {
    log.warn("no agent answers: serving what was saved", { saved_at: saved.savedAt });
    saved.restore(store);
  }
  if (file) stack.defer(file.follow(store, proxyId));
  stack.defer(sayWhatIsMissing(proxy, log));

  const tasks = new TaskGroup();
  stack.defer(() => tasks.close());
  const bind = source.mode === "flags" ? source.spec.public?.bind : undefined;
  if (source.mode === "flags" && source.register && bind) {
    const service = registrationOf(source.spec.service, source.register.idSuffix, bind);
    const check = { Name: "proxy heartbeat", Notes: "Built-in proxy will heartbeat this check." };
    const isReady = () => listeners.states().some((s) => s.name === "public listener" && s.address);
    tasks.run((signal) => keepRegistered({ service, check, client, isReady, log }, signal));
  }

  const health = (): Record<string, Health> => {
    const missing = proxy.missing();
    const problem = proxy.identityProblem();
    const closed = listeners.states().filter((s) => !s.address);
    return {
      agent: { started: true, live: true, ready: true, details: link.isUp ? "answers" : "away, last snapshot in use" },
      identity: part(
        missing.length === 0 && problem === undefined,
        missing.length > 0 ? `waiting for ${missing.join(", ")}` : (problem ?? ""),
      ),
      listeners: part(
        closed.length === 0 && !isClosing,
        closed.map((s) => s.error ?? `${s.name}: not open yet`).join("; "),
      ),
    };
  };
  let isClosing = false;
  let url = "";
  if (config.metrics) {
    const server = stack.use(await startOpsServer({ ...config.metrics, registry, health, log: log.child("metrics") }));
    url = server.url;
  }

  const owned = stack.move();
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    isClosing = true;
    // Others must stop choosing us before we stop answering.
    await tasks.close();
    await crew.end(unit, config.drainMs);
    await owned.disposeAsync();
    print(SHUTDOWN);
  };
  const closeOnce = () => (closed ??= close());
  return { url, health, listeners: () => listeners.states(), close: closeOnce, [Symbol.asyncDispose]: closeOnce };
}

/** What `-register` puts into the local agent's services. */
function registrationOf(service: string, idSuffix: string, { host, port }: HostPort) {
  return {
    Kind: "connect-proxy",
    ID: `${service}-proxy${idSuffix === "" ? "" : `-${idSuffix}`}`,
    Name: `${service}-proxy`,
    Address: host === DEFAULT_BIND_ADDRESS ? "" : host,
    Port: port,
    Proxy: { DestinationServiceName: service },
  };
}

/** Two proxies never share a file: neither of two agents, nor of one. */
function ownerOf({ source, api }: Config): string {
  const which =
    source.mode === "sidecar" ? source.serviceId : source.mode === "registered" ? source.proxyId : source.spec.service;
  const listeners = source.mode === "flags" ? [source.spec.public?.bind, source.spec.upstreams.map((u) => u.bind)] : [];
  return JSON.stringify([api.address, source.mode, which, listeners]);
}

async function answers(client: ApiClient): Promise<boolean> {
  try {
    await client.get("/v1/agent/self", { timeoutMs: ASK_MS });
    return true;
  } catch (error) {
    return !(error instanceof UnavailableError);
  }
}

function sayWhatIsMissing(proxy: Proxy, log: Logger): () => void {
  const sayWait = setInterval(() => {
    const missing = proxy.missing();
    if (missing.length > 0) log.warn("no listener is open yet, still waiting", { for: missing.join(", ") });
  }, SAY_WAIT_EVERY_MS);
  return () => clearInterval(sayWait);
}

function part(ready: boolean, why: string): Health {
  return { started: true, live: true, ready, ...(!ready && { details: why }) };
}
