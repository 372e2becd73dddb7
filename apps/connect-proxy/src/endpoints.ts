/** The instances of an upstream, and in which order one connection tries them. Pure: the socket code asks. */
import type { HostPort } from "./spec.ts";

export interface Endpoint extends HostPort {
  /** Service instance and node, for logs. */
  id: string;
  node: string;
}

/** One entry of `/v1/health/connect/:service`, as far as a proxy reads it. */
export interface HealthEntry {
  Node?: { Node?: string; Address?: string };
  Service?: { ID?: string; Address?: string; Port?: number };
}

/** Entries without an address or a port cannot be dialled and are left out. */
export function toEndpoints(entries: HealthEntry[]): Endpoint[] {
  const found: Endpoint[] = [];
  for (const { Node, Service } of entries) {
    const host = Service?.Address || Node?.Address || "";
    const port = Service?.Port ?? 0;
    if (host === "" || port < 1 || port > 65_535) continue;
    found.push({ host, port, id: Service?.ID ?? "", node: Node?.Node ?? "" });
  }
  return found;
}

/** A random order, so that load spreads and a dead instance is not everybody's first choice. */
export function pickOrder(endpoints: readonly Endpoint[], random: () => number = Math.random): Endpoint[] {
  const order = [...endpoints];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j] as Endpoint, order[i] as Endpoint];
  }
  return order;
}

const MIN_ATTEMPT_MS = 200;

/** How long the next endpoint gets: an even share of what is left, so that a silent one leaves time for the rest. */
export function attemptBudgetMs(leftMs: number, endpointsLeft: number): number {
  return Math.min(leftMs, Math.max(MIN_ATTEMPT_MS, leftMs / Math.max(1, endpointsLeft)));
}
