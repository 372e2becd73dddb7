/**
 * Callers of the internal API whose certificate was revoked: each of their requests is refused with the reason, and the
 * connections that they hold open (leases, streams, blocking reads) are ended when the list changes.
 */
import type { X509Certificate } from "node:crypto";
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { PermissionDeniedError } from "./errors.ts";
import type { InternalPart } from "./internal-server.ts";
import type { Logger } from "./log.ts";

/** What a listener needs of the CA's list. */
export interface RevokedCallers {
  /** What is looked at in each request, made once for a connection. */
  read(certificate: X509Certificate): Revocable;
  /** Why such a certificate is refused; undefined where it is not. */
  check(facts: Revocable): string | undefined;
  onChanged(listener: () => void): () => void;
}

interface Revocable {
  serial: string;
  keyId?: string | undefined;
}

export interface RevokedGuard {
  /** Stands before all others: throws PermissionDeniedError for a revoked caller, and answers nothing. */
  part: InternalPart;
  follow(server: Server): void;
  close(): void;
}

const cut = new WeakMap<Socket, string>();

/** Why a connection was ended from here, where its caller's certificate was revoked. */
export const whyCut = (socket: Socket): string | undefined => cut.get(socket);

export function guardRevoked(revoked: RevokedCallers, log: Logger): RevokedGuard {
  const callers = new Map<Socket, Revocable>();
  const refuse = ({ socket }: IncomingMessage): false => {
    const facts = callers.get(socket);
    const why = facts && revoked.check(facts);
    if (why !== undefined) throw new PermissionDeniedError(why);
    return false;
  };
  const off = revoked.onChanged(() => {
    for (const [socket, facts] of callers) {
      const reason = revoked.check(facts);
      if (reason === undefined) continue;
      log.warn("ending a connection of a revoked caller", { peer: socket.remoteAddress, reason });
      cut.set(socket, reason);
      socket.destroy();
    }
  });
  return {
    part: { handle: refuse, upgrade: refuse },
    follow(server) {
      server.on("secureConnection", (socket: TLSSocket) => {
        const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
        if (!certificate) return;
        callers.set(socket, revoked.read(certificate));
        socket.once("close", () => callers.delete(socket));
      });
    },
    close: off,
  };
}
