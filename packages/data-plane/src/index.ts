export { createAgentLink } from "./agent-link.ts";
export { createCarrier } from "./carrier.ts";
export { countKey, createSharedCounts, forgetThread, sharedMemory } from "./counts.ts";
export { createDecisionReports } from "./decision-reports.ts";
export { startDataPlane } from "./data-plane.ts";
export { ACCEPT_OPTIONS, asUnix, dialAddress, ONE_CHUNK } from "./dial.ts";
export { followAgent } from "./follow.ts";
export { RefusedError } from "./refusal.ts";
export { keepRegistered } from "./registration.ts";
export { resetSocket } from "./reset.ts";
export { createSnapshotStore } from "./snapshot.ts";
export { toLeaf, toRoots } from "./sources.ts";
export {
  DEFAULT_BIND_ADDRESS,
  DEFAULT_CONNECT_TIMEOUT_MS,
  DEFAULT_HANDSHAKE_TIMEOUT_MS,
  DEFAULT_LOCAL_CONNECT_TIMEOUT_MS,
  DEFAULT_MAX_CONNECTIONS,
  DEFAULT_MAX_HANDSHAKES_PER_SOURCE,
  DEFAULT_SOCKET_MODE,
  DEFAULT_UPSTREAM_BIND_ADDRESS,
  formatAddress,
  formatHostPort,
  parseHostPort,
  upstreamListenerName,
} from "./spec.ts";
export type { AgentLink } from "./agent-link.ts";
export type { Instance } from "./balance.ts";
export type { Carried, Carrier } from "./carrier.ts";
export type { Connection, ConnectionTable, Direction, Parties } from "./connections.ts";
export type { SharedCounts } from "./counts.ts";
export type { DataPlane, DataPlaneDeps } from "./data-plane.ts";
export type { DecisionReports } from "./decision-reports.ts";
export type { Endpoint } from "./endpoints.ts";
export type { Outbound } from "./outbound.ts";
export type { PlainSocket } from "./pipe.ts";
export type { Proxy, ProxyDeps, StandingListeners, WantedListener } from "./proxy.ts";
export type { Refusal, RefusalCode } from "./refusal.ts";
export type { Leaf, Roots, Rules, Snapshot, SnapshotPart, SnapshotStore } from "./snapshot.ts";
export type { Address, AgentService, HostPort, ProxySpec, PublicSpec, UpstreamSpec } from "./spec.ts";
