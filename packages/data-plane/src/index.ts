export { createAgentLink } from "./agent-link.ts";
export { createConnectionTable } from "./connections.ts";
export { createDecisionReports } from "./decision-reports.ts";
export { dialTcp, KEEP_ALIVE_MS, ONE_CHUNK, tcpLeg } from "./dial.ts";
export { createProxyMetrics } from "./metrics.ts";
export { createProxy } from "./proxy.ts";
export { createSnapshotStore } from "./snapshot.ts";
export { createSources, toLeaf, toRoots } from "./sources.ts";
export {
  DEFAULT_BIND_ADDRESS,
  DEFAULT_CONNECT_TIMEOUT_MS,
  DEFAULT_HANDSHAKE_TIMEOUT_MS,
  DEFAULT_LOCAL_CONNECT_TIMEOUT_MS,
  DEFAULT_MAX_CONNECTIONS,
  DEFAULT_MAX_HANDSHAKES_PER_SOURCE,
  DEFAULT_UPSTREAM_BIND_ADDRESS,
  formatHostPort,
  parseHostPort,
} from "./spec.ts";
export { createWatchSet } from "./watches.ts";
export type { Connection, ConnectionTable, Direction, Parties } from "./connections.ts";
export type { Endpoint } from "./endpoints.ts";
export type { Proxy, ProxyDeps, StandingListeners, WantedListener } from "./proxy.ts";
export type { Refusal, RefusalCode } from "./refusal.ts";
export type { Leaf, Roots, Rules, Snapshot, SnapshotPart, SnapshotStore } from "./snapshot.ts";
export type { AgentService, HostPort, ProxySpec, PublicSpec, UpstreamSpec } from "./spec.ts";
export type { WatchLoop, WatchSet } from "./watches.ts";
