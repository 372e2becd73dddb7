/**
 * Who is at the other end: the SPIFFE rules that Node and OpenSSL do not check (X509-SVID §5; SECURITY.md, peer checks 1–4).
 * OpenSSL validates the chain during the handshake; everything here reads the peer's DER, on every connection.
 */
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { IdentityError, parseSpiffeId, type SpiffeId } from "@heddle/spiffe";
import { readCertificate, type CertificateFacts } from "./certificate.ts";
import { MAX_CHAIN_LENGTH, verifyChain, type TrustBundle } from "./chain.ts";
import { KEY_USAGE, OID } from "./extensions.ts";
import { colonHex } from "./keys.ts";

export type PeerExpectation = PeerChain &
  (
    | { kind: "caller"; trustDomain: string } // any service of our trust domain
    | { kind: "server"; spiffeId: string } // exactly the service that was dialled
    | { kind: "daemon"; roles: readonly string[]; trustDomain?: string; datacenter?: string }
  );

/** The chain, to be verified again outside a handshake; without `roots`, the handshake's verdict stands. */
export interface PeerChain {
  roots?: TrustBundle;
  intermediates?: readonly Buffer[];
  /** Milliseconds since the epoch; now by default. */
  at?: number;
}

export interface Peer {
  ok: true;
  id: SpiffeId;
  /** The one URI, byte for byte. */
  spiffeId: string;
  /** `08:…`, as on the API. */
  serial: string;
  /** Milliseconds since the epoch. */
  notBefore: number;
  notAfter: number;
}

export type PeerCheck = Peer | { ok: false; reason: string };

/** Checks a peer's certificate against who it should be. Never throws; the reason names who was expected and who came. */
export function checkPeerCertificate(certificate: Buffer, expectation: PeerExpectation): PeerCheck {
  const refuse = (why: string): PeerCheck => ({ ok: false, reason: `${expected(expectation)}, but ${why}` });
  try {
    const facts = readCertificate(certificate);
    const { notBefore, notAfter } = facts;
    const spiffeId = checkLeaf(facts, expectation.kind);
    const id = checkIdentity(spiffeId, expectation);
    if (expectation.roots) {
      const { roots, intermediates = [], at = Date.now() } = expectation;
      const chain = verifyChain(certificate, intermediates, roots, at);
      if (!chain.ok) return refuse(`the certificate of '${spiffeId}' is not valid: ${chain.reason}`);
    }
    return { ok: true, id, spiffeId, serial: colonHex(facts.serial), notBefore, notAfter };
  } catch (error) {
    if (error instanceof IdentityError) return refuse(error.message);
    return refuse(`the peer's certificate cannot be read: ${String(error)}`);
  }
}

/** Checks the peer of an established connection; what its handshake did not prove is refused. Never throws. */
export function checkPeer(socket: TLSSocket, expectation: PeerExpectation): PeerCheck {
  const refuse = (why: string): PeerCheck => ({ ok: false, reason: `${expected(expectation)}, but ${why}` });
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) return refuse("no certificate was presented");
  if (!socket.authorized) return refuse(`its chain is not valid: ${String(socket.authorizationError)}`);
  // Node does not check the peer of a resumed session again (SECURITY.md, fact 1).
  if (socket.isSessionReused()) return refuse("the session was resumed");
  if (chainLength(certificate) > MAX_CHAIN_LENGTH) return refuse(`its chain is longer than ${MAX_CHAIN_LENGTH}`);
  return checkPeerCertificate(certificate.raw, expectation);
}

/** Who a daemon is on the internal API. */
export interface InternalPeer {
  trustDomain: string;
  datacenter: string;
  role: string;
  /** The node that it speaks for, where it speaks for one. */
  node?: string;
}

/**
 * Who an identity is on the internal API: by the role that a CA for that alone has given, or as a node's agent or a server by
 * the mesh's own CA. Undefined for services and all else.
 */
export function toInternalPeer(id: SpiffeId): InternalPeer | undefined {
  switch (id.kind) {
    case "daemon":
      return id;
    case "agent":
      // Agents of a partition are nobody here: there are none.
      return id.partition === undefined ? { ...id, role: "agent" } : undefined;
    case "server":
      return { ...id, role: "server" };
    case "gateway":
    case "service":
    case "signing":
      return undefined;
  }
}

