/** Connects over TCP or TLS within a time, with errors in the words of Go's net.Dial. Shared by tcp, grpc and h2ping. */
import type { Check } from "../check.ts";
import { connect, isIP, type Socket } from "node:net";
import { checkServerIdentity, connect as connectTls, type ConnectionOptions } from "node:tls";
import { dialText, tlsText } from "../go-text.ts";
import { ProbeError, type ProbeContext } from "./probe.ts";

export interface HostPort {
  host: string;
  port: number;
}

/** Splits "host:port" as Go does; an empty host is this one. Throws ProbeError in Go's words. */
export function splitHostPort(target: string, network: "tcp" | "udp" = "tcp"): HostPort {
  const refuse = (why: string): never => {
    throw new ProbeError(`dial ${network}: address ${why}`);
  };
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(target);
  const colon = target.lastIndexOf(":");
  if (bracketed ? bracketed[2] === undefined : colon < 0) refuse(`${target}: missing port in address`);
  if (!bracketed && target.slice(0, colon).includes(":")) refuse(`${target}: too many colons in address`);
  const host = bracketed ? (bracketed[1] as string) : target.slice(0, colon);
  const text = bracketed ? (bracketed[2] as string) : target.slice(colon + 1);
  if (!/^\d{1,8}$/.test(text) && text !== "")
    throw new ProbeError(`dial ${network}: lookup ${network}/${text}: unknown port`);
  const port = Number(text);
  if (port > 65_535) refuse(`${text}: invalid port`);
  return { host: host === "" ? "127.0.0.1" : host, port };
}

/** How a check's target is verified: always, by its name, unless the check itself says TLSSkipVerify. */
export function targetTls(
  check: Pick<Check, "TLSServerName" | "TLSSkipVerify">,
  host: string,
  context: ProbeContext,
): ConnectionOptions {
  const name = check.TLSServerName || host;
  const roots = context.roots();
  return {
    servername: isIP(name) ? "" : name,
    rejectUnauthorized: check.TLSSkipVerify !== true,
    checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
    minVersion: "TLSv1.2",
    ...(roots && { secureContext: roots }),
  };
}

/** Thrown by `dial` when the handshake failed on a connection that stood. */
export class HandshakeError extends ProbeError {}

export interface DialOptions {
  timeoutMs: number;
  context: ProbeContext;
  tls?: ConnectionOptions;
}

/** Resolves with a connected socket that has an error handler and that the caller destroys. Throws ProbeError. */
export function dial(target: string, options: DialOptions): Promise<Socket> {
  const { context, tls, timeoutMs } = options;
  const { host, port } = splitHostPort(target);
  return new Promise((resolve, reject) => {
    const socket = tls ? connectTls({ host, port, ...tls }) : connect({ host, port, noDelay: true });
    let isConnected = false;
    const settle = (error?: Error) => {
      timer.cancel();
      context.signal.removeEventListener("abort", onAbort);
      if (error === undefined) return resolve(socket);
      socket.destroy();
      reject(error);
    };
    const timer = context.clock.after(timeoutMs, () => settle(new ProbeError(`dial tcp ${target}: i/o timeout`)));
    const onAbort = () => settle(new ProbeError("the check was removed"));
    context.signal.addEventListener("abort", onAbort, { once: true });
    socket.once("connect", () => {
      isConnected = true;
    });
    socket.once(tls ? "secureConnect" : "connect", () => settle());
    // Stays on: an error after the dial belongs to nobody, and must not end the process.
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (!tls || !isConnected) return settle(new ProbeError(dialText(error, "tcp", target)));
      const name = tls.servername || host;
      settle(new HandshakeError(tlsText(error, name) ?? (error.code === "ECONNRESET" ? "EOF" : error.message)));
    });
  });
}
