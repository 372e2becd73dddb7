/** Certificate signing requests (PKCS #10, RFC 2986): written by agents, and read by the CA with every rule of our checklist. */
import { createPublicKey, sign, verify, type KeyObject } from "node:crypto";
import { IdentityError, parseSpiffeId, type SpiffeId } from "@heddle/spiffe";
import { encodeExtension, nameFor, readExtensions, signatureAlgorithm, type ExtensionFacts } from "./certificate.ts";
import { signerCommonName } from "./cross-sign.ts";
import { bitString, der, DerReader, oid, readBitString, readDer, readOid, sequence, TAG } from "./der.ts";
import { type Extension, KEY_USAGE, NAME_TAG, OID, requestedOfSigner, subjectAltName, uriName } from "./extensions.ts";
import { publicKeyDer } from "./keys.ts";
import { readPem, toPem } from "./pem.ts";

export const MAX_CSR_BYTES = 16 * 1024;
const LABEL = "CERTIFICATE REQUEST";

/** A request for `spiffeId`, signed with `key`, as PEM. */
export function createCsr({ key, spiffeId }: { key: KeyObject; spiffeId: string }): string {
  // An empty subject, as in SPIFFE: the identity is the URI alone.
  return request(key, sequence(), [subjectAltName([uriName(spiffeId)])]);
}

/** A request for an intermediate that signs for a trust domain, as PEM: for whoever keeps the root's key. */
export function createSignerCsr({ key, trustDomain }: { key: KeyObject; trustDomain: string }): string {
  return request(key, nameFor(signerCommonName(trustDomain)), requestedOfSigner(`spiffe://${trustDomain}`));
}

function request(key: KeyObject, subject: Buffer, wanted: readonly Extension[]): string {
  const extensions = sequence(...wanted.map(encodeExtension));
  const info = sequence(
    der(TAG.integer, Uint8Array.of(0)),
    subject,
    publicKeyDer(key),
    der(0xa0, sequence(oid(OID.extensionRequest), der(TAG.set, extensions))),
  );
  const algorithm = signatureAlgorithm(key);
  return toPem(LABEL, sequence(info, algorithm.der, bitString(sign(algorithm.hash, info, key))));
}

export interface CsrFacts {
  /** The one URI asked for, canonical. */
  spiffeId: string;
  id: SpiffeId;
  publicKey: KeyObject;
  /** The key's SubjectPublicKeyInfo. */
  spki: Buffer;
}

/** Reads a request. Throws IdentityError naming the rule that it breaks. DNS and IP names in it are dropped. */
export function parseCsr(pem: string): CsrFacts {
  if (pem.length > MAX_CSR_BYTES) throw refused(`longer than ${MAX_CSR_BYTES} bytes`);
  const blocks = readPem(pem, LABEL, "certificate request refused");
  if (blocks.length !== 1) throw refused(`${blocks.length} PEM blocks, want exactly one`);
  try {
    return readRequest(blocks[0] as Buffer);
  } catch (error) {
    if (error instanceof IdentityError && !error.message.startsWith(PREFIX)) throw refused(error.message, error);
    throw error;
  }
}

function readRequest(bytes: Buffer): CsrFacts {
  const whole = readDer(bytes, TAG.sequence);
  const info = whole.expect(TAG.sequence);
  const algorithm = whole.enter(TAG.sequence);
  const signature = readBitString(whole.expect(TAG.bitString));
  whole.end();

  const body = readDer(info.raw, TAG.sequence);
  if (body.expect(TAG.integer).content.toString("hex") !== "00") throw refused("its version is not 1");
  body.expect(TAG.sequence); // the subject: ignored, the identity is the URI
  const spki = body.expect(TAG.sequence).raw;
  const attributes = body.optional(0xa0);
  body.end();

  const publicKey = readPublicKey(spki);
  checkSignature(publicKey, readOid(algorithm.expect(TAG.oid)), info.raw, signature);
  const spiffeId = checkRequested(readRequestedExtensions(attributes?.content ?? Buffer.alloc(0)));
  return { spiffeId, id: parseSpiffeId(spiffeId), publicKey, spki };
}

