/** The answers of the Workload API (workload.proto) in protobuf's wire form; nothing of what is asked needs to be read. */
import { createPrivateKey } from "node:crypto";
import { certificatesToDer } from "@heddle/tls";
import type { Leaf, Roots } from "../leaves.ts";

/** X509SVIDResponse: a leaf with its key, and the roots. */
export function encodeSvid(leaf: Leaf, roots: Roots): Buffer {
  const key = createPrivateKey(leaf.PrivateKeyPEM).export({ type: "pkcs8", format: "der" });
  const chain = Buffer.concat(certificatesToDer(leaf.CertPEM));
  const svid = [field(1, leaf.ServiceURI), field(2, chain), field(3, key), field(4, bundleOf(roots))];
  return field(1, Buffer.concat(svid));
}

/** X509BundlesResponse: the roots of our trust domain. */
export function encodeBundles(roots: Roots): Buffer {
  return field(2, Buffer.concat([field(1, `spiffe://${roots.TrustDomain}`), field(2, bundleOf(roots))]));
}

const bundleOf = ({ Roots: roots }: Roots): Buffer =>
  Buffer.concat(roots.flatMap(({ RootCert }) => certificatesToDer(RootCert)));

const LENGTH_DELIMITED = 2;

function field(number: number, value: Buffer | string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([varint((number << 3) | LENGTH_DELIMITED), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  while (left > 0x7f) {
    bytes.push((left & 0x7f) | 0x80);
    left >>>= 7;
  }
  return Buffer.from([...bytes, left]);
}
