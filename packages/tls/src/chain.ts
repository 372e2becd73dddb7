/** Certification paths, verified anew outside a handshake (RFC 5280 §6.1): on a timer, after a rotation, before a switch. */
import { X509Certificate } from "node:crypto";
import { readCertificate, type CertificateFacts } from "./certificate.ts";
import { dateProblem } from "./clocks.ts";
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
    const problem = dateProblem(start.facts, at);
    if (problem !== undefined) return { ok: false, reason: `the certificate ${problem}` };
    return climb(start, intermediates.map(readLink), roots.roots, at);
  } catch (error) {
    return { ok: false, reason: (error as Error).message };
  }
}

/** Breadth first, each intermediate once: a peer cannot make the search longer than its list. */
function climb(leaf: Link, intermediates: Link[], roots: readonly Link[], at: number): ChainCheck {
  let reason = "no root or intermediate that we know signed it";
  let level = [leaf];
  const unused = new Set(intermediates);
  for (let length = 1; level.length > 0; length++) {
    if (length >= MAX_CHAIN_LENGTH) return { ok: false, reason: `its chain is longer than ${MAX_CHAIN_LENGTH}` };
    const above: Link[] = [];
    for (const from of level) {
      for (const issuer of [...roots, ...unused]) {
        if (!issuer.facts.subject.equals(from.facts.issuer)) continue;
        const problem = issuerProblem(issuer, from, at, length);
        if (problem !== undefined) {
          reason = problem;
          continue;
        }
        if (!unused.delete(issuer)) return { ok: true };
        above.push(issuer);
      }
    }
    level = above;
  }
  return { ok: false, reason };
}

function issuerProblem(issuer: Link, from: Link, at: number, length: number): string | undefined {
  const { ca, keyUsage, pathLength } = issuer.facts;
  // A root of the same name with another key is a wrong root.
  if (!from.x509.verify(issuer.x509.publicKey)) return "its signature is not that of the issuer it names";
  if (!ca) return "its issuer is not a CA";
  if (keyUsage !== undefined && !(keyUsage & KEY_USAGE.keyCertSign)) return "its issuer may not sign certificates";
  if (pathLength !== undefined && length - 1 > pathLength) return "its chain is longer than its issuer allows";
  const problem = dateProblem(issuer.facts, at);
  return problem && `the issuer ${problem}`;
}

function readLink(bytes: Buffer): Link {
  return { x509: new X509Certificate(bytes), facts: readCertificate(bytes) };
}
