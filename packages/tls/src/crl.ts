/** Certificate revocation lists (RFC 5280 §5): what our list of serials says, in the form that other software reads. */
import { sign, type KeyObject } from "node:crypto";
import { encodeExtension, signatureAlgorithm } from "./certificate.ts";
import { bitString, der, integer, sequence, TAG, time } from "./der.ts";
import { authorityKeyId } from "./extensions.ts";
import { toPem } from "./pem.ts";
import { serialKey } from "./revocation.ts";

const CRL_NUMBER = "2.5.29.20";

export interface CrlOptions {
  /** Whose certificates it is about: the certificate's subject as DER, its key and the key's id. */
  signer: { subject: Buffer; key: KeyObject; keyId: Buffer };
  revoked: readonly { serial: string; at: number }[];
  /** Grows with each list. */
  number: number;
  /** Milliseconds since the epoch. */
  now: number;
  nextUpdate: number;
}

/** Builds and signs a list; returns its DER. */
export function buildCrl({ signer, revoked, number, now, nextUpdate }: CrlOptions): Buffer {
  const algorithm = signatureAlgorithm(signer.key);
  const entries = revoked.map(({ serial, at }) => sequence(integer(Buffer.from(serialKey(serial), "hex")), time(at)));
  const numberBytes = Buffer.alloc(8);
  numberBytes.writeBigUInt64BE(BigInt(number));
  const extensions = [
    authorityKeyId(signer.keyId),
    { oid: CRL_NUMBER, critical: false, value: integer(numberBytes) },
  ].map(encodeExtension);
  const tbs = sequence(
    der(TAG.integer, Uint8Array.of(1)),
    algorithm.der,
    signer.subject,
    time(now),
    time(nextUpdate),
    // An empty list is left out altogether (§5.1.2.6).
    ...(entries.length > 0 ? [sequence(...entries)] : []),
    der(0xa0, sequence(...extensions)),
  );
  return sequence(tbs, algorithm.der, bitString(sign(algorithm.hash, tbs, signer.key)));
}

export const crlToPem = (bytes: Uint8Array): string => toPem("X509 CRL", bytes);
