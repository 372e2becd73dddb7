/** The answers of the Workload API (workload.proto) in protobuf's wire form; nothing of what is asked needs to be read. */
import { createPrivateKey } from "node:crypto";
import { MessageWriter } from "@heddle/grpc";
import { certificatesToDer } from "@heddle/tls";
import type { Leaf, Roots } from "../leaves.ts";

/** X509SVIDResponse: a leaf with its key, and the roots. */
export function encodeSvid(leaf: Leaf, roots: Roots): Buffer {
  const key = createPrivateKey(leaf.PrivateKeyPEM).export({ type: "pkcs8", format: "der" });
  const chain = Buffer.concat(certificatesToDer(leaf.CertPEM));
  const svid = new MessageWriter().bytes(1, leaf.ServiceURI).bytes(2, chain).bytes(3, key).bytes(4, bundleOf(roots));
  return new MessageWriter().message(1, svid).finish();
}

/** X509BundlesResponse: the roots of our trust domain. */
export function encodeBundles(roots: Roots): Buffer {
  const bundle = new MessageWriter().bytes(1, `spiffe://${roots.TrustDomain}`).bytes(2, bundleOf(roots));
  return new MessageWriter().message(2, bundle).finish();
}

const bundleOf = ({ Roots: roots }: Roots): Buffer =>
  Buffer.concat(roots.flatMap(({ RootCert }) => certificatesToDer(RootCert)));