/** The role in a daemon's certificate; undefined for anybody else, and where the handshake proved nothing. */
export function peerRole(socket: TLSSocket): string | undefined {
  return peerDaemon(socket)?.role;
}

/** The daemon at the other end of a mutual-TLS connection of the internal API. */
export function peerDaemon(socket: TLSSocket): InternalPeer | undefined {
  const certificate = socket.authorized && !socket.isSessionReused() ? socket.getPeerX509Certificate() : undefined;
  if (!certificate) return undefined;
  try {
    const facts = readCertificate(certificate.raw);
    return toInternalPeer(parseSpiffeId(checkLeaf(facts, "daemon")));
  } catch {
    return undefined;
  }
}

/** Peer check 2: a leaf, for authentication, with exactly one URI. Returns the URI. */
function checkLeaf(facts: CertificateFacts, kind: PeerExpectation["kind"]): string {
  const { ca, keyUsage, extKeyUsage, altNames } = facts;
  const [uri] = altNames.uris;
  const who = altNames.uris.length === 1 ? `'${shown(uri as string)}'` : "the peer";
  if (ca) throw new IdentityError(`the certificate of ${who} is a CA's`);
  if (keyUsage === undefined) throw new IdentityError(`the certificate of ${who} has no key usage`);
  if (keyUsage & (KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign))
    throw new IdentityError(`the certificate of ${who} may sign certificates`);
  if (!(keyUsage & KEY_USAGE.digitalSignature))
    throw new IdentityError(`the certificate of ${who} is not for signatures`);
  if (extKeyUsage && !(extKeyUsage.includes(OID.clientAuth) && extKeyUsage.includes(OID.serverAuth)))
    throw new IdentityError(`the certificate of ${who} is not for both ends of TLS`);
  if (uri === undefined || altNames.uris.length !== 1)
    throw new IdentityError(`the peer's certificate has ${altNames.uris.length} URI names instead of one`);
  if (altNames.others.length > 0)
    throw new IdentityError(`the certificate of ${who} has names that are no URI, DNS name or IP address`);
  // A service's identity is its URI; another name beside it is a claim that nobody checked.
  if (kind !== "daemon" && altNames.dns.length + altNames.ips.length > 0)
    throw new IdentityError(
      `the certificate of ${who} has names beside its URI: ${altNames.dns.map(shown).join(", ") || "IP addresses"}`,
    );
  return uri;
}

/** Peer checks 3 and 4: who it is, compared as bytes. */
function checkIdentity(spiffeId: string, expectation: PeerExpectation): SpiffeId {
  const presented = `'${shown(spiffeId)}' was presented`;
  const id = parseSpiffeId(spiffeId);
  switch (expectation.kind) {
    case "server":
      if (spiffeId !== expectation.spiffeId) throw new IdentityError(presented);
      break;
    case "caller":
      if (id.kind !== "service") throw new IdentityError(`${presented}, which is no service`);
      if (id.trustDomain !== expectation.trustDomain) throw new IdentityError(`${presented}, of another trust domain`);
      break;
    case "daemon": {
      const peer = toInternalPeer(id);
      if (!peer) throw new IdentityError(`${presented}, which is no daemon`);
      if (!expectation.roles.includes(peer.role)) throw new IdentityError(presented);
      if ((expectation.trustDomain ?? peer.trustDomain) !== peer.trustDomain)
        throw new IdentityError(`${presented}, of another trust domain`);
      if ((expectation.datacenter ?? peer.datacenter) !== peer.datacenter)
        throw new IdentityError(`${presented}, of another datacenter`);
    }
  }
  return id;
}

function expected(expectation: PeerExpectation): string {
  switch (expectation.kind) {
    case "server":
      return `expected '${expectation.spiffeId}'`;
    case "caller":
      return `expected a service of '${expectation.trustDomain}'`;
    case "daemon":
      return `expected a daemon with role ${expectation.roles.join(" or ")}`;
  }
}

/** Of what was presented, in its order: a certificate that comes twice counts twice, or it would hide what follows it. */
function chainLength(leaf: X509Certificate): number {
  let length = 1;
  for (let at = leaf.issuerCertificate; at && length <= MAX_CHAIN_LENGTH; at = at.issuerCertificate) length++;
  return length;
}

// A peer's bytes in a reason: printable and bounded, for it ends in logs.
function shown(text: string): string {
  return text.slice(0, 200).replace(/[^\x20-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
