/** Certification paths, verified anew outside a handshake (RFC 5280 §6.1): on a timer, after a rotation, before a switch. */
import { X509Certificate } from "node:crypto";
import { IdentityError } from "@heddle/spiffe";
import { readCertificate, type CertificateFacts } from "./certificate.ts";
import { KEY_USAGE } from "./extensions.ts";
import { certificatesToDer } from "./pem.ts";

/** Leaf, up to two intermediates (a cross-signed one among them) and the root, and one to spare. */
export const MAX_CHAIN_LENGTH = 5;
const MAX_INTERMEDIATES = 8; // what a peer may make us look at

interface Link {
  x509: X509Certificate;
  facts: CertificateFacts;
}

/** Root certificates, parsed once. */
export interface TrustBundle {
  readonly pems: readonly string[];
  readonly roots: readonly Link[];
}

/** Reads roots; each text may hold several. Throws IdentityError. */
export function createTrustBundle(pems: readonly string[]): TrustBundle {
  return { pems, roots: pems.flatMap((pem) => certificatesToDer(pem, "root certificate")).map(readLink) };
}

export type ChainCheck = { ok: true } | { ok: false; reason: string };

/** Verifies that `leaf` leads to one of `roots` at `at` (milliseconds since the epoch). Never throws. */
export function verifyChain(
  leaf: Buffer,
  intermediates: readonly Buffer[],
  roots: TrustBundle,
  at: number,
): ChainCheck {
  try {
    if (intermediates.length > MAX_INTERMEDIATES)
      return {
        ok: false,
        reason: `${intermediates.length} intermediates presented, at most ${MAX_INTERMEDIATES} are looked at`,
      };
    const start = readLink(leaf);
    checkDates(start, at, "certificate");
    return climb(start, intermediates.map(readLink), roots.roots, at, 1);
  } catch (error) {
    return { ok: false, reason: (error as Error).message };
  }
}

function climb(from: Link, intermediates: Link[], roots: readonly Link[], at: number, length: number): ChainCheck {
  if (length >= MAX_CHAIN_LENGTH) return { ok: false, reason: `its chain is longer than ${MAX_CHAIN_LENGTH}` };
  let reason = "no root or intermediate that we know signed it";
  for (const [candidates, isRoot] of [
    [roots, true],
    [intermediates, false],
  ] as const) {
    for (const issuer of candidates) {
      if (!issuer.facts.subject.equals(from.facts.issuer) || issuer === from) continue;
      // A root of the same name with another key is a wrong root, not an error.
      if (!from.x509.verify(issuer.x509.publicKey)) {
        reason = "its signature is not that of the root it names";
        continue;
      }
      try {
        checkIssuer(issuer, at, length);
      } catch (error) {
        reason = (error as Error).message;
        continue;
      }
      if (isRoot) return { ok: true };
      const above = climb(
        issuer,
        intermediates.filter((i) => i !== issuer),
        roots,
        at,
        length + 1,
      );
      if (above.ok) return above;
      reason = above.reason;
    }
  }
  return { ok: false, reason };
}

function checkIssuer(issuer: Link, at: number, length: number): void {
  const { ca, keyUsage, pathLength } = issuer.facts;
  if (!ca) throw new IdentityError("its issuer is not a CA");
  if (keyUsage !== undefined && !(keyUsage & KEY_USAGE.keyCertSign))
    throw new IdentityError("its issuer may not sign certificates");
  if (pathLength !== undefined && length - 1 > pathLength)
    throw new IdentityError("its chain is longer than its issuer allows");
  checkDates(issuer, at, "issuer");
}

function checkDates({ facts }: Link, at: number, what: string): void {
  if (at > facts.notAfter) throw new IdentityError(`the ${what} expired at ${new Date(facts.notAfter).toISOString()}`);
  if (at < facts.notBefore)
    throw new IdentityError(`the ${what} is not valid before ${new Date(facts.notBefore).toISOString()}`);
}

function readLink(bytes: Buffer): Link {
  const facts = readCertificate(bytes);
  return { x509: new X509Certificate(bytes), facts };
}
