/** Consul's rules for a service, in Consul's words. */
import { isIP } from "node:net";
import type { NodeService, ProxyConfig, Upstream, Weights } from "./types.ts";

const MAX_META_PAIRS = 64;
const MAX_META_KEY_BYTES = 128;
const MAX_META_VALUE_BYTES = 512;
/** Consul has no limit; a name is a DNS label, part of a certificate and a metric label, so it gets one. */
const MAX_NAME_BYTES = 512;
/** The one reserved key that a registration may carry, and for which kind. */
const ALLOWED_RESERVED_META: Record<string, string> = { "consul-wan-federation": "mesh-gateway" };

/** What is wrong with metadata ("Key contains invalid characters", …); undefined: nothing. */
export function validateMeta(meta: Record<string, string>, kind = ""): string | undefined {
  if (Object.keys(meta).length > MAX_META_PAIRS)
    return `Node metadata cannot contain more than ${MAX_META_PAIRS} key/value pairs`;
  for (const [key, value] of Object.entries(meta)) {
    const problem = validateMetaPair(key, value, kind);
    if (problem !== undefined) return `Couldn't load metadata pair ('${key}', '${value}'): ${problem}`;
  }
  return undefined;
}

function validateMetaPair(key: string, value: string, kind: string): string | undefined {
  if (key === "") return "Key cannot be blank";
  if (!/^[a-zA-Z0-9_-]+$/.test(key)) return "Key contains invalid characters";
  if (Buffer.byteLength(key) > MAX_META_KEY_BYTES) return `Key is too long (limit: ${MAX_META_KEY_BYTES} characters)`;
  if (key.startsWith("consul-") && (ALLOWED_RESERVED_META[key] === undefined || ALLOWED_RESERVED_META[key] !== kind))
    return "Key prefix 'consul-' is reserved for internal use";
  if (Buffer.byteLength(value) > MAX_META_VALUE_BYTES)
    return `Value is too long (limit: ${MAX_META_VALUE_BYTES} characters)`;
  return undefined;
}

export function validateWeights(weights: Weights): string | undefined {
  if (weights.Passing < 1) return "Passing must be greater than 0";
  if (weights.Warning < 0) return "Warning must be greater or equal than 0";
  if (weights.Passing > 65_535) return "Passing must be <= 65535";
  if (weights.Warning > 65_535) return "Warning must be <= 65535";
  return undefined;
}

/** Control characters and endless names; anything else is Consul's to allow. */
export function validateName(what: string, name: string): string | undefined {
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(name)) return `Invalid ${what}: control characters are not accepted`;
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `Invalid ${what}: longer than ${MAX_NAME_BYTES} bytes`;
  return undefined;
}

/** An address that says "every address", which nobody could dial. */
export function isAnyAddress(address: string): boolean {
  return ["0.0.0.0", "::", "[::]"].includes(address) || (isIP(address) === 6 && /^[0:]+$/.test(address));
}

const GATEWAYS = new Set(["mesh-gateway", "terminating-gateway", "ingress-gateway", "api-gateway"]);

/** True for the kinds whose `Proxy` Consul shows. */
export function hasProxy(kind: string): boolean {
  return kind === "connect-proxy" || GATEWAYS.has(kind);
}

/** What is wrong with a proxy, a gateway or a native service, one problem each. */
export function validateNodeService(
  service: Pick<NodeService, "Kind" | "Port" | "Proxy" | "Connect" | "SocketPath">,
): string[] {
  const kind = service.Kind ?? "";
  if (kind === "connect-proxy") return validateProxy(service);
  if (GATEWAYS.has(kind)) return validateGateway(kind, service);
  return [];
}

