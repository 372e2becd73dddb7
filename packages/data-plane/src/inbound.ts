/**
 * The public listener: a caller's mutual TLS in, the service's plain TCP out. `serve` is the list of steps; what fails in
 * one of them refuses the connection, and says so on both ends where the caller's proxy understands.
 */
import type { Socket } from "node:net";
import type { Clock, Logger } from "@heddle/daemon";
import type { Decision } from "@heddle/intentions";
import type { ServiceId } from "@heddle/spiffe";
import { type Authorize, toRefusal } from "./authorize.ts";
import type { Connection, ConnectionTable, Parties } from "./connections.ts";
import { countKey, type Counts, shareOf } from "./counts.ts";
import { deadline } from "./deadline.ts";
import { plainLeg } from "./dial.ts";
import { type MeshLeg, refusedLeg, type Revoked, type Terminator } from "./mesh-tls.ts";
import type { ProxyMetrics } from "./metrics.ts";
import { type Pipe, pipe, type PipeEnd, type PlainSocket } from "./pipe.ts";
import { messageOf, type Refusal, RefusedError } from "./refusal.ts";
import { formatHostPort, type PublicSpec } from "./spec.ts";
import { refuseTunnel } from "./tunnel/refuse.ts";
import { Tunnel } from "./tunnel/tunnel.ts";
import { resetSocket } from "./reset.ts";

/** Handshakes under way at once, silent connections among them, counted from a caller's first byte; each costs a millisecond of processor time that a flood would take from everybody. */
export const MAX_HANDSHAKES = 4_096;

/**
 * While fewer are under way, TLS reads the socket from its first byte; with more, a caller has to say something before it gets
 * the memory of a handshake. What TLS reads first decides how much it reads at once from then on: handed a caller's first words, it
 * would read each record in two pieces for good, four times as many reads for bulk data.
 */
const EAGER_HANDSHAKES = 256;

export interface InboundDeps {
  service: () => { name: string; uri: string; trustDomain: string };
  spec: () => PublicSpec;
  /** Reaches the service itself. */
  openService: (caller: Parties) => Promise<PlainSocket>;
  authorize: () => Authorize;
  terminator: () => Terminator;
  revoked: Revoked;
  /** Of the proxy, among others that share the counts. */
  id: string;
  counts: Counts;
  table: ConnectionTable;
  metrics: ProxyMetrics;
  clock: Pick<Clock, "now">;
  log: Logger;
}

export interface Inbound {
  /** Handles an accepted socket. Never throws. */
  accept: (raw: Socket) => void;
  /** Tunnels that are open. */
  readonly tunnels: Iterable<Tunnel>;
}

