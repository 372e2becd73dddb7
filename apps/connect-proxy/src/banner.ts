/** What the proxy prints before its log begins: the lines that `consul connect proxy` prints. */
import { DEFAULT_UPSTREAM_BIND_ADDRESS, formatAddress, formatHostPort, type HostPort } from "@heddle/data-plane";
import type { ProxySource } from "./config.ts";

export const STARTING = "==> Heddle Connect proxy starting...";
export const LOG_FOLLOWS = "\n==> Log data will now stream in as it occurs:\n";
export const SHUTDOWN = "==> Heddle Connect proxy shutdown";

/** The configuration, one right-aligned line each. `proxyId` is what a sidecar was found to be. */
export function configurationLines(source: ProxySource, proxyId: string): string[] {
  if (source.mode === "node") return [line("Configuration mode", "Agent API"), line("Sidecars", "all of the node")];
  if (source.mode !== "flags") {
    const sidecar = source.mode === "sidecar" ? [line("Sidecar for ID", source.serviceId)] : [];
    return [line("Configuration mode", "Agent API"), ...sidecar, line("Proxy ID", proxyId)];
  }
  const { spec } = source;
  const upstreams = spec.upstreams.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return [
    line("Configuration mode", "Flags"),
    line("Service", spec.service),
    ...upstreams.map((u) => line("Upstream", `${u.name} => ${asGiven(u.bind, DEFAULT_UPSTREAM_BIND_ADDRESS)}`)),
    line(
      "Public listener",
      spec.public ? `${asGiven(spec.public.bind, "0.0.0.0")} => ${formatAddress(spec.public.local)}` : "Disabled",
    ),
  ];
}

function line(label: string, value: string): string {
  return `${label.padStart(22)}: ${value}`;
}

function asGiven(at: HostPort, initial: string): string {
  return formatHostPort(at.host === initial ? { host: "", port: at.port } : at);
}
