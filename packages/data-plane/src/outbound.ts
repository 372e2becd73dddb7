/**
 * An upstream's listener: an application's plain TCP in, mutual TLS to one instance of the service out. `serve` is the list
 * of steps; an application whose connection cannot be gets a reset, and the log says why.
 */
import type { Clock, Logger } from "@heddle/daemon";
import { serviceSpiffeId } from "@heddle/spiffe";
import { dateProblem, formatSpan } from "@heddle/tls";
import { createBalancer, type Instance } from "./balance.ts";
import type { Connection, ConnectionTable, Parties } from "./connections.ts";
import type { Counts } from "./counts.ts";
import { dialAddress, plainLeg } from "./dial.ts";
import { attemptBudgetMs, type Endpoint } from "./endpoints.ts";
import type { Dialler, MeshLeg } from "./mesh-tls.ts";
import type { ProxyMetrics } from "./metrics.ts";
import { pipe, type PipeEnd, type PlainSocket } from "./pipe.ts";
import { messageOf, type Refusal, type RefusalCode, RefusedError } from "./refusal.ts";
import { formatHostPort, type HostPort, inDatacenter, type UpstreamSpec } from "./spec.ts";
import type { Leaf } from "./snapshot.ts";
import { createTunnelPool, type TunnelPool } from "./tunnel/pool.ts";
import type { TunnelStream } from "./tunnel/stream.ts";
import { Tunnel } from "./tunnel/tunnel.ts";
import { resetSocket } from "./reset.ts";

/** Refusals that every instance would give. */
const FINAL: ReadonlySet<RefusalCode> = new Set(["intention"]);
/** Refusals that speak against the instance. */
const FAULTS: ReadonlySet<RefusalCode> = new Set(["unreachable", "handshake", "identity", "local_service", "protocol"]);
const YOUNG_MS = 15 * 60_000; // clocks that are further apart show in other places
const MAX_TUNNELS_TRIED = 8; // of one instance for one connection, each of which ended under it
const MAX_PLAIN_PEERS = 4_096; // remembered endpoints that refuse any ALPN they do not know

export interface OutboundDeps {
  upstream: () => UpstreamSpec;
  leaf: () => Leaf;
  endpoints: () => readonly Endpoint[] | undefined;
  dialler: () => Dialler;
  /** What `limits.max_connections` looks at: connections of this upstream, from their first step to their end. */
  countAs: string;
  counts: Counts;
  table: ConnectionTable;
  metrics: ProxyMetrics;
  clock: Pick<Clock, "now">;
  log: Logger;
}

export interface Outbound {
  /** Handles an accepted socket. Never throws. */
  accept: (app: PlainSocket) => void;
  /** The same, for who waits: resolves when an instance has taken the connection, rejects with RefusedError after resetting the socket. */
  open: (app: PlainSocket) => Promise<Connection>;
  readonly tunnels: TunnelPool;
  /** Each instance, as far as connections were made to it. */
  instances: () => readonly Instance[];
  /** Instances, and those that are left out for a while. */
  counts: () => { destination: string; healthy: number; ejected: number };
}

/** An instance that was reached, and the connection to it. */
interface Way {
  leg: MeshLeg;
  /** Where it is one of a tunnel. */
  stream?: TunnelStream;
}

type Reached = Way & { instance: Instance };

