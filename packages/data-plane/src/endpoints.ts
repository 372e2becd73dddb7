/** The instances of an upstream, and in which order one connection tries them. Pure: the socket code asks. */
import type { HostPort } from "./spec.ts";

export interface Endpoint extends HostPort {
  /** Service instance and node, for logs. */
  id: string;
  node: string;
  /** Its share of the load; 1 where absent. */
  weight?: number;
  /** Where a query chose the service: which one has to answer there, and in which datacenter. */
  service?: { name: string; datacenter: string };
}

/** One entry of `/v1/health/connect/:service`, as far as a proxy reads it. */
export interface HealthEntry {
  Node?: { Node?: string; Address?: string; Datacenter?: string };
  Service?: {
    ID?: string;
    Kind?: string;
    Service?: string;
    Address?: string;
    Port?: number;
    Weights?: { Passing?: number };
    Proxy?: { DestinationServiceName?: string };
  };
}

/** The answer of `/v1/query/:name/execute`, as far as a proxy reads it. */
export interface QueryAnswer {
  Nodes?: HealthEntry[] | null;
  Datacenter?: string;
}

/** Entries without an address or a port cannot be dialled and are left out. */
export function toEndpoints(entries: HealthEntry[]): Endpoint[] {
  const found: Endpoint[] = [];
  for (const { Node, Service } of entries) {
    const host = Service?.Address || Node?.Address || "";
    const port = Service?.Port ?? 0;
    if (host === "" || port < 1 || port > 65_535) continue;
    const weight = Service?.Weights?.Passing ?? 1;
    found.push({ host, port, id: Service?.ID ?? "", node: Node?.Node ?? "", ...(weight > 1 && { weight }) });
  }
  return found;
}

/** The endpoints of a prepared query's answer, each with the service that it stands for. */
export function toQueryEndpoints({ Nodes, Datacenter = "" }: QueryAnswer): Endpoint[] {
  return (Nodes ?? []).flatMap((entry) => {
    const { Kind, Service: own = "", Proxy } = entry.Service ?? {};
    const name = Kind === "connect-proxy" ? (Proxy?.DestinationServiceName ?? "") : own;
    if (name === "") return [];
    const datacenter = entry.Node?.Datacenter || Datacenter;
    return toEndpoints([entry]).map((endpoint) => ({ ...endpoint, service: { name, datacenter } }));
  });
}

/** A random order, so that load spreads and a dead instance is not everybody's first choice. */
export function pickOrder<T>(endpoints: readonly T[], random: () => number = Math.random): T[] {
  const order = [...endpoints];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j] as T, order[i] as T];
  }
  return order;
}

const MIN_ATTEMPT_MS = 200;
const DOUBTFUL_ATTEMPT_MS = 1_000; // three round trips to the far side of the earth

/**
 * How long the next endpoint gets: an even share of what is left, so that a silent one leaves time for the rest. One that has failed
 * again and again gets a second, where others follow.
 */
export function attemptBudgetMs(leftMs: number, endpointsLeft: number, isDoubtful = false): number {
  const share = Math.min(leftMs, Math.max(MIN_ATTEMPT_MS, leftMs / Math.max(1, endpointsLeft)));
  return isDoubtful && endpointsLeft > 1 ? Math.min(share, DOUBTFUL_ATTEMPT_MS) : share;
}
