export {
  checkType,
  MIN_DEREGISTER_MS,
  MIN_INTERVAL_MS,
  parseCheckDefinition,
  readCheck,
  validateCheck,
} from "./check.ts";
export { contentHash, toAgentService, toHealthCheck, toNodeService } from "./convert.ts";
export { bodySchemas } from "./body-schema.ts";
export { jsonSchema } from "./json-schema.ts";
export { multiError, Reader } from "./reader.ts";
export { parseServiceDefinition, readService } from "./service.ts";
export { expandSidecar, sidecarId } from "./sidecar.ts";
export { hasProxy, isAnyAddress, validateMeta, validateNodeService, validateWeights } from "./validate.ts";
export type { Finding, ParseOptions } from "./reader.ts";
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
