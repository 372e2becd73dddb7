/** Root certificates of a mesh: self-signed, EC P-256, ten years (X509-SVID §3.2). Made once in a cluster's life, with pkijs. */
import { randomBytes, randomInt, sign, type KeyObject } from "node:crypto";
import { signatureAlgorithm } from "./certificate.ts";
import { OID, signerExtensions } from "./extensions.ts";
import { generateKey, keyId, keyToPem, publicKeyDer } from "./keys.ts";
import { certificateToPem } from "./pem.ts";
import { backdatedMs, HOST_SKEW_MS, shortTrustDomain } from "./leaf.ts";

export const DEFAULT_ROOT_VALIDITY_MS = 3_650 * 86_400_000; // Consul's RootCertTTL, 87600h

export interface RootOptions {
  /** `<cluster-uuid>.consul`. */
  trustDomain: string;
  /** `pri-<random>.consul.ca.<first 8 of the trust domain>.consul` by default. */
  commonName?: string;
  validityMs?: number;
  /** Milliseconds since the epoch. */
  now: number;
  /** A new EC P-256 key by default. */
  key?: KeyObject;
}

export interface KeyAndCertificate {
  certPem: string;
  keyPem: string;
}

/** Creates a self-signed root. Loads pkijs, which takes about 40 ms the first time. */
export async function createRootCertificate(options: RootOptions): Promise<KeyAndCertificate> {
  const [pkijs, asn1js] = await Promise.all([import("pkijs"), import("asn1js")]);
  const { trustDomain, now } = options;
  const key = options.key ?? generateKey();
  const spki = publicKeyDer(key);
  const id = keyId(spki);
  const commonName = options.commonName ?? rootCommonName(trustDomain);
  const algorithm = signatureAlgorithm(key);

  const certificate = new pkijs.Certificate();
  certificate.version = 2;
  certificate.serialNumber = new asn1js.Integer({ valueHex: arrayBuffer(rootSerial()) });
  for (const name of [certificate.subject, certificate.issuer]) {
    const value = new asn1js.PrintableString({ value: commonName });
    name.typesAndValues.push(new pkijs.AttributeTypeAndValue({ type: OID.commonName, value }));
  }
  const validityMs = options.validityMs ?? DEFAULT_ROOT_VALIDITY_MS;
  const from = Math.floor((now - backdatedMs(validityMs, HOST_SKEW_MS)) / 1000) * 1000;
  // RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from then on.
  const dated = (ms: number) => {
    const { UTCTime, GeneralizedTime } = pkijs.TimeType;
    return new pkijs.Time({ type: ms < Date.UTC(2050, 0) ? UTCTime : GeneralizedTime, value: new Date(ms) });
  };
  certificate.notBefore = dated(from);
  certificate.notAfter = dated(from + validityMs);
  certificate.subjectPublicKeyInfo = pkijs.PublicKeyInfo.fromBER(arrayBuffer(spki));
  certificate.extensions = signerExtensions(`spiffe://${trustDomain}`, id, id).map(
    (e) => new pkijs.Extension({ extnID: e.oid, critical: e.critical, extnValue: arrayBuffer(e.value) }),
  );
  certificate.signature = certificate.signatureAlgorithm = pkijs.AlgorithmIdentifier.fromBER(
    arrayBuffer(algorithm.der),
  );
  // Signing through node:crypto rather than pkijs's WebCrypto keeps one set of key objects in the product.
  certificate.tbsView = new Uint8Array(certificate.encodeTBS().toBER());
  const signature = sign(algorithm.hash, certificate.tbsView, key);
  certificate.signatureValue = new asn1js.BitString({ valueHex: arrayBuffer(signature) });
  return {
    certPem: certificateToPem(new Uint8Array(certificate.toSchema(true).toBER())),
    keyPem: keyToPem(key),
  };
}

function rootCommonName(trustDomain: string): string {
  const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  const random = Array.from({ length: 7 }, () => alphabet[randomInt(alphabet.length)]).join("");
  return `pri-${random}.consul.ca.${shortTrustDomain(trustDomain)}.consul`;
}

/**
 * 127 bits, of which the API shows the low 64 as a JSON number: 11 of those are zero, so that clients whose numbers are
 * doubles read the same as Consul's own.
 */
function rootSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40; // positive, and of one length
  serial[8] = 0;
  serial[9] = (serial[9] as number) & 0x1f;
  return serial;
}

function arrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
