/** Which gateways serve which services, by the config entries: what a change of a gateway or of a service makes others answer anew. */
import type { IngressGatewayEntry, TerminatingGatewayEntry } from "@heddle/config-entries";
import type { View } from "@heddle/store";
import { listEntries } from "./config-entries.ts";

const WILDCARD = "*";

export class GatewayLinks {
  /** Names in lower case of the services that a gateway is linked to; "*" is every service. */
  readonly #terminating = new Map<string, Set<string>>();
  readonly #ingress = new Map<string, Set<string>>();

  /** Whether what is registered decides what a gateway serves. */
  readonly hasWildcard: boolean;

  constructor(view: View) {
    for (const { value } of listEntries(view, "terminating-gateway"))
      this.#terminating.set(value.Name.toLowerCase(), linkedServices(value));
    for (const { value } of listEntries(view, "ingress-gateway"))
      this.#ingress.set(value.Name.toLowerCase(), linkedServices(value));
    const all = [...this.#terminating.values(), ...this.#ingress.values()];
    this.hasWildcard = all.some((services) => services.has(WILDCARD));
  }

  /** The terminating gateways to dial for a service; a wildcard means what is registered. */
  terminatingOf(service: string, isRegistered: () => boolean): string[] {
    return gatewaysOf(this.#terminating, service, isRegistered);
  }

  /** The ingress gateways that let callers in to a service. */
  ingressOf(service: string, isRegistered: () => boolean): string[] {
    return gatewaysOf(this.#ingress, service, isRegistered);
  }

  /** The services that a terminating gateway of this name is dialled for. */
  linkedTo(gateway: string): ReadonlySet<string> {
    return this.#terminating.get(gateway) ?? NONE;
  }

  isIngress(gateway: string): boolean {
    return this.#ingress.has(gateway);
  }
}

const NONE: ReadonlySet<string> = new Set();

/** The services of a gateway's entry, in lower case. */
export function linkedServices(entry: IngressGatewayEntry | TerminatingGatewayEntry): Set<string> {
  const services =
    entry.Kind === "ingress-gateway" ? (entry.Listeners ?? []).flatMap((l) => l.Services) : (entry.Services ?? []);
  return new Set(services.map((service) => service.Name.toLowerCase()));
}

function gatewaysOf(links: Map<string, Set<string>>, service: string, isRegistered: () => boolean): string[] {
  const found: string[] = [];
  for (const [gateway, services] of links)
    if (services.has(service) || (services.has(WILDCARD) && isRegistered())) found.push(gateway);
  return found;
}
