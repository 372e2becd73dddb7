/** From definitions to what the catalog holds and what answers show. Tokens stay behind in the definition. */
import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { checkType } from "./check.ts";
import type {
  AgentService,
  CheckDefinition,
  HealthCheck,
  NodeService,
  ServiceAddress,
  ServiceDefinition,
} from "./types.ts";
import { hasProxy } from "./validate.ts";

/** The service as the catalog holds it; its tagged addresses have the defaults that Consul's agent adds. */
export function toNodeService(service: ServiceDefinition): NodeService {
  const node: NodeService = {
    ID: service.ID,
    Service: service.Name,
    Tags: service.Tags,
    Address: service.Address,
    Meta: service.Meta,
    Port: service.Port,
    Weights: service.Weights,
    EnableTagOverride: service.EnableTagOverride,
  };
  if (service.Kind) node.Kind = service.Kind;
  if (service.SocketPath) node.SocketPath = service.SocketPath;
  const addresses = withDefaults(service);
  if (Object.keys(addresses).length > 0) node.TaggedAddresses = addresses;
  if (service.Proxy) node.Proxy = service.Proxy;
  if (service.Connect?.Native) node.Connect = { Native: true };
  return node;
}

/** `lan_ipv4`, `wan_ipv4` or their v6 twins are the service's own address, unless given. */
function withDefaults({ Address, Port, TaggedAddresses }: ServiceDefinition): Record<string, ServiceAddress> {
  const family = isIP(Address);
  if (family === 0) return TaggedAddresses;
  const version = family === 4 || Address.toLowerCase().startsWith("::ffff:") ? "ipv4" : "ipv6";
  const own = { Address, Port };
  return { [`lan_${version}`]: own, [`wan_${version}`]: own, ...TaggedAddresses };
}

/** The check as the catalog holds it, critical unless the definition says otherwise. */
export function toHealthCheck(
  nodeName: string,
  check: CheckDefinition,
  service?: Pick<ServiceDefinition, "Name" | "Tags">,
): HealthCheck {
  return {
    Node: nodeName,
    CheckID: check.CheckID,
    Name: check.Name,
    Status: check.Status ?? "critical",
    Notes: check.Notes,
    Output: "",
    ServiceID: check.ServiceID,
    ServiceName: service?.Name ?? "",
    ServiceTags: service ? [...service.Tags] : [],
    Type: check.Type ?? checkType(check),
    // Consul's agent keeps the definition to itself; only what is registered with the catalog directly shows one.
    Definition: {},
  };
}

/** The JSON of `/v1/agent/services`; `/v1/agent/service/:id` adds `ContentHash`. */
export function toAgentService(service: NodeService | ServiceDefinition): AgentService {
  const node = "Service" in service ? service : toNodeService(service);
  const shown: AgentService = {
    ...(node.Kind && { Kind: node.Kind }),
    ID: node.ID,
    Service: node.Service,
    Tags: node.Tags,
    Meta: node.Meta,
    Port: node.Port,
    Address: node.Address,
    Weights: node.Weights,
    EnableTagOverride: node.EnableTagOverride,
  };
  if (node.SocketPath) shown.SocketPath = node.SocketPath;
  if (node.TaggedAddresses && Object.keys(node.TaggedAddresses).length > 0)
    shown.TaggedAddresses = node.TaggedAddresses;
  if (hasProxy(node.Kind ?? "")) shown.Proxy = { MeshGateway: {}, Expose: {}, ...node.Proxy };
  if (node.Connect?.Native) shown.Connect = { Native: true };
  return shown;
}

/** 16 hex digits that change whenever what `toAgentService` shows does: `X-Consul-ContentHash`. */
export function contentHash(service: NodeService | ServiceDefinition): string {
  return createHash("sha256")
    .update(canonicalJson(toAgentService(service)))
    .digest("hex")
    .slice(0, 16);
}

/** JSON with sorted keys. */
function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(",")}}`;
}
