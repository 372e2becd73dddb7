import type { AgentService, CheckDefinition, HealthCheck, NodeService, ServiceDefinition } from "./types.ts";

/** The service as the catalog holds it; its tagged addresses have the defaults that Consul's agent adds. */
export function toNodeService(_service: ServiceDefinition): NodeService {
  throw new Error("being written");
}
/** The check as the catalog holds it, critical unless the definition says otherwise. */
export function toHealthCheck(
  _nodeName: string,
  _check: CheckDefinition,
  _service?: Pick<ServiceDefinition, "Name" | "Tags">,
): HealthCheck {
  throw new Error("being written");
}
/** The JSON of `/v1/agent/services`; no token is in it. */
export function toAgentService(_service: NodeService | ServiceDefinition): AgentService {
  throw new Error("being written");
}
/** 16 hex digits that change whenever the service does: `X-Consul-ContentHash`. */
export function contentHash(_service: NodeService | ServiceDefinition): string {
  throw new Error("being written");
}
