export { changedWithoutReload, formatAgentFlags, loadAgentConfig } from "./config/index.ts";
export { hasJoined } from "./join/identity-file.ts";
export { openNodeIdentity } from "./join/node-identity.ts";
export { leaveOnSignal } from "./leave.ts";
export { nodeId } from "./node-id.ts";
export { start } from "./server.ts";
export type { AgentConfig } from "./config/index.ts";
export type { NodeIdentity } from "./join/node-identity.ts";
export type { AgentStartDeps, RunningAgent } from "./server.ts";
