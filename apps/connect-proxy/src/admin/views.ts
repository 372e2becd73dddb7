/** What `heddle proxy` shows, as one thread sees it. No key is in it, and no byte of what connections carry. */
import { X509Certificate } from "node:crypto";
import { type Carrier, type Connection, formatHostPort } from "@heddle/data-plane";

export interface CarriedView {
  Proxy: string;
  Inbound: number;
  Outbound: number;
  TunnelsIn: number;
  TunnelsOut: number;
}

export interface ConnectionView {
  Proxy: string;
  Thread: number;
  Direction: "inbound" | "outbound";
  Source: string;
  Destination: string;
  SourceURI: string;
  DestinationURI: string;
  /** Address of the other machine. */
  Peer: string;
  AgeSeconds: number;
  BytesIn: number;
  BytesOut: number;
  TLS: string;
  Rule: string;
}

export interface InstanceView {
  Proxy: string;
  Listener: string;
  Address: string;
  ID: string;
  Node: string;
  Weight: number;
  /** Open connections to it. */
  Active: number;
  /** In a row. */
  Failures: number;
  /** How long it is left out still; 0 where it is not. */
  LeftOutMs: number;
}

export function viewCarried({ all }: Carrier): CarriedView[] {
  return [...all].map(({ id, table, proxy }) => {
    const { inbound, outbound } = proxy.tunnels();
    const count = (direction: Connection["direction"]) =>
      [...table.all].filter((c) => c.direction === direction).length;
    return {
      Proxy: id,
      Inbound: count("inbound"),
      Outbound: count("outbound"),
      TunnelsIn: inbound,
      TunnelsOut: outbound,
    };
  });
}

/** The `limit` that are open longest. */
export function viewConnections({ all }: Carrier, thread: number, limit: number): ConnectionView[] {
  const now = performance.now();
  const found: ConnectionView[] = [];
  for (const { id, table } of all)
    for (const connection of table.all) {
      if (found.length >= limit) return found;
      const { direction, source, destination, sourceId, destinationId, peer, startedAt, pipe, tls, rule } = connection;
      found.push({
        Proxy: id,
        Thread: thread,
        Direction: direction,
        Source: source,
        Destination: destination,
        SourceURI: sourceId ?? "",
        DestinationURI: destinationId ?? "",
        Peer: peer,
        AgeSeconds: Math.round(now - startedAt) / 1000,
        BytesIn: pipe.bytesFromA,
        BytesOut: pipe.bytesFromB,
        TLS: tls?.text ?? "",
        Rule: rule ?? "",
      });
    }
  return found;
}

export function viewInstances({ all }: Carrier): InstanceView[] {
  const now = performance.now();
  return [...all].flatMap(({ id, proxy }) =>
    proxy.endpoints().flatMap(({ listener, instances }) =>
      instances.map(({ endpoint, active, failures, ejectedUntil }) => ({
        Proxy: id,
        Listener: listener,
        Address: formatHostPort(endpoint),
        ID: endpoint.id,
        Node: endpoint.node,
        Weight: endpoint.weight ?? 1,
        Active: active,
        Failures: failures,
        LeftOutMs: Math.max(0, Math.round(ejectedUntil - now)),
      })),
    ),
  );
}

/** The snapshots that decisions are made on, as the main thread has them. */
export function viewConfig({ all }: Carrier) {
  return [...all].map(({ id, store }) => {
    const { spec, leaf, roots, rules, endpoints, revocations } = store.current;
    return {
      Proxy: id,
      Spec: spec ?? null,
      Leaf: leaf
        ? {
            URI: leaf.uri,
            Serial: new X509Certificate(leaf.certPem).serialNumber,
            NotBefore: new Date(leaf.notBefore).toISOString(),
            NotAfter: new Date(leaf.notAfter).toISOString(),
          }
        : null,
      Roots: roots?.names ?? [],
      Rules: rules ?? null,
      Revocations: revocations ?? null,
      Endpoints: Object.fromEntries(endpoints),
    };
  });
}

/** Instances that several threads know, each once: connections are added up, the worst of the rest counts. */
export function mergeInstances(views: InstanceView[]): InstanceView[] {
  const merged = new Map<string, InstanceView>();
  for (const view of views) {
    const key = JSON.stringify([view.Proxy, view.Listener, view.Address, view.ID, view.Node]);
    const known = merged.get(key);
    if (!known) merged.set(key, { ...view });
    else {
      known.Active += view.Active;
      known.Failures = Math.max(known.Failures, view.Failures);
      known.LeftOutMs = Math.max(known.LeftOutMs, view.LeftOutMs);
    }
  }
  return [...merged.values()];
}
