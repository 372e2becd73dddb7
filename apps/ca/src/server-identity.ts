/**
 * The identity of a server that has this CA in its process, `spiffe://<trust domain>/agent/server/dc/<dc>`: made at start,
 * renewed like a leaf, signed anew when the root changes. Its key never leaves the process.
 */
import { backoffMs, type Clock, createIdentity, describeError, type LiveIdentity, type Logger } from "@heddle/daemon";
import { formatSpiffeId } from "@heddle/spiffe";
import { createCsr, generateKey, keyToPem, renewalDelayMs } from "@heddle/tls";
import type { Authority } from "./authority.ts";
import type { Issuer, SignedLeaf } from "./issuer.ts";

const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 30_000;

export interface ServerIdentityOptions {
  authority: Authority;
  issuer: Issuer;
  datacenter: string;
  clock: Clock;
  log: Logger;
}

/** Resolves with the first certificate; renews until it is disposed of. */
export async function createServerIdentity(options: ServerIdentityOptions): Promise<LiveIdentity & Disposable> {
  const { authority, issuer, datacenter, clock, log } = options;
  const { trustDomain } = authority;
  const spiffeId = formatSpiffeId({ kind: "server", trustDomain, datacenter });
  const sign = async (): Promise<{ leaf: SignedLeaf; keyPem: string }> => {
    const key = generateKey();
    const csr = createCsr({ key, spiffeId });
    const leaf = await issuer.sign(csr, "this server", ({ kind }) =>
      kind === "server" ? undefined : "not a server's",
    );
    return { leaf, keyPem: keyToPem(key) };
  };
  const toIdentity = ({ leaf, keyPem }: { leaf: SignedLeaf; keyPem: string }) => ({
    certPem: leaf.certPem + leaf.chainPem.join(""),
    keyPem,
    roots: authority.roots().map(({ value }) => value.certPem),
  });
  let current = await sign();
  const identity = createIdentity(toIdentity(current));
  let isClosed = false;
  let attempt = 0;
  const delay = ({ notBefore, notAfter }: SignedLeaf) =>
    renewalDelayMs({ notBefore: Date.parse(notBefore), notAfter: Date.parse(notAfter) }, clock.now());
  const renewIn = (ms: number) => clock.after(ms, () => void renew());
  let timer = renewIn(delay(current.leaf));
  const renew = async () => {
    timer.cancel();
    if (isClosed) return;
    try {
      current = await sign();
      attempt = 0;
      identity.set(toIdentity(current));
      timer = renewIn(delay(current.leaf));
    } catch (error) {
      log.warn("cannot renew this server's certificate, trying again", { error: describeError(error) });
      timer = renewIn(backoffMs(attempt++, RETRY_BASE_MS, RETRY_MAX_MS));
    }
  };
  const off = authority.onRootsChanged(() => {
    // A root that has left the list is not trusted any more, even where the signing one is the same.
    identity.set(toIdentity(current));
    if (authority.activeRoot.id !== current.leaf.rootId) void renew();
  });
  return {
    ...identity,
    [Symbol.dispose]() {
      isClosed = true;
      off();
      timer.cancel();
    },
  };
}
