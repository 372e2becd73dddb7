/**
 * TLS settings of the mesh: mutual, 1.2 to 1.3, authenticated ciphers only, and no resumption on either end (SECURITY.md,
 * fact 1). Options are plain values for Node's own functions; certificates change by swapping the secure context.
 */
import { constants } from "node:crypto";
import {
  checkServerIdentity,
  createSecureContext,
  type ConnectionOptions,
  type PeerCertificate,
  type SecureContext,
  type SecureContextOptions,
  type Server,
  type TlsOptions,
  type TLSSocket,
} from "node:tls";
import { IdentityError, parseSpiffeId } from "@heddle/spiffe";
import { readCertificate } from "./certificate.ts";
import { certificatesToDer } from "./pem.ts";
import { checkPeerCertificate } from "./peer.ts";

/** A peer that has not finished its handshake by then is gone (SECURITY.md, A3). */
export const DEFAULT_HANDSHAKE_TIMEOUT_MS = 4_000; // within the five seconds of CA-10, also where thousands end at once

const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** Hybrids of a classical and a post-quantum key agreement, those that OpenSSL 3.5 knows for TLS 1.3. */
const POST_QUANTUM_GROUPS = "X25519MLKEM768:SecP256r1MLKEM768:SecP384r1MLKEM1024";

/** A leaf with its intermediates, its key, and the roots that peers must lead to. All PEM. */
export interface TlsIdentity {
  certPem: string;
  keyPem: string;
  roots: readonly string[];
  /** True: peers that cannot agree on a key by a post-quantum hybrid are refused. */
  requirePq?: boolean;
}

export interface MeshTlsOptions {
  handshakeTimeoutMs?: number;
  /** The first of them that a client offers is chosen. */
  alpn?: readonly string[];
  /** Called within the handshake of each client that offers any protocol, before anything is known of it. */
  onOffer?: (socket: TLSSocket) => void;
}

/** Options of `tls.createServer` for a mesh listener. Check every connection with `checkPeer` before its first byte moves on. */
export function meshServerOptions(
  identity: TlsIdentity,
  { handshakeTimeoutMs, alpn, onOffer }: MeshTlsOptions = {},
): TlsOptions {
  return {
    ...secureOptions(identity),
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: handshakeTimeoutMs ?? DEFAULT_HANDSHAKE_TIMEOUT_MS,
    // Node ends a handshake in which nothing is chosen, and a proxy of another mesh may offer protocols of its own.
    ...(alpn !== undefined && {
      ALPNCallback(this: TLSSocket, { protocols }: { protocols: string[] }) {
        onOffer?.(this);
        return alpn.find((name) => protocols.includes(name)) ?? protocols[0];
      },
    }),
  };
}

/**
 * Ends connections whose handshake failed or took too long, and tells who and why. Node ends the former by itself, but a
 * handshake that timed out stays open until somebody destroys its socket.
 */
export function endFailedHandshakes(
  server: Server,
  onFailure: (error: Error, socket: TLSSocket) => void = () => {},
): void {
  server.on("tlsClientError", (error, socket) => {
    onFailure(error, socket);
    socket.destroy();
  });
}

/** Gives a listener another certificate or other roots; connections that are open go on. */
export function swapServerIdentity(server: Server, identity: TlsIdentity): void {
  server.setSecureContext(secureOptions(identity));
}

/** The client's end of the mesh: one secure context for all dials, until the next swap. */
export interface MeshClient {
  /** Options of `tls.connect`, beside host and port. After `secureConnect`, call `checkPeer` before writing anything. */
  options(): ConnectionOptions;
  swap(identity: TlsIdentity): void;
}

export function createMeshClient(identity: TlsIdentity): MeshClient {
  let context: SecureContext = createSecureContext(secureOptions(identity));
  return {
    options: () => ({
      secureContext: context,
      rejectUnauthorized: true,
      // Mesh certificates hold no host names; who the peer is, `checkPeer` decides.
      checkServerIdentity: () => undefined,
    }),
    swap(next) {
      context = createSecureContext(secureOptions(next));
    },
  };
}

/** Options of an HTTPS server of the internal API: only daemons of our internal CA get in, and `peerRole` says which. */
export function internalServerOptions(identity: TlsIdentity): TlsOptions {
  return meshServerOptions(identity);
}

/** The same where some paths are for callers without a certificate too: the listener tells them apart by `authorized`. */
export function openInternalServerOptions(identity: TlsIdentity): TlsOptions {
  return { ...meshServerOptions(identity), rejectUnauthorized: false };
}

export interface InternalClientOptions extends TlsIdentity {
  /** The roles that the server may have. */
  serverRoles: readonly string[];
}

/**
 * Options of an `https.Agent` or `tls.connect` to the internal API: host name and role are both checked. A certificate of the
 * mesh's own CA holds no host name; there cluster, datacenter and kind say who it is.
 */
export function internalClientOptions({ serverRoles, ...identity }: InternalClientOptions) {
  const cluster = clusterOf(identity.certPem);
  return {
    ...secureOptions(identity),
    rejectUnauthorized: true,
    // An https.Agent would resume sessions, and a resumed session skips checkServerIdentity.
    maxCachedSessions: 0,
    checkServerIdentity(host: string, certificate: PeerCertificate): Error | undefined {
      const peer = checkPeerCertificate(certificate.raw, { kind: "daemon", roles: serverRoles, ...cluster });
      const wrongHost = peer.ok && peer.id.kind !== "daemon" ? undefined : checkServerIdentity(host, certificate);
      if (wrongHost) return wrongHost;
      return peer.ok ? undefined : new IdentityError(peer.reason);
    },
  };
}

/** Whose servers are meant, by the caller's own certificate where the mesh's CA made it; a caller without one joins. */
function clusterOf(certPem: string): { trustDomain: string; datacenter: string } | undefined {
  const [leaf] = certPem === "" ? [] : certificatesToDer(certPem);
  const [uri] = leaf ? readCertificate(leaf).altNames.uris : [];
  if (uri === undefined) return undefined;
  const id = parseSpiffeId(uri);
  return id.kind === "agent" || id.kind === "server"
    ? { trustDomain: id.trustDomain, datacenter: id.datacenter }
    : undefined;
}

function secureOptions({ certPem, keyPem, roots, requirePq = false }: TlsIdentity): SecureContextOptions {
  return {
    cert: certPem,
    key: keyPem,
    // An empty list trusts nobody; undefined would trust the public CAs.
    ca: [...roots],
    minVersion: requirePq ? "TLSv1.3" : "TLSv1.2",
    ...(requirePq && { ecdhCurve: POST_QUANTUM_GROUPS }),
    maxVersion: "TLSv1.3",
    ciphers: CIPHERS,
    honorCipherOrder: true,
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
    sessionTimeout: 1, // nothing is resumed; what OpenSSL still keeps is soon gone
  };
}
