/** The parts of a data plane put together: watches fill a snapshot, the snapshot decides, and connections are counted and told of. */
import type { ApiClient } from "@heddle/api-client";
import type { Logger } from "@heddle/daemon";
import type { Registry } from "prom-client";
import { type AgentLink, createAgentLink } from "./agent-link.ts";
import { createCarrier } from "./carrier.ts";
import type { ConnectionTable } from "./connections.ts";
import { createDecisionReports } from "./decision-reports.ts";
import { type FollowDeps, followAgent } from "./follow.ts";
import type { Proxy, ProxyDeps } from "./proxy.ts";
import { createSnapshotStore, type SnapshotStore } from "./snapshot.ts";

export interface DataPlaneDeps extends Pick<ProxyDeps, "listeners" | "openService">, Pick<FollowDeps, "origin"> {
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
export function startDataPlane({ client, registry, log, origin, ...deps }: DataPlaneDeps): DataPlane {
  const store = createSnapshotStore();
  const link = createAgentLink(log);
  const reports = createDecisionReports(client);
  const carrier = createCarrier({ registry, log, reports, awayMs: () => link.awayMs });
  const { table, proxy } = carrier.carry({ id: "proxyId" in origin ? origin.proxyId : "", store, ...deps });
  const unfollow = followAgent({ client, store, link, log, origin });
  return {
    store,
    link,
    table,
    proxy,
    async [Symbol.asyncDispose]() {
      carrier.close();
      await unfollow();
      await reports.close();
    },
  };
}
