/**
 * Cross-signing: a new root's key and name, signed by the old root. Whoever trusts only the old root follows it from a leaf
 * of the new one, so that a rotation needs no moment at which everybody changes.
 */
import { randomBytes } from "node:crypto";
import { IdentityError } from "@heddle/spiffe";
import { buildCertificate, readCertificate } from "./certificate.ts";
import { signerExtensions } from "./extensions.ts";
import { keyId } from "./keys.ts";
import { CLOCK_SKEW_MS, type Signer } from "./leaf.ts";
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
  const from = Math.max(now - CLOCK_SKEW_MS, signer.notBefore, notBefore);
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40; // positive, and of one length
  const certificate = buildCertificate(
    {
      serial,
      issuer: signer.subject,
      subject,
      notBefore: Math.floor(from / 1000) * 1000,
      notAfter:
        Math.floor(Math.min(Math.floor(from / 1000) * 1000 + validityMs, signer.notAfter, notAfter) / 1000) * 1000,
      spki,
      extensions: signerExtensions(`spiffe://${signer.trustDomain}`, subjectKeyId ?? keyId(spki), signer.keyId),
    },
    signer.key,
  );
  return certificateToPem(certificate);
}
