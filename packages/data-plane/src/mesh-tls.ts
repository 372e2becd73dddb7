/** Both ends of the mesh's TLS over sockets of ours, so that a reset can cross it. The rules are `@heddle/tls`'s. */
import type { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { connect, createServer, type Server, type TLSSocket } from "node:tls";
import {
  checkPeer,
  createMeshClient,
  dateProblem,
  type MeshClient,
  meshServerOptions,
  type Peer,
  type PeerExpectation,
  type Revocable,
  serialKey,
  swapServerIdentity,
  type TlsIdentity,
} from "@heddle/tls";
import { deadline } from "./deadline.ts";
import type { Leg } from "./pipe.ts";
import { RefusedError } from "./refusal.ts";
import type { Leaf, Roots } from "./snapshot.ts";
import { ALPNS } from "./tunnel/frames.ts";
import { resetSocket, setStreamOver } from "./reset.ts";

const REASON_MS = 50;
const MAX_PRESENTED = 8; // certificates of a chain that are kept for later checks

export interface TlsFacts {
  /** "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768", for the log. */
  text: string;
  version: string;
  /** The key agreement, where this end is told. */
  group: string;
}

export interface PeerCertificate extends Revocable {
  fingerprint: string;
  raw: Buffer;
  intermediates: Buffer[];
  /** Milliseconds since the epoch. */
  notAfter: number;
}

/** A checked peer and the leg to it. */
export interface MeshLeg extends Leg {
  stream: TLSSocket;
  peer: Peer;
  certificate: PeerCertificate;
  /** The certificate that this end has shown. */
  own: Revocable;
  /** True where the far end is a Heddle proxy, and this connection carries a tunnel. */
  isTunnel: boolean;
  facts: TlsFacts;
}

export type RefusedLeg = Pick<MeshLeg, "stream" | "reset" | "isTunnel">;

export interface MeshIdentity extends TlsIdentity {
  own: Revocable;
}

export function toTlsIdentity(leaf: Leaf, roots: Roots, requirePq: boolean): MeshIdentity {
  const { certPem, keyPem, serial, service, notBefore } = leaf;
  return { certPem, keyPem, roots: roots.certPems, requirePq, own: { serial, service, notBefore } };
}

/** The certificates of both ends of a connection. */
export type BothEnds = Pick<MeshLeg, "certificate" | "own">;

/** Why a connection may not be, for one of its certificates was revoked; undefined where none was. */
export type Revoked = (ends: BothEnds) => string | undefined;

/** The server's end. Knows no listener: accepted sockets are handed to it. */
export interface Terminator {
  /** Rejects with RefusedError, of code "closing" where nothing was said; the socket is then of no more use. */
  handshake(raw: Socket, trustDomain: string): Promise<MeshLeg>;
  swap(identity: MeshIdentity): void;
}

interface Waiting {
  resolve: (stream: TLSSocket) => void;
  reject: (error: RefusedError) => void;
}

export function createTerminator(identity: MeshIdentity, handshakeTimeoutMs: number, revoked: Revoked): Terminator {
  let { own } = identity;
  const waiting = new WeakMap<Socket, Waiting>();
  const shown = new WeakMap<TLSSocket, X509Certificate>();
  const server: Server = createServer(
    // Node destroys a socket whose certificate it refuses before it tells: what was shown is looked at a moment before. That has no
    // public way but for clients that offer a protocol, as Heddle's proxies do; of others there is the code alone.
    meshServerOptions(identity, { handshakeTimeoutMs, alpn: ALPNS, onOffer: (stream) => keepShown(stream, shown) }),
  );
  server.on("secureConnection", (stream) => {
    stream.on("error", ignore);
    const raw = rawSocketOf(stream);
    const waiter = raw && waiting.get(raw);
    stream.allowHalfOpen = true;
    if (waiter) waiter.resolve(stream);
    else stream.destroy();
  });
  server.on("tlsClientError", (error: Error, stream) => {
    stream.on("error", ignore);
    const raw = rawSocketOf(stream);
    if (raw) waiting.get(raw)?.reject(toRefusal(error, stream, raw));
    raw?.destroy();
  });
  const toRefusal = (error: Error, stream: TLSSocket, raw: Socket): RefusedError => {
    const { authorizationError } = stream;
    if (authorizationError) {
      const why = withDates(String(authorizationError), shown.get(stream));
      return new RefusedError("identity", `its certificate was refused: ${why}`);
    }
    if ((error as NodeJS.ErrnoException).code === "ERR_TLS_HANDSHAKE_TIMEOUT")
      return new RefusedError("handshake", `no TLS handshake within ${handshakeTimeoutMs} ms`);
    return raw.bytesRead === 0
      ? new RefusedError("closing", "closed without a word")
      : new RefusedError("handshake", tlsReason(error));
  };
  return {
    async handshake(raw, trustDomain) {
      const done = new Promise<TLSSocket>((resolve, reject) => waiting.set(raw, { resolve, reject }));
      // A failed check of the certificate is told only after the socket has closed: the better reason gets a moment to come.
      raw.once("close", () => setTimeout(gone, REASON_MS, waiting.get(raw), raw).unref());
      // Who ends within the handshake is gone; afterwards one direction may end alone.
      raw.allowHalfOpen = false;
      // A documented way into a TLS server for sockets that were accepted elsewhere.
      server.emit("connection", raw);
      const stream = await done;
      return toLeg(raw, stream, { kind: "caller", trustDomain }, { own, revoked });
    },
    swap(next) {
      swapServerIdentity(server, next);
      ({ own } = next);
    },
  };
}

function gone(waiter: Waiting | undefined, raw: Socket): void {
  const isSilent = raw.bytesRead === 0;
  waiter?.reject(
    isSilent
      ? new RefusedError("closing", "closed without a word")
      : new RefusedError("handshake", "closed during the TLS handshake"),
  );
}

// Node keeps the socket under a TLS socket here and offers no other way from the one to the other; the tests of the public
// listener fail the day this changes.
function rawSocketOf(stream: TLSSocket): Socket | undefined {
  return (stream as TLSSocket & { _parent?: Socket })._parent;
}

/** The client's end. */
export interface Dialler {
  /** TLS over an open TCP connection, to exactly `spiffeId`. Rejects with RefusedError and destroys the socket. */
  handshake(raw: Socket, spiffeId: string, options: { timeoutMs: number; offerTunnel: boolean }): Promise<MeshLeg>;
  swap(identity: MeshIdentity): void;
}

export function createDialler(identity: MeshIdentity, revoked: Revoked): Dialler {
  let { own } = identity;
  const client: MeshClient = createMeshClient(identity);
  return {
    async handshake(raw, spiffeId, { timeoutMs, offerTunnel }) {
      const stream = connect({ socket: raw, ...client.options(), ...(offerTunnel && { ALPNProtocols: [...ALPNS] }) });
      const shown = new WeakMap<TLSSocket, X509Certificate>();
      keepShown(stream, shown);
      await new Promise<void>((resolve, reject) => {
        const fail = (error: Error) => {
          callOff();
          raw.destroy();
          reject(error);
        };
        const callOff = deadline(timeoutMs, () =>
          fail(new RefusedError("handshake", `no TLS handshake within ${Math.round(timeoutMs)} ms`)),
        );
        stream.once("secureConnect", () => {
          callOff();
          resolve();
        });
        stream.on("error", (error) => {
          const reason = withDates(tlsReason(error), shown.get(stream));
          fail(new RefusedError("handshake", reason, { cause: error }));
        });
        stream.once("close", () => fail(new RefusedError("handshake", "closed during the TLS handshake")));
      });
      try {
        return toLeg(raw, stream, { kind: "server", spiffeId }, { own, revoked });
      } catch (error) {
        raw.destroy();
        throw error;
      }
    },
    swap(next) {
      client.swap(next);
      ({ own } = next);
    },
  };
}

function toLeg(
  raw: Socket,
  stream: TLSSocket,
  expectation: PeerExpectation,
  { own, revoked }: { own: Revocable; revoked: Revoked },
): MeshLeg {
  setStreamOver(raw, stream);
  const check = checkPeer(stream, expectation);
  const isTunnel = ALPNS.includes(stream.alpnProtocol || "");
  const reset = () => resetSocket(raw);
  const refuse = (reason: string) =>
    Object.assign(new RefusedError("identity", reason), { leg: { stream, reset, isTunnel } });
  if (!check.ok) throw refuse(check.reason);
  const certificate = stream.getPeerX509Certificate();
  if (!certificate) throw refuse("the peer is gone");
  const { serial, notBefore, notAfter, id } = check;
  const ends: BothEnds = {
    certificate: {
      fingerprint: certificate.fingerprint256,
      raw: certificate.raw,
      intermediates: presented(certificate),
      serial,
      service: id.kind === "service" ? id.service : "",
      notBefore,
      notAfter,
    },
    own: ownShown(stream, own),
  };
  const why = revoked(ends);
  if (why !== undefined) throw refuse(why);
  return {
    stream,
    reset,
    peer: check,
    ...ends,
    isTunnel,
    facts: describeTls(stream),
  };
}

/** The leg of a peer that finished its handshake and is not who it should be: it can still be told so. */
export function refusedLeg(error: unknown): RefusedLeg | undefined {
  return (error as { leg?: RefusedLeg }).leg;
}

/** What this end has shown: another than the present one where a handshake began before a swap. */
function ownShown(stream: TLSSocket, present: Revocable): Revocable {
  const certificate = stream.getX509Certificate();
  if (!certificate || serialKey(certificate.serialNumber) === serialKey(present.serial)) return present;
  return { ...present, serial: certificate.serialNumber, notBefore: certificate.validFromDate.getTime() };
}

/** Keeps the peer's certificate before anybody has judged it, for whoever has to say what is wrong with it. */
function keepShown(stream: TLSSocket, shown: WeakMap<TLSSocket, X509Certificate>): void {
  stream.prependOnceListener("secure", () => {
    const certificate = stream.getPeerX509Certificate();
    if (certificate) shown.set(stream, certificate);
  });
}

/** OpenSSL's reason, and where a date is to blame, by how much. It judges by this machine's clock. */
function withDates(reason: string, certificate: X509Certificate | undefined): string {
  if (!certificate) return reason;
  const validity = { notBefore: certificate.validFromDate.getTime(), notAfter: certificate.validToDate.getTime() };
  const problem = dateProblem(validity, Date.now());
  return problem === undefined ? reason : `${reason}: it ${problem}`;
}

function presented(leaf: X509Certificate): Buffer[] {
  const chain: Buffer[] = [];
  let at: X509Certificate | undefined = leaf.issuerCertificate;
  // The last one is the root, its own issuer: trusted only where it is among ours.
  while (at && chain.length < MAX_PRESENTED && !at.issuerCertificate?.raw.equals(at.raw)) {
    chain.push(at.raw);
    at = at.issuerCertificate;
  }
  return chain;
}

function describeTls(stream: TLSSocket): TlsFacts {
  const key = stream.getEphemeralKeyInfo();
  const group = key !== null && "name" in key ? (key.name ?? "") : "";
  const version = stream.getProtocol() ?? "";
  return { text: [version, stream.getCipher().name, group].filter(Boolean).join(" "), version, group };
}

/** OpenSSL's short words ("tlsv13 alert certificate required") instead of its whole line. */
export function tlsReason(error: unknown): string {
  const { reason, message } = error as { reason?: unknown; message: string };
  return typeof reason === "string" && reason !== "" ? reason : message;
}

function ignore(): void {}
