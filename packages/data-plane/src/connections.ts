/**
 * Every connection that this proxy carries or refused: what limits, cuts, metrics and the access log look at. One log line
 * a connection, never a byte of what it carried.
 */
import type { Logger } from "@heddle/daemon";
import type { Revocable } from "@heddle/tls";
import type { DecisionReports } from "./decision-reports.ts";
import type { Counted, ProxyMetrics } from "./metrics.ts";
import type { Pairs } from "./pairs.ts";
import type { Pipe, PipeEnd } from "./pipe.ts";
import type { Refusal } from "./refusal.ts";
import type { PeerCertificate, TlsFacts } from "./mesh-tls.ts";

export type Direction = "inbound" | "outbound";

/** Who talks to whom, as far as it is known when it is told. */
export interface Parties {
  direction: Direction;
  source: string;
  destination: string;
  sourceId?: string | undefined;
  destinationId?: string | undefined;
  /** Address of the other machine: the caller's for inbound, the instance's for outbound. */
  peer: string;
  tls?: TlsFacts | undefined;
  /** When it was accepted, by `performance.now()`. */
  startedAt: number;
}

export interface Connection extends Parties {
  /** The intention that allows it, where one does. */
  rule?: string | undefined;
  reason?: string | undefined;
  pipe: Pipe;
  /** The peer's, to be checked again when roots change. Shared by all connections of one certificate. */
  certificate: PeerCertificate;
  /** The certificate that this end has shown. */
  own: Revocable;
  /** Ends it now, telling the far proxy where it understands. */
  cut: (refusal: Refusal) => void;
  /** Set once it is cut, here or by the far proxy. */
  cutBy?: Refusal | undefined;
  /** The metrics' own. */
  counted?: Counted;
}

export interface ConnectionTable {
  readonly all: ReadonlySet<Connection>;
  /** One is accepted and on its way, to be opened or refused; call what it returns when it is either. */
  coming(direction: Direction): () => void;
  opened(connection: Connection): void;
  closed(connection: Connection, end: PipeEnd): void;
  refused(parties: Parties, refusal: Refusal): void;
  /** Resolves when no connection is left, of one direction or at all, or after `ms`. */
  drained(ms: number, direction?: Direction): Promise<void>;
}

export interface ConnectionTableDeps {
  log: Logger;
  metrics: ProxyMetrics;
  reports: DecisionReports;
  pairs: Pairs;
}

export function createConnectionTable({ log, metrics, reports, pairs }: ConnectionTableDeps): ConnectionTable {
  const all = new Set<Connection>();
  // Thousands of connections come with a handful of certificates: each is kept once.
  const certificates = new Map<string, { certificate: PeerCertificate; users: number }>();
  const draining = new Set<() => void>();
  const coming: Record<Direction, number> = { inbound: 0, outbound: 0 };
  const checkDrained = () => {
    for (const check of draining) check();
  };
  return {
    all,
    coming(direction) {
      coming[direction]++;
      return () => {
        coming[direction]--;
        checkDrained();
      };
    },
    opened(connection) {
      const { certificate } = connection;
      const shared = certificates.get(certificate.fingerprint) ?? { certificate, users: 0 };
      shared.users++;
      certificates.set(certificate.fingerprint, shared);
      connection.certificate = shared.certificate;
      all.add(connection);
      metrics.opened(connection);
      pairs.opened(connection);
      reports.allowed(connection);
    },
    closed(connection, end) {
      all.delete(connection);
      const shared = certificates.get(connection.certificate.fingerprint);
      if (shared && --shared.users === 0) certificates.delete(connection.certificate.fingerprint);
      const { pipe, startedAt } = connection;
      const cutBy = (connection.cutBy ??= pipe.refusal);
      const durationMs = performance.now() - startedAt;
      metrics.closed(connection, cutBy ? "cut" : end.how, durationMs);
      pairs.closed(connection);
      if (cutBy) reports.cut(connection, cutBy);
      log.info("connection closed", {
        ...fields(connection),
        decision: cutBy ? "refused" : "allowed",
        rule: cutBy ? cutBy.rule : connection.rule,
        reason: cutBy?.reason ?? endReason(connection.direction, end),
        bytes_in: pipe.bytesFromA,
        bytes_out: pipe.bytesFromB,
        duration_ms: round(durationMs),
        tls: connection.tls?.text,
      });
      checkDrained();
    },
    refused(parties, refusal) {
      metrics.refused(parties, refusal);
      pairs.refused(parties, refusal);
      reports.refused(parties, refusal);
      log.info("connection refused", {
        ...fields(parties),
        decision: "refused",
        rule: refusal.rule,
        reason: refusal.reason,
        bytes_in: 0,
        bytes_out: 0,
        duration_ms: round(performance.now() - parties.startedAt),
        tls: parties.tls?.text,
      });
    },
    drained: (ms, direction) =>
      new Promise((resolve) => {
        const check = () => {
          if (direction === undefined ? coming.inbound + coming.outbound > 0 : coming[direction] > 0) return;
          for (const connection of all) if (direction === undefined || connection.direction === direction) return;
          clearTimeout(timer);
          draining.delete(check);
          resolve();
        };
        const timer = setTimeout(() => {
          draining.delete(check);
          resolve();
        }, ms);
        draining.add(check);
        check();
      }),
  };
}

function fields(parties: Parties) {
  const { source, destination, direction, sourceId, destinationId, peer } = parties;
  return { source, destination, direction, source_id: sourceId, destination_id: destinationId, peer };
}

function endReason(direction: Direction, { how, by, error }: PipeEnd): string {
  const sides =
    direction === "inbound" ? { a: "the caller", b: "the service" } : { a: "the application", b: "the far proxy" };
  switch (how) {
    case "closed":
      return "closed by both ends";
    case "reset":
      return `reset by ${sides[by ?? "a"]}${error && !isReset(error) ? `: ${error.message}` : ""}`;
    case "half_open_idle":
      return "closed in one direction, idle in the other";
    case "stopped":
      return "the proxy is shutting down";
  }
}

function isReset(error: NodeJS.ErrnoException): boolean {
  return error.code === "ECONNRESET" || error.code === "EPIPE";
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
