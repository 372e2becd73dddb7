/** What the defaults, the mesh and the exports must be by themselves. */
import { InvalidArgumentError } from "@heddle/daemon";
import { isIP } from "node:net";
import { EXPORTED_SERVICES_NAME } from "./kinds.ts";
import type { ProxyDefaultsEntry, ServiceDefaultsEntry } from "./types.ts";
import type { ExportedServicesEntry, MeshEntry } from "./types-mesh.ts";

const fail = (text: string): never => {
  throw new InvalidArgumentError(text);
};
const MAX_PORT = 65_535;
const BALANCES = new Set([undefined, "exact_balance"]);

export function checkServiceDefaults(entry: ServiceDefaultsEntry): void {
  if (entry.Name === "") fail("serviceName is required");
  if (!BALANCES.has(entry.BalanceInboundConnections))
    fail(`invalid value for balance_inbound_connections: ${entry.BalanceInboundConnections}`);
  const { UpstreamConfig, Destination } = entry;
  if (UpstreamConfig && Destination) fail("UpstreamConfig and Destination are mutually exclusive for service defaults");
  for (const override of UpstreamConfig?.Overrides ?? [])
    if (!override.Name) fail("error in upstream override for : Name is required");
  if (UpstreamConfig?.Defaults?.Name) fail("error in upstream defaults: Name must be empty");
  if (Destination) checkDestination(Destination);
}

function checkDestination({ Addresses = [], Port = 0 }: NonNullable<ServiceDefaultsEntry["Destination"]>): void {
  if (Addresses.length === 0) fail("Destination must contain at least one valid address");
  const seen = new Set<string>();
  for (const address of Addresses) {
    if (seen.has(address)) fail(`Duplicate address '${address}' is not allowed`);
    seen.add(address);
    const isName =
      address !== "" && !address.includes("*") && address.split(".").every((l) => l !== "" && l.length < 64);
    if (isIP(address) === 0 && !isName)
      fail(`Destination address '${address}' is invalid Could not validate address ${address} as an IP or Hostname`);
  }
  if (Port < 1 || Port > MAX_PORT) fail(`Invalid Port number ${Port}`);
}

/** Any name is taken for the one that there is. */
export function checkProxyDefaults({ Config }: ProxyDefaultsEntry): void {
  const protocol = Config?.["protocol"];
  if (protocol !== undefined && protocol !== null && typeof protocol === "object")
    fail("Config.protocol: want text, such as 'http'");
}

const TLS_VERSIONS = new Set([undefined, "TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"]);

export function checkMesh({ TLS }: MeshEntry): void {
  for (const side of ["Incoming", "Outgoing"] as const) {
    for (const key of ["TLSMinVersion", "TLSMaxVersion"] as const) {
      const version = TLS?.[side]?.[key];
      if (!TLS_VERSIONS.has(version))
        fail(
          `error in ${side.toLowerCase()} TLS configuration: ${key} ${JSON.stringify(version)} is no TLS version, want TLS_AUTO or TLSv1_0 to TLSv1_3`,
        );
    }
  }
}

export function checkExports(entry: ExportedServicesEntry): void {
  if (entry.Name !== EXPORTED_SERVICES_NAME)
    fail(`exported-services Name must be the default partition's, "default", not ${JSON.stringify(entry.Name)}`);
  for (const [i, service] of (entry.Services ?? []).entries()) {
    if (service.Name === "") fail(`Services[${i}]: service name cannot be empty`);
    if ((service.Consumers ?? []).length === 0) fail(`Services[${i}]: must have at least one consumer`);
    for (const [j, consumer] of service.Consumers.entries()) {
      if (!consumer.Peer === !consumer.Partition)
        fail(`Services[${i}].Consumers[${j}]: must define at most one of Peer or Partition`);
      if (consumer.Peer === "*" || consumer.Partition === "*")
        fail(`Services[${i}].Consumers[${j}]: exporting to all peers or partitions (wildcard) is not supported`);
    }
  }
}
