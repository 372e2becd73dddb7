/**
 * The public listener: a caller's mutual TLS in, the service's plain TCP out. `serve` is the list of steps; what fails in
 * one of them refuses the connection, and says so on both ends where the caller's proxy understands.
 */
import type { Socket } from "node:net";
import type { Logger } from "@heddle/daemon";
import type { ServiceId } from "@heddle/spiffe";
import { type Authorize, toRefusal } from "./authorize.ts";
import type { Connection, ConnectionTable, Parties } from "./connections.ts";
import { dialTcp, tcpLeg } from "./dial.ts";
import { type MeshLeg, refusedLeg, type Terminator } from "./mesh-tls.ts";
import type { ProxyMetrics } from "./metrics.ts";
import { pipe } from "./pipe.ts";
import { acceptPreface, cutFrame, refusePreface } from "./preface.ts";
import { messageOf, type Refusal, RefusedError } from "./refusal.ts";
import { formatHostPort, type PublicSpec } from "./spec.ts";

/** Handshakes under way at once, counted from a caller's first byte; each costs a millisecond of processor time that a flood would take from everybody. */
export const MAX_HANDSHAKES = 4_096;
const LAST_WORDS_MS = 1_000; // for a refusal to reach a caller that is still sending

export interface InboundDeps {
  service: () => { name: string; uri: string; trustDomain: string };
  spec: () => PublicSpec;
  authorize: () => Authorize;
  terminator: () => Terminator;
  table: ConnectionTable;
  metrics: ProxyMetrics;
  log: Logger;
}

/** Handles accepted sockets. The returned function never throws. */
export function createInbound(deps: InboundDeps): (raw: Socket) => void {
  const { table, metrics, log } = deps;
  let waiting = 0; // accepted and silent so far
  let handshakes = 0;

  async function serve(raw: Socket, parties: Parties): Promise<void> {
    const spec = deps.spec();
    const service = deps.service();

    // 1. Accept, within limits.
    if (table.count("inbound") >= spec.maxConnections)
      throw new RefusedError(
        "limit",
        `the limit of ${spec.maxConnections} connections is reached (max_inbound_connections)`,
      );
    if (waiting >= spec.maxConnections || handshakes >= MAX_HANDSHAKES)
      throw new RefusedError(
        "limit",
        `${waiting} silent connections and ${handshakes} handshakes are under way already`,
      );

    // 2. Mutual TLS. Who closes without a word is a port check, not a caller.
    waiting++;
    const hasSpoken = await firstByte(raw, spec.handshakeTimeoutMs).finally(() => waiting--);
    if (!hasSpoken) return log.debug("closed without a word", { peer: parties.peer });
    handshakes++;
    const leg = await secure(raw, service.trustDomain).finally(() => handshakes--);
    parties.tls = leg.facts;

    // 3. Who is it? The handshake proved the chain, `toLeg` every SPIFFE rule.
    const caller = leg.peer.id as ServiceId;
    parties.source = caller.service;
    parties.sourceId = leg.peer.spiffeId;

    // 4. May it? Decided here, on the rules of this moment.
    const decision = deps.authorize()(caller);
    if (!decision.allowed) return refuse(leg, parties, toRefusal(decision, parties.source, parties.destination));

    // 5. The service itself.
    const dialledAt = performance.now();
    const local = await dialTcp(spec.local, spec.localConnectTimeoutMs).catch((error: unknown) => error as Error);
    if (local instanceof Error)
      return refuse(leg, parties, refusalOf(new RefusedError("local_service", local.message), parties));
    metrics.connect("inbound", performance.now() - dialledAt);
    if (leg.stream.destroyed) {
      local.resetAndDestroy();
      throw new RefusedError("handshake", "the caller went away");
    }
    // Rules may have changed while the service was dialled.
    const again = deps.authorize()(caller);
    if (!again.allowed) {
      local.resetAndDestroy();
      return refuse(leg, parties, toRefusal(again, parties.source, parties.destination));
    }

    // 6. Bytes.
    carry(leg, local, parties, again);
  }

  async function secure(raw: Socket, trustDomain: string): Promise<MeshLeg> {
    const startedAt = performance.now();
    const leg = await deps.terminator().handshake(raw, trustDomain);
    metrics.handshake("inbound", performance.now() - startedAt);
    return leg;
  }

  function carry(leg: MeshLeg, local: Socket, parties: Parties, decision: ReturnType<Authorize>): void {
    const preface = leg.speaksPreface ? acceptPreface() : undefined;
    if (preface) leg.stream.write(preface.bytes);
    const connection: Connection = {
      ...parties,
      rule: decision.rule?.text,
      reason: decision.reason,
      certificate: leg.certificate,
      pipe: pipe(leg, tcpLeg(local), { onEnd: (end) => table.closed(connection, end) }),
      cut(refusal) {
        connection.cutBy ??= refusal;
        connection.pipe.stop(preface && cutFrame(preface.mark, refusal));
      },
    };
    table.opened(connection);
  }

  function refuse(leg: Pick<MeshLeg, "stream" | "reset" | "speaksPreface">, parties: Parties, refusal: Refusal): void {
    table.refused(parties, refusal);
    if (!leg.speaksPreface) return leg.reset();
    // Closing with unread bytes makes the kernel send a reset, which would overtake the reason: read, and drop, for a while.
    leg.stream.end(refusePreface(refusal));
    leg.stream.resume();
    setTimeout(() => leg.reset(), LAST_WORDS_MS).unref();
  }

  return (raw) => {
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
    serve(raw, parties).catch((error: unknown) => {
      const leg = refusedLeg(error);
      const refusal = refusalOf(error, parties);
      if (leg) return refuse(leg, parties, refusal);
      table.refused(parties, refusal);
      if (!raw.destroyed) raw.resetAndDestroy();
    });
  };
}

function refusalOf(error: unknown, { source, destination }: Parties): Refusal {
  const code = error instanceof RefusedError ? error.code : "handshake";
  return { code, source, destination, reason: messageOf(error) };
}

/** True once the socket has something to read, which stays there; false where it ends first. */
function firstByte(raw: Socket, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const done = (settle: () => void) => {
      clearTimeout(timer);
      raw.off("readable", onReadable);
      raw.off("end", onClose);
      raw.off("close", onClose);
      settle();
    };
    const timer = setTimeout(
      () => done(() => reject(new RefusedError("handshake", `no TLS handshake within ${timeoutMs} ms`))),
      timeoutMs,
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
