/**
 * Open connections under a changed snapshot: those that are still allowed are not touched, the others are cut. A peer's
 * certificate that has run out in the meantime is no reason (it was valid when it was shown, and databases keep
 * connections for weeks), nor that its root has left the list since: after a rotation it does so when no leaf needs it. A root
 * that is removed while the certificate would still be good is distrusted, and that is a reason; so is one that has expired.
 */
import { createTrustBundle, type TrustBundle, verifyChain } from "@heddle/tls";
import { parseSpiffeId } from "@heddle/spiffe";
import { type Authorize, toRefusal } from "./authorize.ts";
import type { ConnectionTable } from "./connections.ts";
import type { PeerCertificate, Revoked } from "./mesh-tls.ts";
import type { Roots } from "./snapshot.ts";
import type { Tunnel } from "./tunnel/tunnel.ts";

/** Cuts inbound connections whose caller the rules no longer allow. */
export function recheckRules(table: ConnectionTable, authorize: Authorize): void {
  for (const connection of table.all) {
    if (connection.direction !== "inbound" || connection.cutBy || !connection.sourceId) continue;
    const caller = parseSpiffeId(connection.sourceId);
    if (caller.kind !== "service") continue;
    const decision = authorize(caller);
    if (!decision.allowed) connection.cut(toRefusal(decision, connection.source, connection.destination));
  }
}

const MAX_FORMER = 16;

/** The roots that are trusted, and those that were. */
export interface KnownRoots {
  readonly current: readonly string[];
  readonly former: readonly string[];
}

/** What is known once the list is this one. */
export function nextRoots({ current, former }: KnownRoots, { certPems }: Roots): KnownRoots {
  const left = [...former, ...current].filter((pem) => !certPems.includes(pem));
  return { current: certPems, former: [...new Set(left)].slice(-MAX_FORMER) };
}

/** Cuts connections, and ends callers' tunnels, whose peer no longer leads to a root that is known and valid at `now`. */
export function recheckRoots(table: ConnectionTable, tunnels: Iterable<Tunnel>, roots: KnownRoots, now: number): void {
  const validOf = (pems: readonly string[]): TrustBundle => {
    const bundle = createTrustBundle(pems);
    return { ...bundle, roots: bundle.roots.filter((root) => root.facts.notAfter > now) };
  };
  const valid = validOf(roots.current);
  const everValid = validOf([...roots.current, ...roots.former]);
  const verdicts = new Map<string, string | undefined>();
  const verdict = ({ fingerprint, raw, intermediates, notBefore, notAfter }: PeerCertificate): string | undefined => {
    if (!verdicts.has(fingerprint)) {
      // Within its own days, which were looked at when it was shown: nor is a clock that was set back a reason.
      const at = Math.max(notBefore ?? 0, Math.min(now, notAfter));
      const check = verifyChain(raw, intermediates, now > notAfter ? everValid : valid, at);
      verdicts.set(fingerprint, check.ok ? undefined : `the peer's certificate is no longer valid: ${check.reason}`);
    }
    return verdicts.get(fingerprint);
  };
  for (const connection of table.all) {
    const reason = connection.cutBy ? undefined : verdict(connection.certificate);
    if (reason === undefined) continue;
    const { source, destination } = connection;
    connection.cut({ code: "identity", source, destination, reason });
  }
  for (const tunnel of tunnels) {
    const reason = verdict(tunnel.leg.certificate);
    if (reason !== undefined) tunnel.leave({ code: "identity", source: "", destination: "", reason });
  }
}

/** Cuts connections, and ends tunnels, of which one end's certificate was revoked. */
export function recheckRevocations(table: ConnectionTable, tunnels: Iterable<Tunnel>, revoked: Revoked): void {
  for (const connection of table.all) {
    const reason = connection.cutBy ? undefined : revoked(connection);
    if (reason === undefined) continue;
    const { source, destination } = connection;
    connection.cut({ code: "identity", source, destination, reason });
  }
  for (const tunnel of tunnels) {
    const reason = revoked(tunnel.leg);
    if (reason !== undefined) tunnel.leave({ code: "identity", source: "", destination: "", reason });
  }
}