function validateProxy(service: Pick<NodeService, "Port" | "Proxy" | "Connect" | "SocketPath">): string[] {
  const problems: string[] = [];
  const proxy = service.Proxy ?? {};
  if (!proxy.DestinationServiceName?.trim())
    problems.push("Proxy.DestinationServiceName must be non-empty for Connect proxy services");
  if (proxy.DestinationServiceName === "*")
    problems.push("Proxy.DestinationServiceName must not be a wildcard for Connect proxy services");
  if (service.Port === 0 && !service.SocketPath) problems.push("Port must be set for a Connect proxy");
  if (service.Connect?.Native) problems.push("A Proxy cannot also be Connect Native, only typical services");
  return [...problems, ...validateUpstreams(proxy.Upstreams ?? []), ...validateExpose(proxy)];
}

function validateUpstreams(upstreams: Upstream[]): string[] {
  const problems: string[] = [];
  const names = new Set<string>();
  const addresses = new Set<string>();
  for (const upstream of upstreams) {
    const type = upstream.DestinationType || "service";
    const problem = validateUpstream(type, upstream);
    if (problem !== undefined) {
      problems.push(problem);
      continue;
    }
    const name = `[type="${type}", name="${upstream.DestinationName}", namespace="${upstream.DestinationNamespace ?? ""}", datacenter="${upstream.Datacenter ?? ""}"]`;
    const address =
      upstream.LocalBindSocketPath || `${upstream.LocalBindAddress || "127.0.0.1"}:${upstream.LocalBindPort}`;
    if (names.has(name)) problems.push(`upstreams cannot contain duplicates of ${name}`);
    else if (addresses.has(address))
      problems.push(
        `upstreams cannot contain duplicates by local bind address and port${upstream.LocalBindSocketPath ? " or unix path" : ""}; "${address}" is specified twice`,
      );
    names.add(name);
    addresses.add(address);
  }
  return problems;
}

function validateUpstream(type: string, upstream: Upstream): string | undefined {
  if (type !== "service" && type !== "prepared_query") return `unknown upstream destination type: "${type}"`;
  if (!upstream.DestinationName) return "upstream destination name cannot be empty";
  if (upstream.DestinationName === "*") return "upstream destination name cannot be a wildcard";
  if (!upstream.LocalBindPort && !upstream.LocalBindSocketPath) return "upstream local bind port cannot be zero";
  if (upstream.LocalBindPort && upstream.LocalBindSocketPath)
    return "only one of upstream local bind port or local socket path can be defined and nonzero";
  return undefined;
}

function validateExpose(proxy: ProxyConfig): string[] {
  const problems: string[] = [];
  const paths = new Set<string>();
  const ports = new Set<number>();
  for (const { Path: path = "", ListenerPort: port = 0, Protocol: protocol = "" } of proxy.Expose?.Paths ?? []) {
    if (path === "") problems.push("expose.paths: empty path exposed");
    if (paths.has(path)) problems.push("expose.paths: duplicate paths exposed");
    if (ports.has(port)) problems.push("expose.paths: duplicate listener ports exposed");
    if (port <= 0 || port > 65_535) problems.push(`expose.paths: invalid listener port: ${port}`);
    if (!["", "http", "http2"].includes(protocol.toLowerCase()))
      problems.push(`protocol '${protocol}' not supported for path: ${path}, must be in: [http http2]`);
    paths.add(path);
    ports.add(port);
  }
  return problems;
}

function validateGateway(kind: string, service: Pick<NodeService, "Port" | "Proxy">): string[] {
  const problems: string[] = [];
  const proxy = service.Proxy ?? {};
  if (service.Port === 0 && kind !== "ingress-gateway" && kind !== "api-gateway")
    problems.push(`Port must be non-zero for a ${kind}`);
  const given: [string, unknown][] = [
    ["DestinationServiceName", proxy.DestinationServiceName],
    ["DestinationServiceID", proxy.DestinationServiceID],
    ["LocalServiceAddress", proxy.LocalServiceAddress],
    ["LocalServicePort", proxy.LocalServicePort],
    ["Upstreams", proxy.Upstreams?.length],
  ];
  for (const [key, value] of given) if (value) problems.push(`The Proxy.${key} configuration is invalid for a ${kind}`);
  return problems;
}
