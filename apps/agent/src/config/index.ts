export { AGENT_FLAGS, formatAgentFlags } from "./flags.ts";
export { loadAgentConfig } from "./load.ts";
export { changedWithoutReload } from "./reload.ts";
export type { AgentFlag } from "./flags.ts";
export type { LoadOptions } from "./load.ts";
export type {
  AclConfig,
  AgentConfig,
  AgentPorts,
  DnsConfig,
  HttpConfig,
  LimitsConfig,
  Policy,
  TelemetryConfig,
  TlsConfig,
} from "./types.ts";