export function createOutbound(deps: OutboundDeps): Outbound {
  const { table, metrics, counts, countAs } = deps;
  const plainPeers = new Set<string>();
  const tunnels = createTunnelPool({ clock: deps.clock, dial });
  const balancer = createBalancer();

  async function serve(app: PlainSocket, parties: Parties): Promise<Connection> {
    const upstream = deps.upstream();

    // 1. Accept, within limits.
    if (counts.of(countAs) > upstream.maxConnections)
      throw new RefusedError(
        "limit",
        `the limit of ${upstream.maxConnections} connections is reached (limits.max_connections)`,
      );

    // 2. Whom do we want? Exactly one identity, whatever address it has; a query says which at each instance.
    if (upstream.kind === "service") parties.destinationId = identityOf(upstream);

    // 3. Pick an instance and reach it, or the next, while there is time. No byte has been sent before one has accepted.
    const order = balancer.order(deps.endpoints() ?? []);
    if (order.length === 0)
      throw new RefusedError(
        "no_endpoint",
        `no healthy instance of ${upstream.kind === "service" ? "" : "query "}'${upstream.name}'${inDatacenter(upstream)} is known${wayTo(upstream)}`,
      );
    const { promise: ended, resolve: onEnd } = Promise.withResolvers<PipeEnd>();
    const reached = await reachOne(order, app, parties, upstream.connectTimeoutMs, onEnd);

    // 4. Bytes.
    return carry(app, reached, parties, ended, onEnd);
  }

  function identityOf(wanted: { name: string; datacenter: string; namespace?: string }): string {
    const { trustDomain, datacenter } = deps.leaf();
    const { name: service, namespace = "default" } = wanted;
    return serviceSpiffeId({ trustDomain, namespace, datacenter: wanted.datacenter || datacenter, service });
  }

  async function reachOne(
    order: Instance[],
    app: PlainSocket,
    parties: Parties,
    timeoutMs: number,
    onEnd: (end: PipeEnd) => void,
  ): Promise<Reached> {
    const deadline = performance.now() + timeoutMs;
    const failures: RefusedError[] = [];
    for (const [i, instance] of order.entries()) {
      const { endpoint } = instance;
      const left = deadline - performance.now();
      if (left <= 0) break;
      parties.peer = formatHostPort(endpoint);
      if (endpoint.service) parties.destinationId = identityOf(endpoint.service);
      const budgetMs = attemptBudgetMs(left, order.length - i, balancer.isDoubtful(instance));
      instance.attempts++;
      try {
        const reached = await reach(endpoint, app, parties, budgetMs, onEnd);
        balancer.worked(instance);
        instance.active++;
        return { ...reached, instance };
      } catch (error) {
        const failure = error instanceof RefusedError ? error : new RefusedError("unreachable", messageOf(error));
        failures.push(failure);
        if (FAULTS.has(failure.code)) blame(instance, failure.message);
        if (app.destroyed || (FINAL.has(failure.code) && !endpoint.service)) break;
      } finally {
        instance.attempts--;
      }
    }
    // A wrong identity is the failure to hear about, even where another instance was merely down.
    const worst = failures.find((f) => f.code === "identity") ?? failures.at(-1);
    const more = failures.length > 1 ? ` (${failures.length} instances tried)` : "";
    const reason = `${worst?.message ?? `no instance within ${timeoutMs} ms`}${more}`;
    throw new RefusedError(worst?.code ?? "unreachable", reason, worst?.refusal && { refusal: worst.refusal });
  }

  function blame(instance: Instance, reason: string): void {
    const ms = balancer.failed(instance);
    if (ms === undefined) return;
    const { id, node, ...at } = instance.endpoint;
    const fields = { destination: deps.upstream().name, instance: id, node, address: formatHostPort(at) };
    deps.log.warn("an instance fails again and again, leaving it out for a while", { ...fields, for_ms: ms, reason });
  }

  async function reach(
    endpoint: Endpoint,
    app: PlainSocket,
    parties: Parties,
    budgetMs: number,
    onEnd: (end: PipeEnd) => void,
  ): Promise<Way> {
    const startedAt = performance.now();
    const spiffeId = parties.destinationId ?? "";
    for (let tries = 1; ; tries++) {
      const left = Math.max(1, budgetMs - (performance.now() - startedAt));
      const way = await tunnels.reach(endpoint, spiffeId, left);
      if (app.destroyed) {
        if (!(way instanceof Tunnel)) way.reset();
        throw new RefusedError("closing", "the application went away");
      }
      if (!(way instanceof Tunnel)) {
        metrics.connect(parties, performance.now() - startedAt);
        return { leg: way };
      }
      parties.tls = way.leg.facts;
      const wasHeard = way.hasHeard;
      try {
        const stream = await way.open(app, left, { side: "a", onEnd });
        metrics.connect(parties, performance.now() - startedAt);
        return { stream, leg: way.leg };
      } catch (error) {
        const { refusal, message, code } = error as RefusedError;
        // A tunnel that broke, or is told to end, between two streams or while it was made, says nothing about the instance.
        const isOver = (wasHeard && (way.isClosed || code === "closing")) || (way.isLeaving && !refusal);
        const mayRetry = tries < MAX_TUNNELS_TRIED && performance.now() < startedAt + budgetMs;
        if (isOver && !app.destroyed && mayRetry) continue;
        if (refusal || way.hasHeard) throw error;
        throw new RefusedError("handshake", `refused by the far proxy: ${message}${ownDates()}`, { cause: error });
      }
    }
  }

  /** Who refuses a certificate does not always say why; where it may be the dates of ours, that is said here. */
  function ownDates(): string {
    const leaf = deps.leaf();
    const now = deps.clock.now();
    const problem = dateProblem(leaf, now);
    if (problem !== undefined) return `; our certificate ${problem}`;
    const age = now - leaf.notBefore;
    return age < YOUNG_MS
      ? `; our certificate is valid for ${formatSpan(age)} by the clock here, and not yet by one that is further behind`
      : "";
  }

  async function dial(endpoint: HostPort, spiffeId: string, budgetMs: number): Promise<MeshLeg> {
    const at = formatHostPort(endpoint);
    const startedAt = performance.now();
    const attempt = async (offerTunnel: boolean): Promise<MeshLeg> => {
      const raw = await dialAddress(endpoint, budgetMs);
      const dialledAt = performance.now();
      const left = Math.max(1, budgetMs - (dialledAt - startedAt));
      const leg = await deps.dialler().handshake(raw, spiffeId, { timeoutMs: left, offerTunnel });
      const pair = { direction: "outbound", source: deps.leaf().service, destination: deps.upstream().name } as const;
      metrics.handshake(pair, performance.now() - dialledAt, leg.facts);
      return leg;
    };
    return attempt(!plainPeers.has(at)).catch((error: unknown) => {
      // Reset before it said anything: the queue of a process whose listener another one has just taken over.
      if (isReset(error)) return attempt(!plainPeers.has(at));
      if (!isAlpnRefusal(error)) throw error;
      if (plainPeers.size < MAX_PLAIN_PEERS) plainPeers.add(at);
      return attempt(false);
    });
  }

  function carry(
    app: PlainSocket,
    reached: Reached,
    parties: Parties,
    ended: Promise<PipeEnd>,
    onEnd: (end: PipeEnd) => void,
  ): Connection {
    const { leg, stream, instance } = reached;
    parties.tls = leg.facts;
    const connection: Connection = {
      ...parties,
      certificate: leg.certificate,
      own: leg.own,
      pipe: stream ?? pipe(plainLeg(app), leg, { onEnd }),
      cut(refusal) {
        connection.cutBy ??= refusal;
        connection.pipe.stop(refusal);
      },
    };
    table.opened(connection);
    app.attach?.(connection);
    void ended.then((end) => {
      counts.add(countAs, -1);
      instance.active--;
      table.closed(connection, end);
    });
    return connection;
  }

  async function open(app: PlainSocket): Promise<Connection> {
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
    counts.add(countAs, 1);
    const settled = table.coming("outbound");
    try {
      return await serve(app, parties);
    } catch (cause) {
      counts.add(countAs, -1);
      const error =
        cause instanceof RefusedError ? cause : new RefusedError("unreachable", messageOf(cause), { cause });
      table.refused(parties, error.refusal ?? refusal(parties, error.code, error.message));
      resetSocket(app);
      throw error;
    } finally {
      settled();
    }
  }

  return {
    tunnels,
    instances: () => balancer.all(deps.endpoints() ?? []),
    counts: () => ({ destination: deps.upstream().name, ...balancer.counts() }),
    accept: (app) => void open(app).catch(ignore),
    open,
  };
}

/** Of a datacenter that is not ours: the log says so once, too, where the agent has no way there. */
function wayTo({ datacenter }: UpstreamSpec): string {
  return datacenter === "" ? "" : " (an agent without a path to that datacenter knows none)";
}

function refusal({ source, destination }: Parties, code: Refusal["code"], reason: string): Refusal {
  return { code, source, destination, reason };
}

function isReset(error: unknown): boolean {
  const { code } = (error as { cause?: NodeJS.ErrnoException }).cause ?? {};
  return code === "ECONNRESET" || code === "EPIPE";
}

function isAlpnRefusal(error: unknown): boolean {
  const { cause } = error as { cause?: NodeJS.ErrnoException };
  return cause?.code === "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL";
}

function ignore(): void {}