export function createInbound(deps: InboundDeps): Inbound {
  const { table, metrics, log, counts } = deps;
  const tunnels = new Set<Tunnel>();
  const keyOf = { inbound: countKey.inbound(deps.id), waiting: countKey.waiting(deps.id) };

  async function serve(raw: Socket, parties: Parties): Promise<void> {
    const spec = deps.spec();

    // 1. Accept, within limits.
    if (counts.of(keyOf.inbound) >= spec.maxConnections) throw tooMany(spec);
    const [silent, handshakes] = [counts.of(keyOf.waiting), counts.of(countKey.handshakes)];
    const room = MAX_HANDSHAKES - handshakes - silent;
    if (silent >= spec.maxConnections || room <= 0)
      throw new RefusedError(
        "limit",
        `${silent} silent connections and ${handshakes} handshakes are under way already`,
      );

    // 2. Mutual TLS. Who closes without a word is a port check, not a caller.
    const leg = await fromSource(raw.remoteAddress ?? "", { room, ...spec }, async () => {
      if (handshakes >= EAGER_HANDSHAKES) {
        const hasSpoken = await counted(keyOf.waiting, () => firstByte(raw, spec.handshakeTimeoutMs));
        if (!hasSpoken) return log.debug("closed without a word", { peer: parties.peer });
      }
      return counted(countKey.handshakes, () => secure(raw, parties));
    });
    if (!leg) return;
    parties.tls = leg.facts;

    // 3. Who is it? The handshake proved the chain, `toLeg` every SPIFFE rule.
    const caller = leg.peer.id as ServiceId;
    parties.source = caller.service;
    parties.sourceId = leg.peer.spiffeId;

    // 4. to 6. for the one connection, or for each stream of a tunnel.
    if (leg.isTunnel) return carryTunnel(leg, caller, parties);
    await serveCaller(leg, caller, parties, {
      isWaiting: () => !leg.stream.destroyed,
      carry: (local, onEnd) => pipe(leg, plainLeg(local), { onEnd }),
    });
  }

  async function counted<T>(key: string, run: () => Promise<T>): Promise<T> {
    counts.add(key, 1);
    try {
      return await run();
    } finally {
      counts.add(key, -1);
    }
  }

  /** Counts what one address has under way, and refuses it more than its share. */
  async function fromSource<T>(
    address: string,
    { room, maxHandshakesPerSource }: Pick<PublicSpec, "maxHandshakesPerSource"> & { room: number },
    run: () => Promise<T>,
  ): Promise<T> {
    const key = countKey.source(address);
    const before = counts.of(key);
    if (before >= shareOf(maxHandshakesPerSource, room))
      throw new RefusedError(
        "limit",
        `${address} has ${before} handshakes under way already, and there is room for ${room} more in all (max_handshakes_per_source)`,
      );
    return counted(key, run);
  }

  async function secure(raw: Socket, { direction, destination, peer }: Parties): Promise<MeshLeg | void> {
    const startedAt = performance.now();
    try {
      const leg = await deps.terminator().handshake(raw, deps.service().trustDomain);
      const { service: source } = leg.peer.id as ServiceId;
      metrics.handshake({ direction, source, destination }, performance.now() - startedAt, leg.facts);
      return leg;
    } catch (error) {
      if (!(error instanceof RefusedError && error.code === "closing")) throw error;
      log.debug("closed without a word", { peer });
    }
  }

  function carryTunnel(leg: MeshLeg, caller: ServiceId, parties: Parties): void {
    const tunnel: Tunnel = new Tunnel(leg, {
      onOpen: (id) => {
        const { name, uri } = deps.service();
        const own = { ...parties, destination: name, destinationId: uri, startedAt: performance.now() };
        serveStream(tunnel, id, caller, own)
          .catch((error: unknown) => {
            const refusal = refusalOf(error, own);
            table.refused(own, refusal);
            tunnel.refuse(id, refusal);
          })
          .finally(table.coming("inbound"))
          .catch(ignore);
      },
      onClose: () => tunnels.delete(tunnel),
    });
    if (!tunnel.isClosed) tunnels.add(tunnel);
  }

  async function serveStream(tunnel: Tunnel, id: number, caller: ServiceId, parties: Parties): Promise<void> {
    const { leg } = tunnel;
    // A tunnel may outlive the certificate that it was made with; a new connection may not.
    if (leg.certificate.notAfter <= deps.clock.now())
      throw new RefusedError("identity", `the certificate of '${leg.peer.spiffeId}' has expired`);
    await serveCaller(leg, caller, parties, {
      isWaiting: () => tunnel.isAsked(id),
      carry: (local, onEnd) => tunnel.accept(id, local, { side: "b", onEnd }),
    });
  }

  async function serveCaller(leg: MeshLeg, caller: ServiceId, parties: Parties, way: Way): Promise<void> {
    // 4. May it? Decided here, on the rules of this moment.
    authorized(caller, parties);

    // 5. The service itself, within limits.
    const leave = takePlace();
    const dialledAt = performance.now();
    const local = await deps.openService(parties).catch((error: unknown) => {
      leave();
      throw new RefusedError("local_service", messageOf(error));
    });
    metrics.connect(parties, performance.now() - dialledAt);

    // 6. Bytes, if the caller still waits, and what may have changed meanwhile still allows it.
    try {
      if (!way.isWaiting()) throw new RefusedError("closing", "the caller went away");
      const revoked = deps.revoked(leg);
      if (revoked !== undefined) throw new RefusedError("identity", revoked);
      const decision = authorized(caller, parties);
      const connection: Connection = {
        ...parties,
        rule: decision.rule?.text,
        reason: decision.reason,
        certificate: leg.certificate,
        own: leg.own,
        pipe: way.carry(local, (end) => {
          leave();
          table.closed(connection, end);
        }),
        cut(refusal) {
          connection.cutBy ??= refusal;
          connection.pipe.stop(refusal);
        },
      };
      table.opened(connection);
      local.attach?.(connection);
    } catch (error) {
      leave();
      resetSocket(local);
      throw error;
    }
  }

  /** One connection more, or a refusal; returns what gives the place back. */
  function takePlace(): () => void {
    const spec = deps.spec();
    const isOver = counts.add(keyOf.inbound, 1) > spec.maxConnections;
    let isTaken = true;
    const leave = () => {
      if (isTaken) counts.add(keyOf.inbound, -1);
      isTaken = false;
    };
    if (!isOver) return leave;
    leave();
    throw tooMany(spec);
  }

  function authorized(caller: ServiceId, { source, destination }: Parties): Decision {
    const decision = deps.authorize()(caller);
    if (decision.allowed) return decision;
    const refusal = toRefusal(decision, source, destination);
    throw new RefusedError(refusal.code, refusal.reason, { refusal });
  }

  return {
    tunnels,
    accept(raw) {
      const { name, uri } = deps.service();
      const parties: Parties = {
        direction: "inbound",
        source: "",
        destination: name,
        destinationId: uri,
        peer: formatHostPort({ host: raw.remoteAddress ?? "", port: raw.remotePort ?? 0 }),
        startedAt: performance.now(),
      };
      raw.on("error", ignore);
      serve(raw, parties)
        .catch((error: unknown) => {
          const refusal = refusalOf(error, parties);
          table.refused(parties, refusal);
          const leg = refusedLeg(error);
          if (leg?.isTunnel) refuseTunnel(leg, refusal);
          else resetSocket(raw);
        })
        .finally(table.coming("inbound"))
        .catch(ignore);
    },
  };
}

