/**
 * Certificates of signers by other signers. Cross-signing: a new root's key and name, signed by the old root; whoever trusts only
 * the old root follows it from a leaf of the new one, so that a rotation needs no moment at which everybody changes. And
 * intermediates, which sign in the place of a root whose key is used seldom.
 */
import { randomBytes, type KeyObject } from "node:crypto";
import { IdentityError } from "@heddle/spiffe";
import { buildCertificate, nameFor, readCertificate } from "./certificate.ts";
import { signerExtensions } from "./extensions.ts";
import { keyId, publicKeyDer } from "./keys.ts";
import { backdatedMs, HOST_SKEW_MS, shortTrustDomain, type Signer } from "./leaf.ts";
import { certificatesToDer, certificateToPem } from "./pem.ts";

export interface CrossSignOptions {
  /** The new root's certificate. */
  certPem: string;
  /** The old root. */
  signer: Signer;
  validityMs: number;
  /** Milliseconds since the epoch. */
  now: number;
}

/** The new root as an intermediate of the old one, as PEM. Throws IdentityError where the old root cannot sign now. */
export function crossSign({ certPem, signer, validityMs, now }: CrossSignOptions): string {
  if (now >= signer.notAfter)
    throw new IdentityError(`the old root expired at ${new Date(signer.notAfter).toISOString()}`);
  const { subject, spki, subjectKeyId, notBefore, notAfter } = readCertificate(certificatesToDer(certPem)[0] as Buffer);
  const window = { notBefore: Math.max(now - backdatedMs(validityMs, HOST_SKEW_MS), notBefore), notAfter, validityMs };
  return certify({ subject, spki, keyId: subjectKeyId ?? keyId(spki) }, signer, window);
}

export interface IntermediateOptions {
  publicKey: KeyObject;
  /** The root. */
  signer: Signer;
  validityMs: number;
  /** Milliseconds since the epoch. */
  now: number;
}

/** An intermediate that signs leaves and nothing else (path length 0), as PEM. Throws IdentityError where the root cannot sign now. */
export function signIntermediate({ publicKey, signer, validityMs, now }: IntermediateOptions): string {
  if (now >= signer.notAfter) throw new IdentityError(`the root expired at ${new Date(signer.notAfter).toISOString()}`);
  const spki = publicKeyDer(publicKey);
  const subject = nameFor(signerCommonName(signer.trustDomain));
  const window = { notBefore: now - backdatedMs(validityMs, HOST_SKEW_MS), notAfter: signer.notAfter, validityMs };
  return certify({ subject, spki, keyId: keyId(spki), pathLength: 0 }, signer, window);
}

/** The name of a signer that is no root, as Consul's. */
export function signerCommonName(trustDomain: string): string {
  return `sec-${randomBytes(4).toString("hex").slice(0, 7)}.consul.ca.${shortTrustDomain(trustDomain)}.consul`;
}

interface Named {
  subject: Uint8Array;
  spki: Uint8Array;
  keyId: Uint8Array;
  pathLength?: number;
}

function certify(
  named: Named,
  signer: Signer,
  { notBefore, notAfter, validityMs }: Record<"notAfter" | "notBefore" | "validityMs", number>,
): string {
  const wholeSeconds = (ms: number) => Math.floor(ms / 1000) * 1000;
  const from = wholeSeconds(Math.max(notBefore, signer.notBefore));
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40; // positive, and of one length
  const certificate = buildCertificate(
    {
      serial,
      issuer: signer.subject,
      subject: named.subject,
      notBefore: from,
      notAfter: wholeSeconds(Math.min(from + validityMs, signer.notAfter, notAfter)),
      spki: named.spki,
      extensions: signerExtensions(`spiffe://${signer.trustDomain}`, named.keyId, signer.keyId, named.pathLength),
    },
    signer.key,
  );
  return certificateToPem(certificate);
}
