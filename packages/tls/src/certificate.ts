/** X.509 certificates (RFC 5280 §4.1): built from a template, and read as facts from their DER. */
import { sign, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { IdentityError } from "@heddle/spiffe";
import {
  bitString,
  der,
  DerReader,
  integer,
  octetString,
  oid,
  readBitString,
  readBoolean,
  readDer,
  readNamedBits,
  readOid,
  readTime,
  sequence,
  TAG,
  time,
} from "./der.ts";
import { NAME_TAG, OID, type Extension } from "./extensions.ts";

/** Certificates above this are refused unread; a mesh leaf has about 600 bytes. */
export const MAX_CERTIFICATE_BYTES = 16 * 1024;

export interface CertificateTemplate {
  serial: Uint8Array;
  /** Names as DER, so that an issuer's name is copied byte for byte. */
  issuer: Uint8Array;
  subject: Uint8Array;
  notBefore: number;
  notAfter: number;
  spki: Uint8Array;
  extensions: readonly Extension[];
}

/** Builds and signs a certificate; returns its DER. */
export function buildCertificate(template: CertificateTemplate, signer: KeyObject): Buffer {
  const algorithm = signatureAlgorithm(signer);
  const tbs = toBeSigned(template, algorithm.der);
  return sequence(tbs, algorithm.der, bitString(sign(algorithm.hash, tbs, signer)));
}

/** The same; an RSA signature, which takes milliseconds, is made on the thread pool. An EC one is made faster than it is handed over. */
export async function buildCertificateAsync(template: CertificateTemplate, signer: KeyObject): Promise<Buffer> {
  if (signer.asymmetricKeyType !== "rsa") return buildCertificate(template, signer);
  const algorithm = signatureAlgorithm(signer);
  const tbs = toBeSigned(template, algorithm.der);
  return sequence(tbs, algorithm.der, bitString(await signOnPool(algorithm.hash, tbs, signer)));
}

const signOnPool = promisify(sign);

function toBeSigned(template: CertificateTemplate, algorithm: Uint8Array): Buffer {
  return sequence(
    der(0xa0, der(TAG.integer, Uint8Array.of(2))),
    integer(template.serial),
    algorithm,
    template.issuer,
    sequence(time(template.notBefore), time(template.notAfter)),
    template.subject,
    template.spki,
    der(0xa3, sequence(...template.extensions.map(encodeExtension))),
  );
}

export function encodeExtension(extension: Extension): Buffer {
  const critical = extension.critical ? [der(TAG.boolean, Uint8Array.of(0xff))] : [];
  return sequence(oid(extension.oid), ...critical, octetString(extension.value));
}

/** A Name of one common name, as Consul's certificates have it. */
export function nameFor(commonName: string): Buffer {
  const tag = /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(commonName) ? TAG.printableString : TAG.utf8String;
  return sequence(der(TAG.set, sequence(oid(OID.commonName), der(tag, Buffer.from(commonName)))));
}

const NULL = der(TAG.null);
const ALGORITHMS: Record<string, { hash: string | null; oid: string; params: Buffer[] }> = {
  secp224r1: { hash: "sha256", oid: "1.2.840.10045.4.3.2", params: [] },
  prime256v1: { hash: "sha256", oid: "1.2.840.10045.4.3.2", params: [] },
  secp384r1: { hash: "sha384", oid: "1.2.840.10045.4.3.3", params: [] },
  secp521r1: { hash: "sha512", oid: "1.2.840.10045.4.3.4", params: [] },
  rsa: { hash: "sha256", oid: "1.2.840.113549.1.1.11", params: [NULL] },
  ed25519: { hash: null, oid: "1.3.101.112", params: [] },
};

/** How a key signs: SHA-256, or as strong as its curve. Throws IdentityError for a key type that we do not use. */
export function signatureAlgorithm(key: KeyObject): { hash: string | null; oid: string; der: Buffer } {
  const type = key.asymmetricKeyType === "ec" ? key.asymmetricKeyDetails?.namedCurve : key.asymmetricKeyType;
  const known = ALGORITHMS[type ?? ""];
  if (!known) throw new IdentityError(`no signature algorithm for a key of type '${type}'`);
  return { hash: known.hash, oid: known.oid, der: sequence(oid(known.oid), ...known.params) };
}

export interface AltNames {
  /** Every URI, byte for byte as Latin-1: only what is plain ASCII can equal an identity. */
  uris: string[];
  dns: string[];
  ips: Buffer[];
  /** Tags of names of any other type. */
  others: number[];
}

export interface CertificateFacts {
  serial: Buffer;
  issuer: Buffer;
  subject: Buffer;
  notBefore: number;
  notAfter: number;
  spki: Buffer;
  ca: boolean;
  pathLength: number | undefined;
  /** Undefined where the extension is absent. */
  keyUsage: number | undefined;
  extKeyUsage: string[] | undefined;
  altNames: AltNames;
  subjectKeyId: Buffer | undefined;
}

/** Reads a certificate's DER. Throws IdentityError on anything malformed, doubled, or critical and unknown. */
export function readCertificate(bytes: Buffer): CertificateFacts {
  if (bytes.length > MAX_CERTIFICATE_BYTES)
    throw new IdentityError(`certificate longer than ${MAX_CERTIFICATE_BYTES} bytes`);
  const whole = readDer(bytes, TAG.sequence);
  const tbs = whole.enter(TAG.sequence);
  const algorithm = whole.expect(TAG.sequence).raw;
  readBitString(whole.expect(TAG.bitString));
  whole.end();

  const version = tbs.optional(0xa0);
  if (version?.content.toString("hex") !== "020102") throw new IdentityError("certificate is not of version 3");
  const serial = tbs.expect(TAG.integer).content;
  if (!tbs.expect(TAG.sequence).raw.equals(algorithm))
    throw new IdentityError("certificate names two signature algorithms");
  const issuer = tbs.expect(TAG.sequence).raw;
  const validity = tbs.enter(TAG.sequence);
  const notBefore = readTime(validity.next());
  const notAfter = readTime(validity.next());
  validity.end();
  const subject = tbs.expect(TAG.sequence).raw;
  const spki = tbs.expect(TAG.sequence).raw;
  tbs.optional(0x81); // the unique identifiers of version 2: allowed, never used
  tbs.optional(0x82);
  const extensions = tbs.optional(0xa3);
  tbs.end();
  return {
    serial,
    issuer,
    subject,
    notBefore,
    notAfter,
    spki,
    ...readExtensions(extensions ? extensions.content : sequence()),
  };
}

export type ExtensionFacts = Pick<
  CertificateFacts,
  "ca" | "pathLength" | "keyUsage" | "extKeyUsage" | "altNames" | "subjectKeyId"
>;

/** Reads a SEQUENCE of extensions, from a certificate or (where unknown ones are only wishes) a request. Throws IdentityError. */
export function readExtensions(bytes: Buffer, { isRequest = false } = {}): ExtensionFacts {
  const facts: ExtensionFacts = {
    ca: false,
    pathLength: undefined,
    keyUsage: undefined,
    extKeyUsage: undefined,
    altNames: { uris: [], dns: [], ips: [], others: [] },
    subjectKeyId: undefined,
  };
  const seen = new Set<string>();
  const list = readDer(bytes, TAG.sequence);
  while (!list.done) {
    const extension = list.enter(TAG.sequence);
    const id = readOid(extension.expect(TAG.oid));
    const critical = extension.optional(TAG.boolean);
    const isCritical = critical !== undefined && readBoolean(critical);
    const value = extension.expect(TAG.octetString).content;
    extension.end();
    if (seen.has(id)) throw new IdentityError(`extension ${id} stands twice`);
    seen.add(id);
    switch (id) {
      case OID.basicConstraints: {
        const constraints = readDer(value, TAG.sequence);
        const flag = constraints.optional(TAG.boolean);
        facts.ca = flag !== undefined && readBoolean(flag);
        facts.pathLength = constraints.optional(TAG.integer)?.content.readUIntBE(0, 1);
        constraints.end();
        break;
      }
      case OID.keyUsage:
        facts.keyUsage = readNamedBits(only(value));
        break;
      case OID.extKeyUsage:
        facts.extKeyUsage = readAll(value).map(readOid);
        break;
      case OID.subjectAltName:
        facts.altNames = readAltNames(value);
        break;
      case OID.subjectKeyId:
        facts.subjectKeyId = only(value).content;
        break;
      default:
        if (isCritical && !isRequest) throw new IdentityError(`critical extension ${id} is not understood`);
    }
  }
  return facts;
}

function readAltNames(value: Buffer): AltNames {
  const names: AltNames = { uris: [], dns: [], ips: [], others: [] };
  for (const name of readAll(value)) {
    if (name.tag === NAME_TAG.uri) names.uris.push(name.content.toString("latin1"));
    else if (name.tag === NAME_TAG.dns) names.dns.push(name.content.toString("latin1"));
    else if (name.tag === NAME_TAG.ip) names.ips.push(name.content);
    else names.others.push(name.tag);
  }
  return names;
}

function readAll(value: Buffer) {
  const list = readDer(value, TAG.sequence);
  const all = [];
  while (!list.done) all.push(list.next());
  return all;
}

function only(value: Buffer) {
  const reader = new DerReader(value);
  const one = reader.next();
  reader.end();
  return one;
}
