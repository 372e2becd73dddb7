/** What runs on a node, for the CA: agents get certificates for that and nothing else. */
import type { CatalogState } from "./state.ts";

/** Whether a service of this name, or a proxy of one, is registered on the node. */
export const runsOn = (state: CatalogState, node: string, service: string): boolean =>
  state
    .servicesOf(node)
    .some(({ value: { Service } }) => Service.Service === service || Service.Proxy?.DestinationServiceName === service);
