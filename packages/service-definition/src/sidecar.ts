/** The macro `connect { sidecar_service {} }`: a service's proxy, registered with it. */
import { isIPv6 } from "node:net";
import { type RawService, toChecks, toServiceDefinition } from "./definition.ts";
import type { CheckDefinition, ProxyConfig, ServiceDefinition } from "./types.ts";

const SIDECAR_CHECK_INTERVAL_MS = 10_000; // Consul's

/** The id of the sidecar that `connect.sidecar_service` of this service makes. */
export const sidecarId = (serviceId: string): string => `${serviceId}-sidecar-proxy`;

/**
 * The sidecar's own definition, or undefined where there is no `sidecar_service`. `allocatePort` is asked, with the sidecar's
 * id, where no port is given. The service must have been parsed, so that its sidecar is known to be valid.
 */
export function expandSidecar(
  service: ServiceDefinition,
  allocatePort: (sidecarId: string) => number,
): ServiceDefinition | undefined {
  const raw = service.Connect?.SidecarService as RawService | undefined;
  if (!raw) return undefined;
  const given = toServiceDefinition(raw, "file");
  const id = sidecarId(service.ID);
  const name = given.Name || `${service.Name}-sidecar-proxy`;
  const sidecar: ServiceDefinition = {
    ...given,
    ID: id,
    Name: name,
    Kind: given.Kind || "connect-proxy",
    Port: given.Port > 0 ? given.Port : allocatePort(id),
    Tags: given.Tags.length > 0 ? given.Tags : [...service.Tags],
    Meta: Object.keys(given.Meta).length > 0 ? given.Meta : { ...service.Meta },
    Address: given.Address || service.Address,
    Token: given.Token || service.Token,
    Proxy: {
      MeshGateway: {},
      Expose: {},
      ...given.Proxy,
      DestinationServiceName: given.Proxy?.DestinationServiceName || service.Name,
      DestinationServiceID: given.Proxy?.DestinationServiceID || service.ID,
      ...localService(given.Proxy, service),
    },
  };
  if (!sidecar.Proxy?.LocalServicePort) delete sidecar.Proxy?.LocalServicePort;
  const checks = toChecks(raw, id, name);
  return { ...sidecar, Checks: checks.length > 0 ? checks : defaultChecks(sidecar, service.ID) };
}

/** Where the sidecar reaches its service: as given, or where the service says that it listens. */
function localService(given: ProxyConfig = {}, service: ServiceDefinition): Partial<ProxyConfig> {
  if (given.LocalServiceSocketPath) return {};
  const isWhole = given.LocalServiceAddress && given.LocalServicePort;
  if (service.SocketPath && !isWhole) return { LocalServiceSocketPath: service.SocketPath };
  return {
    LocalServiceAddress: given.LocalServiceAddress || "127.0.0.1",
    LocalServicePort: given.LocalServicePort || service.Port,
  };
}

/** The sidecar listens, on its own address where it has one, and its service is well. A check in the block replaces both. */
function defaultChecks(sidecar: ServiceDefinition, serviceId: string): CheckDefinition[] {
  const address = sidecar.Address || sidecar.Proxy?.LocalServiceAddress || "";
  return [
    {
      CheckID: `service:${sidecar.ID}:1`,
      Name: "Connect Sidecar Listening",
      Notes: "",
      ServiceID: sidecar.ID,
      TCP: `${isIPv6(address) ? `[${address}]` : address}:${sidecar.Port}`,
      IntervalMs: SIDECAR_CHECK_INTERVAL_MS,
    },
    {
      CheckID: `service:${sidecar.ID}:2`,
      Name: `Connect Sidecar Aliasing ${serviceId}`,
      Notes: "",
      ServiceID: sidecar.ID,
      AliasService: serviceId,
    },
  ];
}
