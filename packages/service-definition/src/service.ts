import type { ParseOptions } from "./api.ts";
import type { NodeService, ServiceDefinition } from "./types.ts";

/** Parses the body of `/v1/agent/service/register` (source "api", the default) or a `service` block of a file. */
export function parseServiceDefinition(_input: unknown, _options: ParseOptions = {}): ServiceDefinition {
  throw new Error("being written");
}
/** What is wrong with metadata, as Consul words it ("Key contains invalid characters", …); undefined: nothing. */
export function validateMeta(_meta: Record<string, string>): string | undefined {
  throw new Error("being written");
}
/** What is wrong with a proxy, gateway or sidecar, one problem each, as Consul words it. */
export function validateNodeService(_service: NodeService): string[] {
  throw new Error("being written");
}
