/**
 * Open connections under a changed snapshot: those that are still allowed are not touched, the others are cut. A peer's
 * certificate that has run out in the meantime is no reason (it was valid when it was shown, and databases keep
 * connections for weeks); a root that was removed or has expired is.
 */
import { createTrustBundle, type TrustBundle, verifyChain } from "@heddle/tls";
import { parseSpiffeId } from "@heddle/spiffe";
import { type Authorize, toRefusal } from "./authorize.ts";
import type { Connection, ConnectionTable } from "./connections.ts";
import type { Roots } from "./snapshot.ts";

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

/** Cuts connections whose peer no longer leads to a root that is known and valid at `now`. */
export function recheckRoots(table: ConnectionTable, roots: Roots, now: number): void {
  const bundle = createTrustBundle(roots.certPems);
  const valid: TrustBundle = { ...bundle, roots: bundle.roots.filter((root) => root.facts.notAfter > now) };
  const verdicts = new Map<string, string | undefined>();
  const verdict = ({ certificate }: Connection): string | undefined => {
    if (!verdicts.has(certificate.fingerprint)) {
      const { raw, intermediates, notAfter } = certificate;
      const check = verifyChain(raw, intermediates, valid, Math.min(now, notAfter));
      verdicts.set(certificate.fingerprint, check.ok ? undefined : check.reason);
    }
    return verdicts.get(certificate.fingerprint);
  };
  for (const connection of table.all) {
    const why = connection.cutBy ? undefined : verdict(connection);
    if (why === undefined) continue;
    const { source, destination } = connection;
    connection.cut({
      code: "identity",
      source,
      destination,
      reason: `the peer's certificate is no longer valid: ${why}`,
    });
  }
}
