/** The X.509 extensions that mesh certificates hold (RFC 5280 §4.2), encoded. */
import { der, namedBits, octetString, oid, sequence, TAG } from "./der.ts";
import { isIP } from "node:net";

export const OID = {
  commonName: "2.5.4.3",
  subjectKeyId: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  authorityKeyId: "2.5.29.35",
  extKeyUsage: "2.5.29.37",
  extensionRequest: "1.2.840.113549.1.9.14",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** Key usage bits (RFC 5280 §4.2.1.3): bit n is `1 << n`. */
export const KEY_USAGE = {
  digitalSignature: 1 << 0,
  nonRepudiation: 1 << 1,
  keyEncipherment: 1 << 2,
  dataEncipherment: 1 << 3,
  keyAgreement: 1 << 4,
  keyCertSign: 1 << 5,
  cRLSign: 1 << 6,
} as const;

/** GeneralName tags (RFC 5280 §4.2.1.6). */
export const NAME_TAG = {
  otherName: 0xa0,
  email: 0x81,
  dns: 0x82,
  dirName: 0xa4,
  uri: 0x86,
  ip: 0x87,
  registeredId: 0x88,
} as const;

export interface Extension {
  oid: string;
  critical: boolean;
  /** The DER inside the extension's OCTET STRING. */
  value: Buffer;
}

const LEAF_USAGE = KEY_USAGE.digitalSignature | KEY_USAGE.keyEncipherment | KEY_USAGE.keyAgreement;
const SIGNER_USAGE = KEY_USAGE.digitalSignature | KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign;

export const keyUsage = (mask: number): Extension => ({ oid: OID.keyUsage, critical: true, value: namedBits(mask) });
export const extKeyUsage = (oids: readonly string[]): Extension => ({
  oid: OID.extKeyUsage,
  critical: false,
  value: sequence(...oids.map(oid)),
});
export const basicConstraints = (ca: boolean, pathLength?: number): Extension => ({
  oid: OID.basicConstraints,
  critical: true,
  value: ca
    ? sequence(
        der(TAG.boolean, Uint8Array.of(0xff)),
        ...(pathLength === undefined ? [] : [der(TAG.integer, Uint8Array.of(pathLength))]),
      )
    : sequence(),
});
export const subjectKeyId = (id: Uint8Array): Extension => ({
  oid: OID.subjectKeyId,
  critical: false,
  value: octetString(id),
});
export const authorityKeyId = (id: Uint8Array): Extension => ({
  oid: OID.authorityKeyId,
  critical: false,
  value: sequence(der(0x80, id)),
});

export interface AltName {
  tag: number;
  value: Uint8Array;
}

export const uriName = (text: string): AltName => ({ tag: NAME_TAG.uri, value: Buffer.from(text, "latin1") });
export const dnsName = (text: string): AltName => ({ tag: NAME_TAG.dns, value: Buffer.from(text, "latin1") });
export const ipName = (text: string): AltName => ({ tag: NAME_TAG.ip, value: ipBytes(text) });
export const subjectAltName = (names: readonly AltName[]): Extension => ({
  oid: OID.subjectAltName,
  critical: false,
  value: sequence(...names.map((n) => der(n.tag, n.value))),
});

/** What a request of a signer asks for. */
export const requestedOfSigner = (uri: string): Extension[] => [
  keyUsage(SIGNER_USAGE),
  basicConstraints(true),
  subjectAltName([uriName(uri)]),
];

/** What a leaf holds. Consul also sets dataEncipherment, which SPIFFE validators refuse: left out. */
export function leafExtensions(names: readonly AltName[], spkiId: Uint8Array, issuerKeyId: Uint8Array): Extension[] {
  return [
    keyUsage(LEAF_USAGE),
    extKeyUsage([OID.clientAuth, OID.serverAuth]),
    basicConstraints(false),
    subjectKeyId(spkiId),
    authorityKeyId(issuerKeyId),
    subjectAltName(names),
  ];
}

/** What a root or an intermediate holds (X509-SVID §3.2): its URI has no path, so that it can never pass for a workload. */
export function signerExtensions(
  uri: string,
  spkiId: Uint8Array,
  issuerKeyId: Uint8Array,
  pathLength?: number,
): Extension[] {
  return [
    keyUsage(SIGNER_USAGE),
    basicConstraints(true, pathLength),
    subjectKeyId(spkiId),
    authorityKeyId(issuerKeyId),
    subjectAltName([uriName(uri)]),
  ];
}

function ipBytes(text: string): Buffer {
  if (isIP(text) === 4) return Buffer.from(text.split(".").map(Number));
  const [head = "", tail] = text.split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":"));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const all = [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  return Buffer.from(all.flatMap((g) => [Number.parseInt(g, 16) >> 8, Number.parseInt(g, 16) & 0xff]));
}
