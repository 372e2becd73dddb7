export { checkType, parseCheckDefinition } from "./check.ts";
export { contentHash, toAgentService, toHealthCheck, toNodeService } from "./convert.ts";
export { jsonSchema } from "./json-schema.ts";
export { parseServiceDefinition, validateMeta, validateNodeService } from "./service.ts";
export { expandSidecar, sidecarId } from "./sidecar.ts";
export type { ParseOptions } from "./api.ts";
export type {
  AgentService,
  CheckDefinition,
  CheckStatus,
  CheckType,
  ExposedPath,
  HealthCheck,
  Node,
  NodeService,
  ProxyConfig,
  ServiceAddress,
  ServiceDefinition,
  ServiceKind,
  Upstream,
  Weights,
} from "./types.ts";
