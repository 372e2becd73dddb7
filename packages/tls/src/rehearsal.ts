/**
 * A rotation, tried before anything is switched: leaves of the old and the new root meet in real mutual-TLS handshakes, in
 * memory, each trusting only what it would trust at that moment. OpenSSL's own verifier judges, as it will in the proxies.
 */
import type { KeyObject } from "node:crypto";
import { duplexPair } from "node:stream";
import { connect, createServer, type TLSSocket } from "node:tls";
import { IdentityError, serviceSpiffeId } from "@heddle/spiffe";
import { createTrustBundle, verifyChain } from "./chain.ts";
import { createMeshClient, meshServerOptions, type TlsIdentity } from "./context.ts";
import { generateKey, keyToPem } from "./keys.ts";
import { CLOCK_SKEW_MS, issueLeaf, type Signer } from "./leaf.ts";
import { checkPeer } from "./peer.ts";
import { verifyStrictly } from "./openssl.ts";
import { certificatesToDer, certificateToPem } from "./pem.ts";

const HANDSHAKE_MS = 5_000;
const LEAF_TTL_MS = 3_600_000;

/** A root, and how leaves come from it. */
export interface Issuing {
  rootPem: string;
  trustDomain: string;
  /** Signs a leaf, by the root itself or an intermediate of it; PEM. */
  issue: (key: KeyObject, spiffeId: string, now: number) => Promise<string> | string;
  /** What leaves are sent with: an intermediate that signs, and what leads to the root before. */
  chain: readonly string[];
}

export interface Rehearsal {
  /** What signs now; undefined where a mesh is founded, or switched without cross-signing. */
  old?: Issuing | undefined;
  next: Issuing;
  now: number;
}

/**
 * Resolves when every pair of proxies that can meet would understand each other, with whether openssl's own command was there to
 * judge, too. Throws IdentityError naming the pair that would not.
 */
export async function rehearseRotation({ old, next, now }: Rehearsal): Promise<{ isStrict: boolean }> {
  const after = await identity(next, now, "after");
  const isStrict = await judge("the new root", after, after.roots, now);
  await meet("two proxies of the new root", after, after, now);
  if (!old) return { isStrict };
  const before = await identity(old, now, "before");
  const both = [old.rootPem, next.rootPem];
  const during = { ...before, roots: both };
  const switched = { ...after, roots: both };
  await meet("a proxy of the new root, called by one that knows only the old", switched, before, now);
  await meet("a proxy that knows only the old root, called by one of the new", before, switched, now);
  await meet("a proxy of the new root, called by one with a leaf of the old", switched, during, now);
  await judge("the new root, for those who know only the old", after, before.roots, now);
  await judge("the old root", before, both, now);
  return { isStrict };
}

/** False where the command is not installed. */
async function judge(who: string, { certPem }: Part, rootPems: readonly string[], at: number): Promise<boolean> {
  const [leafPem = "", ...chain] = certificatesToDer(certPem).map(certificateToPem);
  const verdict = await verifyStrictly({ leafPem, chain, rootPems, at });
  if (verdict !== "ok" && verdict !== "absent")
    throw new IdentityError(`the rehearsal failed: openssl refuses a leaf of ${who}: ${verdict}`);
  return verdict === "ok";
}

/** How leaves come from a signer whose key is here. */
export function issuingOf(signer: Signer, rootPem = signer.certPem, chain: readonly string[] = []): Issuing {
  return {
    rootPem,
    trustDomain: signer.trustDomain,
    chain,
    issue: (publicKey, spiffeId, now) => issueLeaf({ publicKey, spiffeId, signer, ttlMs: LEAF_TTL_MS, now }).certPem,
  };
}

async function identity({ trustDomain, issue, rootPem, chain }: Issuing, now: number, service: string): Promise<Part> {
  const spiffeId = serviceSpiffeId({ trustDomain, datacenter: "rehearsal", service });
  const key = generateKey();
  const certPem = await issue(key, spiffeId, now);
  return { certPem: certPem + chain.join(""), keyPem: keyToPem(key), roots: [rootPem], trustDomain };
}

interface Part extends TlsIdentity {
  trustDomain: string;
}

/** Each end verifies the other's chain at `now`, and both do in a handshake. */
async function meet(who: string, server: Part, client: Part, now: number): Promise<void> {
  for (const [one, other] of [
    [server, client],
    [client, server],
  ] as const) {
    const [leaf, ...intermediates] = certificatesToDer(one.certPem);
    const check = verifyChain(leaf as Buffer, intermediates, createTrustBundle(other.roots), now);
    if (!check.ok) throw new IdentityError(`the rehearsal failed: ${who}: ${check.reason}`);
  }
  // OpenSSL has no clock but the system's: certificates of another time are not for it to judge.
  if (Math.abs(now - Date.now()) < CLOCK_SKEW_MS) await shakeHands(who, server, client);
}

async function shakeHands(who: string, server: Part, client: Part): Promise<void> {
  const [serverEnd, clientEnd] = duplexPair();
  const listener = createServer(meshServerOptions(server, { handshakeTimeoutMs: HANDSHAKE_MS }));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const ends: TLSSocket[] = [];
  const fail = (error: Error) =>
    reject(new IdentityError(`the rehearsal failed: ${who}: ${error.message}`, { cause: error }));
  const done = (stream: TLSSocket) => {
    stream.on("error", fail);
    if (ends.push(stream) < 2) return;
    for (const end of ends) {
      const check = checkPeer(end, { kind: "caller", trustDomain: server.trustDomain });
      if (!check.ok) return fail(new Error(check.reason));
    }
    resolve();
  };
  listener.on("secureConnection", done).on("tlsClientError", fail);
  const timer = setTimeout(() => fail(new Error(`no handshake within ${HANDSHAKE_MS} ms`)), HANDSHAKE_MS);
  listener.emit("connection", serverEnd);
  const stream = connect({ socket: clientEnd, ...createMeshClient(client).options() });
  stream.once("error", fail).once("secureConnect", () => done(stream));
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    for (const end of [stream, ...ends, serverEnd, clientEnd]) end.destroy();
  }
}
