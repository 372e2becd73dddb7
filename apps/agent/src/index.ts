export { changedWithoutReload, formatAgentFlags, loadAgentConfig } from "./config/index.ts";
export { leaveOnSignal } from "./leave.ts";
export { nodeId } from "./node-id.ts";
export { start } from "./server.ts";
export type { AgentConfig } from "./config/index.ts";
export type { AgentStartDeps, RunningAgent } from "./server.ts";
