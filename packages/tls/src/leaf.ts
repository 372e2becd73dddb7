/** Leaf certificates: what a signer gives a workload, built from nothing but a key and a checked identity. */
import { createPrivateKey, randomBytes, X509Certificate, type KeyObject } from "node:crypto";
import { IdentityError, parseSpiffeId } from "@heddle/spiffe";
import {
  buildCertificate,
  buildCertificateAsync,
  type CertificateTemplate,
  nameFor,
  readCertificate,
} from "./certificate.ts";
import { KEY_USAGE, leafExtensions, uriName, type AltName } from "./extensions.ts";
import { colonHex, keyId, publicKeyDer } from "./keys.ts";
import { certificatesToDer, certificateToPem } from "./pem.ts";

/** A service's NotBefore lies this far back, for peers whose clocks run behind; Consul's. */
export const CLOCK_SKEW_MS = 60_000;
/** That of daemons, and of what signs: a host whose clock is wrong joins the mesh all the same, and is part of it. */
export const HOST_SKEW_MS = 3_600_000;
const MAX_COMMON_NAME = 64; // RFC 5280's ub-common-name

/** A CA key with its certificate, parsed once. */
export interface Signer {
  readonly certPem: string;
  readonly key: KeyObject;
  /** The certificate's subject, as DER: the issuer of what it signs. */
  readonly subject: Buffer;
  readonly keyId: Buffer;
  readonly trustDomain: string;
  /** False for an intermediate. */
  readonly isSelfSigned: boolean;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Reads a CA's key and certificate. Throws IdentityError where they do not belong together or may not sign. */
export function createSigner({ certPem, keyPem }: { certPem: string; keyPem: string }): Signer {
  const [certDer, ...more] = certificatesToDer(certPem, "signing certificate");
  if (!certDer || more.length > 0) throw new IdentityError("signing certificate: want exactly one");
  const facts = readCertificate(certDer);
  const [uri, ...others] = facts.altNames.uris;
  const id = uri === undefined || others.length > 0 ? undefined : parseSpiffeId(uri);
  if (!facts.ca) throw new IdentityError("signing certificate: it is not a CA's (CA:TRUE is missing)");
  if (facts.keyUsage !== undefined && !(facts.keyUsage & KEY_USAGE.keyCertSign))
    throw new IdentityError("signing certificate: its key usage does not allow for signing certificates");
  if (id?.kind !== "signing")
    throw new IdentityError("signing certificate: want one URI name, 'spiffe://<trust-domain>'");
  let key: KeyObject;
  try {
    key = createPrivateKey(keyPem);
  } catch (cause) {
    throw new IdentityError("signing key: it cannot be read as a PEM private key", { cause });
  }
  const certificate = new X509Certificate(certDer);
  if (!certificate.checkPrivateKey(key)) throw new IdentityError("signing key: it does not belong to the certificate");
  return {
    certPem,
    key,
    subject: facts.subject,
    keyId: facts.subjectKeyId ?? keyId(facts.spki),
    trustDomain: id.trustDomain,
    isSelfSigned: facts.subject.equals(facts.issuer) && certificate.verify(certificate.publicKey),
    notBefore: facts.notBefore,
    notAfter: facts.notAfter,
  };
}

export interface LeafOptions {
  /** The SubjectPublicKeyInfo that a checked request carries (`parseCsr`), or a key. */
  publicKey: KeyObject | Buffer;
  /** Canonical text; any kind but a bare trust domain. */
  spiffeId: string;
  signer: Signer;
  ttlMs: number;
  /** Milliseconds since the epoch. */
  now: number;
  /** NotBefore is no earlier than this. */
  earliest?: number | undefined;
}

export interface IssuedLeaf {
  certPem: string;
  /** `08:…`, as on the API. */
  serial: string;
  notBefore: number;
  notAfter: number;
}

/** Signs a leaf. NotAfter is at most the signer's. Throws IdentityError when the signer is not valid now. Takes 0.05 ms. */
export function issueLeaf(options: LeafOptions): IssuedLeaf {
  return signLeaf(namedLeaf(options));
}

/** The same, for signers of any key: an RSA signature does not hold up the event loop. */
export async function issueLeafAsync(options: LeafOptions): Promise<IssuedLeaf> {
  const { template, signer } = leafTemplate(namedLeaf(options));
  return toIssued(await buildCertificateAsync(template, signer.key), template);
}

function namedLeaf({ spiffeId, signer, ...rest }: LeafOptions): SignLeafOptions {
  const id = parseSpiffeId(spiffeId);
  if (id.kind === "signing") throw new IdentityError(`a leaf for '${spiffeId}': want an identity with a path`);
  if (id.trustDomain !== signer.trustDomain)
    throw new IdentityError(`a leaf for '${spiffeId}': the signer's trust domain is '${signer.trustDomain}'`);
  const skewMs = id.kind === "service" ? CLOCK_SKEW_MS : HOST_SKEW_MS;
  return { ...rest, signer, skewMs, names: [uriName(spiffeId)], commonName: leafCommonName(spiffeId) };
}

export interface SignLeafOptions extends Omit<LeafOptions, "spiffeId"> {
  names: AltName[];
  commonName: string;
  /** How far NotBefore lies back, at most a sixth of its life; CLOCK_SKEW_MS by default. */
  skewMs?: number;
}

/** Signs a leaf with any names. Its callers decide who may have them. */
export function signLeaf(options: SignLeafOptions): IssuedLeaf {
  const { template, signer } = leafTemplate(options);
  return toIssued(buildCertificate(template, signer.key), template);
}

function leafTemplate(options: SignLeafOptions): { template: CertificateTemplate; signer: Signer } {
  const { publicKey, names, commonName, signer, ttlMs, now, earliest = 0, skewMs = CLOCK_SKEW_MS } = options;
  if (now >= signer.notAfter)
    throw new IdentityError(
      `cannot sign: the signing certificate expired at ${new Date(signer.notAfter).toISOString()}`,
    );
  if (now < signer.notBefore)
    throw new IdentityError(
      `cannot sign: the signing certificate begins at ${new Date(signer.notBefore).toISOString()}`,
    );
  const spki = Buffer.isBuffer(publicKey) ? publicKey : publicKeyDer(publicKey);
  const from = now - backdatedMs(ttlMs, skewMs);
  const template: CertificateTemplate = {
    serial: leafSerial(),
    issuer: signer.subject,
    subject: nameFor(commonName),
    notBefore: Math.floor(Math.max(from, signer.notBefore, earliest) / 1000) * 1000,
    notAfter: Math.floor(Math.min(from + ttlMs, signer.notAfter) / 1000) * 1000,
    spki,
    extensions: leafExtensions(names, keyId(spki), signer.keyId),
  };
  return { template, signer };
}

/** A leaf whose life is short must not have spent it when it is made. */
export const backdatedMs = (lifeMs: number, skewMs: number): number => Math.min(skewMs, Math.floor(lifeMs / 6));

function toIssued(certificate: Buffer, { serial, notBefore, notAfter }: CertificateTemplate): IssuedLeaf {
  return { certPem: certificateToPem(certificate), serial: colonHex(serial), notBefore, notAfter };
}

/** The common name that Consul gives a leaf: for people, never for a decision. */
export function leafCommonName(spiffeId: string): string {
  const id = parseSpiffeId(spiffeId);
  const short = shortTrustDomain(id.trustDomain);
  const letters = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  const fit = (name: string, rest: string) => `${name.slice(0, Math.max(1, MAX_COMMON_NAME - rest.length))}${rest}`;
  switch (id.kind) {
    case "service":
      return fit(letters(id.service), `.svc.${id.namespace.slice(0, 20)}.${short}.consul`);
    case "agent":
      return fit(letters(id.node), `.agnt.${short}.consul`);
    case "daemon":
      return fit(letters(id.role), `.${letters(id.datacenter).slice(0, 20)}.heddle`);
    case "server":
    case "gateway":
    case "signing":
      return `${id.kind}.${short}.consul`;
  }
}

/** The part of a trust domain that common names show. */
export function shortTrustDomain(trustDomain: string): string {
  return trustDomain.slice(0, 8);
}

// 126 random bits: unique without a counter, so under concurrency and after a crash too.
function leafSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40;
  return serial;
}
