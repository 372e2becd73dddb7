/** Forged certificate requests: each breaks one rule of SECURITY.md's checklist. */
import { createHash, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { encodeExtension, signatureAlgorithm } from "./certificate.ts";
import { bitString, der, oid, sequence, TAG } from "./der.ts";
import {
  basicConstraints,
  dnsName,
  KEY_USAGE,
  keyUsage,
  NAME_TAG,
  OID,
  subjectAltName,
  uriName,
  type AltName,
  type Extension,
} from "./extensions.ts";
import { generateKey, publicKeyDer } from "./keys.ts";
import { toPem } from "./pem.ts";

export interface ForgedCsr {
  names?: AltName[];
  /** Beside the names. */
  extensions?: Extension[];
  key?: KeyObject;
  /** The key that is asked for, where it is not the one that signs. */
  publicKey?: Uint8Array;
  version?: number;
  signature?: { oid: string; hash: string };
  /** Attributes as a whole, in place of the extension request. */
  attributes?: Uint8Array[];
}

/** A request as PEM, with anything wrong about it. */
export function forgeCsr(spiffeId: string, forged: ForgedCsr = {}): string {
  return toPem("CERTIFICATE REQUEST", forgeRequest(spiffeId, forged));
}

function forgeRequest(spiffeId: string, forged: ForgedCsr): Buffer {
  const key = forged.key ?? generateKey();
  const info = sequence(
    der(TAG.integer, Uint8Array.of(forged.version ?? 0)),
    sequence(),
    forged.publicKey ?? publicKeyDer(key),
    der(0xa0, ...(forged.attributes ?? [extensionRequest(forged.names ?? [uriName(spiffeId)], forged.extensions)])),
  );
  const algorithm = forged.signature
    ? { der: sequence(oid(forged.signature.oid)), hash: forged.signature.hash }
    : signatureAlgorithm(key);
  return sequence(info, algorithm.der, bitString(sign(algorithm.hash, info, key)));
}

function extensionRequest(names: AltName[], more: Extension[] = []): Buffer {
  const all = [...(names.length > 0 ? [subjectAltName(names)] : []), ...more];
  return sequence(oid(OID.extensionRequest), der(TAG.set, sequence(...all.map(encodeExtension))));
}

export interface BadRequest {
  name: string;
  pem: string;
  /** Words of the refusal. */
  rule: string;
}

/** Requests for `spiffeId` that no CA may sign. */
export function badRequests(spiffeId: string): BadRequest[] {
  const good = forgeCsr(spiffeId);
  const key = generateKey();
  const csr = (forged: ForgedCsr) => forgeCsr(spiffeId, forged);
  const names = (...list: AltName[]) => csr({ names: list });
  const uri = (text: string) => names(uriName(text));
  const web = uriName(spiffeId);
  const pair = (type: "rsa" | "ec", options: object) =>
    generateKeyPairSync(type as "rsa", options as { modulusLength: number }).privateKey;
  const flipped = forgeRequest(spiffeId, {});
  flipped[flipped.length - 1] = (flipped[flipped.length - 1] as number) ^ 1;
  const spki = publicKeyDer(key);
  const compressed = Buffer.concat([
    Buffer.from("3039301306072a8648ce3d020106082a8648ce3d030107032200", "hex"),
    Uint8Array.of((spki.at(-1) as number) & 1 ? 3 : 2),
    spki.subarray(27, 59),
  ]);
  const offCurve = Buffer.from(spki).fill(createHash("sha256").update("x").digest(), 27, 59);
  const request = extensionRequest([web]);
  const td = spiffeId.split("/")[2] as string;
  const rows: [string, string, string][] = [
    ["empty text", "", "no PEM block"],
    ["no PEM at all", "hello", "PEM blocks of type"],
    ["another PEM type", good.replaceAll("CERTIFICATE REQUEST", "CERTIFICATE"), "type 'CERTIFICATE'"],
    ["two requests", good + good, "2 PEM blocks"],
    ["text after the block", `${good}more`, "nothing else"],
    ["text before the block", `more\n${good}`, "nothing else"],
    ["bad base64", good.replace(/\n(.)/, "\n*"), "nothing else"],
    ["more than 16 KiB", good + "\n".repeat(16_384), "longer than"],
    ["not DER", toPem("CERTIFICATE REQUEST", Buffer.from("hello")), "malformed DER"],
    ["cut short", toPem("CERTIFICATE REQUEST", flipped.subarray(0, -9)), "malformed DER"],
    [
      "bytes after the request",
      toPem("CERTIFICATE REQUEST", Buffer.concat([flipped, Uint8Array.of(0)])),
      "malformed DER",
    ],
    ["version 2", csr({ version: 1 }), "version"],
    ["a broken signature", toPem("CERTIFICATE REQUEST", flipped), "does not verify"],
    ["somebody else's key", csr({ publicKey: publicKeyDer(generateKey()) }), "does not verify"],
    ["a SHA-1 signature", csr({ key, signature: { oid: "1.2.840.10045.4.1", hash: "sha1" } }), "signature algorithm"],
    [
      "an RSA signature named over an EC key",
      csr({ key, signature: { oid: "1.2.840.113549.1.1.11", hash: "sha256" } }),
      "with a key of type",
    ],
    ["a P-224 key", csr({ key, publicKey: publicKeyDer(pair("ec", { namedCurve: "P-224" })) }), "curve"],
    ["a secp256k1 key", csr({ key, publicKey: publicKeyDer(pair("ec", { namedCurve: "secp256k1" })) }), "curve"],
    ["an RSA key of 1024 bits", csr({ key: pair("rsa", { modulusLength: 1_024 }) }), "1024 bits"],
    ["an RSA key with exponent 3", csr({ key: pair("rsa", { modulusLength: 2_048, publicExponent: 3 }) }), "exponent"],
    [
      "a DSA-like unknown key",
      csr({ key, publicKey: sequence(sequence(oid("1.2.3.4")), bitString(Uint8Array.of(1))) }),
      "public key",
    ],
    ["a compressed point", csr({ key, publicKey: compressed }), "canonical"],
    ["a point off its curve", csr({ key, publicKey: offCurve }), "public key"],
    ["no extension request", csr({ attributes: [] }), "no name"],
    ["two extension requests", csr({ attributes: [request, request] }), "twice"],
    ["no URI", names(dnsName("web")), "0 URI names"],
    ["two URIs", names(web, uriName(`${spiffeId}2`)), "2 URI names"],
    ["the same URI twice", names(web, web), "2 URI names"],
    ["an e-mail name", names(web, { tag: NAME_TAG.email, value: Buffer.from("a@b") }), "e-mail"],
    ["an otherName", names(web, { tag: NAME_TAG.otherName, value: oid("1.2.3") }), "type 0"],
    ["a directory name", names(web, { tag: NAME_TAG.dirName, value: sequence() }), "type 4"],
    ["a registered id", names(web, { tag: NAME_TAG.registeredId, value: Uint8Array.of(0x2a, 3) }), "type 8"],
    ["CA:TRUE", csr({ extensions: [basicConstraints(true)] }), "CA:TRUE"],
    ["keyCertSign", csr({ extensions: [keyUsage(KEY_USAGE.keyCertSign)] }), "key usage of CAs"],
    ["cRLSign", csr({ extensions: [keyUsage(KEY_USAGE.digitalSignature | KEY_USAGE.cRLSign)] }), "key usage of CAs"],
    ["the same extension twice", csr({ extensions: [subjectAltName([web])] }), "stands twice"],
    ["an http: URI", uri(spiffeId.replace("spiffe:", "http:")), "does not begin"],
    ["an upper-case trust domain", uri(spiffeId.replace(td, td.toUpperCase())), "lower-case"],
    ["userinfo", uri(spiffeId.replace("//", "//u@")), "userinfo"],
    ["a port", uri(spiffeId.replace(td, `${td}:1`)), "port"],
    ["a query", uri(`${spiffeId}?a`), "query"],
    ["a fragment", uri(`${spiffeId}#a`), "fragment"],
    ["percent-encoding", uri(spiffeId.replace(/.$/, "%77")), "percent-encoding"],
    ["a dot-dot segment", uri(`${spiffeId}/../db`), "'..'"],
    ["a trailing slash", uri(`${spiffeId}/`), "empty path segment"],
    ["a NUL", uri(`${spiffeId}\0`), "control character"],
    ["a URI of 3 KiB", uri(spiffeId + "x".repeat(3_072)), "longer than"],
  ];
  return rows.map(([name, pem, rule]) => ({ name, pem, rule }));
}