const CURVES = new Set(["prime256v1", "secp384r1", "secp521r1"]);

function readPublicKey(spki: Buffer): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: spki, format: "der", type: "spki" });
  } catch (cause) {
    throw refused("its public key cannot be read", cause);
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === "ec") {
    const curve = details?.namedCurve ?? "of its own";
    if (!CURVES.has(curve)) throw refused(`an EC key on curve '${curve}', want P-256, P-384 or P-521`);
  } else if (type === "rsa") {
    const bits = details?.modulusLength ?? 0;
    if (bits < 2048 || bits > 4096) throw refused(`an RSA key of ${bits} bits, want 2048 to 4096`);
    if (details?.publicExponent !== 65_537n) throw refused("an RSA key whose exponent is not 65537");
  } else if (type !== "ed25519") throw refused(`a key of type '${type}', want EC, RSA or Ed25519`);
  // One form of a key has one key id: a compressed point would live on in the leaf.
  const body = readDer(spki, TAG.sequence);
  body.expect(TAG.sequence);
  const point = readBitString(body.expect(TAG.bitString));
  body.end();
  if (type === "ec" && point[0] !== 0x04) throw refused("its public key is not in canonical, uncompressed form");
  return key;
}

const SIGNATURES: Record<string, { type: string; hash: string | null }> = {
  "1.2.840.10045.4.3.2": { type: "ec", hash: "sha256" },
  "1.2.840.10045.4.3.3": { type: "ec", hash: "sha384" },
  "1.2.840.10045.4.3.4": { type: "ec", hash: "sha512" },
  "1.2.840.113549.1.1.11": { type: "rsa", hash: "sha256" },
  "1.2.840.113549.1.1.12": { type: "rsa", hash: "sha384" },
  "1.2.840.113549.1.1.13": { type: "rsa", hash: "sha512" },
  "1.3.101.112": { type: "ed25519", hash: null },
};

function checkSignature(key: KeyObject, algorithm: string, signed: Buffer, signature: Buffer): void {
  const known = SIGNATURES[algorithm];
  if (!known) throw refused(`signature algorithm ${algorithm}, want SHA-256 or better with EC, RSA or Ed25519`);
  if (known.type !== key.asymmetricKeyType)
    throw refused(`a signature of type ${known.type} with a key of type ${key.asymmetricKeyType}`);
  let isValid = false;
  try {
    isValid = verify(known.hash, signed, key, signature);
  } catch {
    // OpenSSL throws on some malformed signatures; they are as wrong as any other
  }
  if (!isValid) throw refused("its signature does not verify, so its sender need not hold the key");
}

function readRequestedExtensions(attributes: Buffer): ExtensionFacts {
  let found: Buffer | undefined;
  const list = new DerReader(attributes);
  while (!list.done) {
    const attribute = list.enter(TAG.sequence);
    const id = readOid(attribute.expect(TAG.oid));
    const values = attribute.enter(TAG.set);
    attribute.end();
    if (id !== OID.extensionRequest) continue;
    if (found) throw refused("it asks for extensions twice");
    found = values.expect(TAG.sequence).raw;
    values.end();
  }
  if (!found) throw refused("it asks for no name: want exactly one URI");
  return readExtensions(found, { isRequest: true });
}

function checkRequested({ ca, keyUsage, altNames }: ExtensionFacts): string {
  if (ca) throw refused("it asks for CA:TRUE");
  if ((keyUsage ?? 0) & (KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign)) throw refused("it asks for a key usage of CAs");
  const { uris, others } = altNames;
  if (others.includes(NAME_TAG.email)) throw refused("it asks for an e-mail name");
  if (others.length > 0) throw refused(`it asks for a name of type ${(others[0] as number) & 0x1f}`);
  if (uris.length !== 1) throw refused(`${uris.length} URI names, want exactly one`);
  return uris[0] as string;
}

const PREFIX = "certificate request refused";
const refused = (rule: string, cause?: unknown): IdentityError => new IdentityError(`${PREFIX}: ${rule}`, { cause });
