/** The protocol of a service, which all services of a chain have in common. */
import { DEFAULT_PROTOCOL, PROXY_DEFAULTS_NAME } from "@heddle/config-entries";
import type { ChainEntries } from "./request.ts";

const HTTP_LIKE = new Set(["grpc", "http", "http2"]);

/** Whether requests of a protocol can be told apart, so that they can be routed and split. */
export function isHttpLike(protocol: string): boolean {
  return HTTP_LIKE.has(protocol.toLowerCase());
}

/** In lower case. A service's own defaults that name none mean tcp, whatever those of all proxies say. */
export function protocolOf(entries: ChainEntries, service: string): string {
  const own = entries("service-defaults", service);
  const named = own ? own.Protocol : commonProtocol(entries("proxy-defaults", PROXY_DEFAULTS_NAME)?.Config);
  return named ? named.toLowerCase() : DEFAULT_PROTOCOL;
}

// The settings are opaque, so the key may be in any case and its value of any type; one that is no text counts for nothing.
function commonProtocol(config: Record<string, unknown> | null | undefined): string {
  if (!config) return "";
  const key = Object.hasOwn(config, "protocol")
    ? "protocol"
    : Object.keys(config).find((name) => name.toLowerCase() === "protocol");
  const value = key === undefined ? undefined : config[key];
  return typeof value === "string" ? value : "";
}