function tooMany({ maxConnections }: PublicSpec): RefusedError {
  return new RefusedError("limit", `the limit of ${maxConnections} connections is reached (max_inbound_connections)`);
}

/** How a caller that may is joined to the service. */
interface Way {
  isWaiting: () => boolean;
  carry: (local: PlainSocket, onEnd: (end: PipeEnd) => void) => Pipe;
}

function refusalOf(error: unknown, { source, destination }: Parties): Refusal {
  if (error instanceof RefusedError && error.refusal) return error.refusal;
  const code = error instanceof RefusedError ? error.code : "handshake";
  return { code, source, destination, reason: messageOf(error) };
}

/** True once the socket has something to read, which stays there; false where it ends first. */
function firstByte(raw: Socket, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const done = (settle: () => void) => {
      callOff();
      raw.off("readable", onReadable);
      raw.off("end", onClose);
      raw.off("close", onClose);
      settle();
    };
    const callOff = deadline(timeoutMs, () =>
      done(() => reject(new RefusedError("handshake", `no TLS handshake within ${timeoutMs} ms`))),
    );
    const onReadable = () => {
      const chunk = raw.read() as Buffer | null;
      if (chunk) {
        raw.unshift(chunk);
        done(() => resolve(true));
      }
    };
    const onClose = () => {
      done(() => resolve(false));
      raw.destroy();
    };
    raw.on("readable", onReadable);
    raw.once("end", onClose);
    raw.once("close", onClose);
  });
}

function ignore(): void {}
