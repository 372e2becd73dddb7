/** The parts of a data plane put together: watches fill a snapshot, the snapshot decides, and connections are counted and told of. */
import type { ApiClient } from "@heddle/api-client";
import type { Logger } from "@heddle/daemon";
import type { Registry } from "prom-client";
import { type AgentLink, createAgentLink } from "./agent-link.ts";
import { type ConnectionTable, createConnectionTable } from "./connections.ts";
import { createDecisionReports } from "./decision-reports.ts";
import { createProxyMetrics } from "./metrics.ts";
import { createProxy, type Proxy, type ProxyDeps } from "./proxy.ts";
import { createSnapshotStore, type SnapshotStore } from "./snapshot.ts";
import { createSources } from "./sources.ts";
import { createWatchSet } from "./watches.ts";

const RECHECK_MS = 30_000; // for what time alone changes: a root that expires

export interface DataPlaneDeps extends Pick<ProxyDeps, "listeners" | "openService" | "origin"> {
  client: ApiClient;
  registry: Registry;
  log: Logger;
}

export interface DataPlane extends AsyncDisposable {
  /** What it knows. */
  readonly store: SnapshotStore;
  /** Whether the agent answers. */
  readonly link: AgentLink;
  /** What it carries. */
  readonly table: ConnectionTable;
  readonly proxy: Proxy;
}

/** Starts watching. Whoever disposes of it has first ended what it carries. */
export function startDataPlane({ client, registry, log, ...deps }: DataPlaneDeps): DataPlane {
  const store = createSnapshotStore();
  const link = createAgentLink(log);
  const metrics = createProxyMetrics({
    registry,
    live: () => table.all,
    leaf: () => store.current.leaf,
    awayMs: () => link.awayMs,
    tunnels: () => proxy.tunnels(),
    instances: () => proxy.instances(),
  });
  const reports = createDecisionReports(client);
  const table: ConnectionTable = createConnectionTable({ log: log.child("access"), metrics, reports });
  const watches = createWatchSet((key, error) => log.error("a watch ended", { watch: key, error: String(error) }));
  const sources = createSources({ client, store, link, log });
  const proxy: Proxy = createProxy({ ...deps, store, sources, watches, table, metrics, log });
  const recheck = setInterval(() => proxy.recheck(), RECHECK_MS);
  recheck.unref();
  return {
    store,
    link,
    table,
    proxy,
    async [Symbol.asyncDispose]() {
      clearInterval(recheck);
      await watches.close();
      reports.close();
    },
  };
}
