import type { ServiceDefinition } from "./types.ts";

/** The id of the sidecar that `connect.sidecar_service` of this service makes. */
export const sidecarId = (serviceId: string): string => `${serviceId}-sidecar-proxy`;

/** The sidecar's own definition, or undefined where there is no `sidecar_service`. `allocatePort` is asked where no port is given. */
export function expandSidecar(
  _service: ServiceDefinition,
  _allocatePort: (sidecarId: string) => number,
): ServiceDefinition | undefined {
  throw new Error("being written");
}
