/**
 * An upstream's listener: an application's plain TCP in, mutual TLS to one instance of the service out. `serve` is the list
 * of steps; an application whose connection cannot be gets a reset, and the log says why.
 */
import type { Socket } from "node:net";
import { serviceSpiffeId } from "@heddle/spiffe";
import type { Connection, ConnectionTable, Parties } from "./connections.ts";
import { dialTcp, tcpLeg } from "./dial.ts";
import { attemptBudgetMs, type Endpoint, pickOrder } from "./endpoints.ts";
import type { Dialler, MeshLeg } from "./mesh-tls.ts";
import type { ProxyMetrics } from "./metrics.ts";
import { pipe } from "./pipe.ts";
import { PrefaceReader, readCut } from "./preface.ts";
import { messageOf, type Refusal, RefusedError } from "./refusal.ts";
import { formatHostPort, type UpstreamSpec } from "./spec.ts";
import type { Leaf } from "./snapshot.ts";

const MAX_PLAIN_PEERS = 4_096; // remembered endpoints that refuse any ALPN they do not know

export interface OutboundDeps {
  upstream: () => UpstreamSpec;
  leaf: () => Leaf;
  endpoints: () => readonly Endpoint[] | undefined;
  dialler: () => Dialler;
  table: ConnectionTable;
  metrics: ProxyMetrics;
  random?: () => number;
}

