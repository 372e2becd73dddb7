/** The catalog as a value: its routes and its stream over one store, to be mounted on any listener. */
import type { ConfigEntry } from "@heddle/config-entries";
import {
  type ApiTable,
  type Clock,
  type Followable,
  type Health,
  InvalidArgumentError,
  type Logger,
  systemClock,
} from "@heddle/daemon";
import type { Cluster, Store } from "@heddle/store";
import type { Ask } from "./blocking.ts";
import { setConfigEntry } from "./commands/config-entries.ts";
import type { CatalogDeps } from "./deps.ts";
import { agentSyncTable } from "./routes/agent-sync.ts";
import { catalogQuestions, catalogTable } from "./routes/catalog.ts";
import { CoordinateBatch } from "./coordinates.ts";
import { configQuestions, configTable } from "./routes/config.ts";
import { coordinateQuestions, coordinateTable } from "./routes/coordinate.ts";
import { chainQuestions, chainTable } from "./routes/discovery-chain.ts";
import { eventQuestions, eventTable } from "./routes/event.ts";
import { healthQuestions, healthTable } from "./routes/health.ts";
import { intentionQuestions, intentionTable } from "./routes/intentions.ts";
import { kvQuestions, kvTable } from "./routes/kv.ts";
import { memberQuestions, memberTable } from "./routes/members.ts";
import { operatorTable } from "./routes/operator.ts";
import { queryQuestions, queryTable } from "./routes/query.ts";
import { ruleHolderPeerTable, ruleHolderTable } from "./routes/rule-holders.ts";
import { sessionQuestions, sessionTable } from "./routes/session.ts";
import { snapshotQuestions, snapshotTable } from "./routes/snapshot.ts";
import { statusTable } from "./routes/status.ts";
import { CriticalReaper } from "./reaper.ts";
import { QueryIndex } from "./queries/index.ts";
import { txnTable } from "./routes/txn.ts";
import { uiQuestions, uiTable } from "./routes/ui.ts";
import { createLeaseServer, type LeaseServer } from "./members/lease-server.ts";
import { Members } from "./members/members.ts";
import { DEFAULT_RECONNECT_TIMEOUT_MS } from "./members/suspicion.ts";
import { createExternalServer, type ExternalServer } from "./external/external-server.ts";
import { runsOn } from "./runs-on.ts";
import { LockDelays, SessionTimers } from "./session-timers.ts";
import { RuleHolders } from "./rule-holders.ts";
import { createLocalStream, type LocalStream } from "./local-stream.ts";
import { StatusTimes } from "./status-times.ts";
import { CatalogState } from "./state.ts";
import { createStreamServer, type StreamServer } from "./stream.ts";

export interface CatalogOptions {
  store: Store;
  /** The servers that share the store; `store.join` gives it. */
  cluster: Cluster;
  datacenter: string;
  dnsDomain: string;
  nodeName: string;
  /** Of the cluster; undefined while the CA has not said it. */
  trustDomain: () => string | undefined;
  /** Reads of other daemons that the stream carries beside its own, by path. */
  beside?: () => Readonly<Record<string, Followable>>;
  defaultIntentionPolicy: "allow" | "deny";
  kvMaxValueSize: number;
  txnMaxReqLen: number;
  sessionTtlMinMs: number;
  /** Config entries that are to be there from the start; one that is there already stays as it is. */
  configEntries?: readonly ConfigEntry[];
  /** How long a failed node stays before it is taken out of the catalog; 72 h by default. */
  reconnectTimeoutMs?: number;
  /** Tells the other catalogs what an agent has told this one; a row of their `peerTable`. */
  tellOthers?: (path: string, body: unknown) => void;
  clock?: Clock;
  log: Logger;
}

export interface Catalog extends AsyncDisposable {
  /** The rows of the public API that the catalog answers. */
  readonly table: ApiTable;
  /** Rows of the internal API for the other catalogs of the mesh. */
  readonly peerTable: ApiTable;
  /** What can be followed on the stream. */
  readonly questions: Record<string, Ask>;
  readonly stream: StreamServer;
  /** The stream for daemons of the same process. */
  readonly localStream: LocalStream;
  readonly state: CatalogState;
  /** Who is alive, and the connections by which agents say so. */
  readonly members: Members;
  readonly leases: LeaseServer;
  /** Those who probe nodes without an agent. */
  readonly externals: ExternalServer;
  /** Whether a service, or a proxy of it, is registered on a node. */
  runsOn(node: string, service: string): boolean;
  /** Loads what the stored records need, before anybody asks. */
  prepare(): Promise<void>;
  health(): Record<string, Health>;
  close(): Promise<void>;
}