/** Handles accepted sockets. The returned function never throws. */
export function createOutbound(deps: OutboundDeps): (app: Socket) => void {
  const { table, metrics } = deps;
  const plainPeers = new Set<string>();
  let active = 0; // connections of this upstream, from their first step to their end

  async function serve(app: Socket, parties: Parties): Promise<void> {
    const upstream = deps.upstream();

    // 1. Accept, within limits.
    if (active > upstream.maxConnections)
      throw new RefusedError(
        "limit",
        `the limit of ${upstream.maxConnections} connections is reached (limits.max_connections)`,
      );

    // 2. Whom do we want? Exactly one identity, whatever address it has; a query says which at each instance.
    if (upstream.kind === "service") parties.destinationId = identityOf(upstream);

    // 3. Pick an instance and reach it, or the next, while there is time.
    const order = pickOrder(deps.endpoints() ?? [], deps.random);
    if (order.length === 0)
      throw new RefusedError(
        "no_endpoint",
        `no healthy instance of ${upstream.kind === "service" ? "" : "query "}'${upstream.name}' is known`,
      );
    const leg = await reachOne(order, parties, upstream.connectTimeoutMs);
    if (app.destroyed) {
      leg.reset();
      throw new RefusedError("closing", "the application went away");
    }

    // 4. Bytes.
    await carry(app, leg, parties);
  }

  function identityOf(wanted: { name: string; datacenter: string; namespace?: string }): string {
    const { trustDomain, datacenter } = deps.leaf();
    const { name: service, namespace = "default" } = wanted;
    return serviceSpiffeId({ trustDomain, namespace, datacenter: wanted.datacenter || datacenter, service });
  }

  async function reachOne(order: Endpoint[], parties: Parties, timeoutMs: number): Promise<MeshLeg> {
    const deadline = performance.now() + timeoutMs;
    const failures: RefusedError[] = [];
    for (const [i, endpoint] of order.entries()) {
      const left = deadline - performance.now();
      if (left <= 0) break;
      parties.peer = formatHostPort(endpoint);
      if (endpoint.service) parties.destinationId = identityOf(endpoint.service);
      try {
        return await reach(endpoint, parties.destinationId ?? "", attemptBudgetMs(left, order.length - i));
      } catch (error) {
        failures.push(error instanceof RefusedError ? error : new RefusedError("unreachable", messageOf(error)));
      }
    }
    // A wrong identity is the failure to hear about, even where another instance was merely down.
    const worst = failures.find((f) => f.code === "identity") ?? failures.at(-1);
    const more = failures.length > 1 ? ` (${failures.length} instances tried)` : "";
    throw new RefusedError(
      worst?.code ?? "unreachable",
      `${worst?.message ?? `no instance within ${timeoutMs} ms`}${more}`,
    );
  }

  async function reach(endpoint: Endpoint, spiffeId: string, budgetMs: number): Promise<MeshLeg> {
    const at = formatHostPort(endpoint);
    const startedAt = performance.now();
    const attempt = async (offerPreface: boolean): Promise<MeshLeg> => {
      const raw = await dialTcp(endpoint, budgetMs);
      metrics.connect("outbound", performance.now() - startedAt);
      const left = Math.max(1, budgetMs - (performance.now() - startedAt));
      return deps.dialler().handshake(raw, spiffeId, { timeoutMs: left, offerPreface });
    };
    const leg = await attempt(!plainPeers.has(at)).catch((error: unknown) => {
      if (!isAlpnRefusal(error)) throw error;
      if (plainPeers.size < MAX_PLAIN_PEERS) plainPeers.add(at);
      return attempt(false);
    });
    metrics.handshake("outbound", performance.now() - startedAt);
    return leg;
  }

  /** Resolves when the connection has ended. */
  function carry(app: Socket, leg: MeshLeg, parties: Parties): Promise<void> {
    parties.tls = leg.facts;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const preface = leg.speaksPreface ? new PrefaceReader() : undefined;
    let mark: Buffer | undefined;
    let refusedBy: Refusal | undefined;
    const connection: Connection = {
      ...parties,
      certificate: leg.certificate,
      pipe: pipe(tcpLeg(app), leg, {
        filter: preface && ((chunk) => (mark ? afterPreface(mark, chunk) : beforePreface(preface, chunk))),
        // A far proxy that closes before it accepted has refused us: the application must not take that for an empty answer.
        mayEnd: () => !preface || mark !== undefined,
        onEnd(end) {
          resolve();
          if (mark || !preface) return table.closed(connection, end);
          const why = end.error ? messageOf(end.error) : "it closed the connection after the handshake without a word";
          table.refused(parties, refusedBy ?? refusal(parties, "handshake", `refused by the far proxy: ${why}`));
        },
      }),
      cut(refusal) {
        connection.cutBy ??= refusal;
        connection.pipe.stop();
      },
    };
    const beforePreface = (reader: PrefaceReader, chunk: Buffer): Buffer | undefined => {
      const read = reader.push(chunk);
      switch (read.type) {
        case "incomplete":
          return undefined;
        case "accepted":
          mark = read.mark;
          table.opened(connection);
          return read.rest.length > 0 ? read.rest : undefined;
        case "refused":
          refusedBy = read.refusal;
          break;
        case "invalid":
          refusedBy = refusal(parties, "protocol", `the far proxy's preface cannot be read: ${read.why}`);
          break;
      }
      connection.pipe.stop();
      return undefined;
    };
    const afterPreface = (known: Buffer, record: Buffer): Buffer | undefined => {
      const cut = readCut(known, record);
      if (!cut) return record;
      connection.cut(cut);
      return undefined;
    };
    if (!preface) table.opened(connection);
    return ended;
  }

  return (app) => {
    const { uri, service } = deps.leaf();
    const parties: Parties = {
      direction: "outbound",
      source: service,
      sourceId: uri,
      destination: deps.upstream().name,
      peer: "",
      startedAt: performance.now(),
    };
    app.on("error", ignore);
    active++;
    serve(app, parties)
      .catch((error: unknown) => {
        const code = error instanceof RefusedError ? error.code : "unreachable";
        table.refused(parties, refusal(parties, code, messageOf(error)));
        if (!app.destroyed) app.resetAndDestroy();
      })
      .finally(() => active--)
      .catch(ignore);
  };
}

function refusal({ source, destination }: Parties, code: Refusal["code"], reason: string): Refusal {
  return { code, source, destination, reason };
}

function isAlpnRefusal(error: unknown): boolean {
  const { cause } = error as { cause?: NodeJS.ErrnoException };
  return cause?.code === "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL";
}

function ignore(): void {}