async function bootstrapEntry({ state, datacenter }: CatalogDeps, entry: ConfigEntry, i: number): Promise<void> {
  try {
    await state.store.run(setConfigEntry(entry, { cas: 0, datacenter, now: new Date() }));
  } catch (cause) {
    throw new InvalidArgumentError(`cannot store config_entries.bootstrap[${i}] (${entry.Kind}/${entry.Name})`, {
      cause,
    });
  }
}

/** Builds the catalog over an open store; closing it closes the store. */
export function createCatalog(options: CatalogOptions): Catalog {
  const { store, cluster, log } = options;
  const clock = options.clock ?? systemClock;
  const members = new Members({
    ...{ store, cluster, clock, reconnectTimeoutMs: options.reconnectTimeoutMs ?? DEFAULT_RECONNECT_TIMEOUT_MS },
    log: log.child("members"),
  });
  const reaper = new CriticalReaper({
    ...{ store, cluster, clock, log: log.child("reaper") },
    askAgent: (node, ask) => members.askToDeregister(node, ask),
  });
  const deps: CatalogDeps = {
    state: new CatalogState(store),
    datacenter: options.datacenter,
    dnsDomain: options.dnsDomain,
    nodeName: options.nodeName,
    cluster,
    trustDomain: options.trustDomain,
    defaultIntentionPolicy: options.defaultIntentionPolicy,
    limits: { kvMaxValueSize: options.kvMaxValueSize, txnMaxReqLen: options.txnMaxReqLen },
    sessionTtlMinMs: options.sessionTtlMinMs,
    lockDelays: new LockDelays(store, clock),
    members,
    reaper,
    statusTimes: new StatusTimes(store, clock),
    ruleHolders: new RuleHolders(clock),
    tellOthers: options.tellOthers ?? (() => {}),
    queries: new QueryIndex(store, log.child("queries")),
    sessionTimers: new SessionTimers({ store, cluster, clock, log }),
    log,
  };
  const questions: Record<string, Ask> = {
    ...catalogQuestions(deps),
    ...healthQuestions(deps),
    ...kvQuestions(deps),
    ...sessionQuestions(deps),
    ...snapshotQuestions(deps),
    ...intentionQuestions(deps),
    ...coordinateQuestions(deps),
    ...eventQuestions(deps),
    ...memberQuestions(deps),
    ...queryQuestions(deps),
    ...uiQuestions(deps),
    ...configQuestions(deps),
    ...chainQuestions(deps),
  };
  const { beside = () => ({}) } = options;
  const stream = createStreamServer({ state: deps.state, questions, beside, log: log.child("stream") });
  const leases = createLeaseServer({ members: deps.members, log: log.child("members") });
  const externals = createExternalServer({ state: deps.state, cluster, clock, log: log.child("external") });
  const coordinates = new CoordinateBatch({ store, log });
  const close = async () => {
    members.close();
    reaper.close();
    leases.close();
    externals.close();
    stream.close();
    coordinates.close();
    deps.sessionTimers.close();
    await store.close();
  };
  return {
    state: deps.state,
    members: deps.members,
    leases,
    externals,
    runsOn: (node, service) => runsOn(deps.state, node, service),
    questions,
    stream,
    localStream: createLocalStream({ state: deps.state, questions }),
    table: {
      ...catalogTable(deps),
      ...agentSyncTable(deps),
      ...healthTable(deps),
      ...kvTable(deps),
      ...sessionTable(deps),
      ...intentionTable(deps),
      ...coordinateTable(deps, coordinates),
      ...eventTable(deps),
      ...memberTable(deps),
      ...operatorTable(deps),
      ...queryTable(deps),
      ...ruleHolderTable(deps),
      ...snapshotTable(deps),
      ...statusTable(deps),
      ...txnTable(deps),
      ...uiTable(deps),
      ...configTable(deps),
      ...chainTable(deps),
    },
    peerTable: ruleHolderPeerTable(deps),
    prepare: async () => {
      await deps.queries.prepare();
      for (const [i, entry] of (options.configEntries ?? []).entries()) await bootstrapEntry(deps, entry, i);
    },
    health: () => ({ store: { started: true, live: true, ready: true, details: `revision ${store.revision}` } }),
    close,
    [Symbol.asyncDispose]: close,
  };
}
