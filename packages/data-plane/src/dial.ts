/** Opens connections, TCP or to a Unix socket, as the data plane wants them: half-open, undelayed, kept alive, with a deadline. */
import { connect, type NetConnectOpts, type Socket } from "node:net";
import { isLoopback } from "@heddle/daemon";
import { deadline } from "./deadline.ts";
import type { Leg, PlainSocket } from "./pipe.ts";
import { type Address, formatAddress } from "./spec.ts";
import { resetSocket } from "./reset.ts";

export const KEEP_ALIVE_MS = 30_000; // a machine that vanished is noticed within minutes, not hours

/** Sockets stop reading as soon as one chunk (at most 64 KiB) waits: `pipe` never reads ahead of the slower side. */
export const ONE_CHUNK = 1;

/** How a listener of the data plane takes connections: for `net.createServer`. */
export const ACCEPT_OPTIONS = {
  allowHalfOpen: true,
  highWaterMark: ONE_CHUNK,
  pauseOnConnect: true, // nothing is read before the far side is ready for it
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEP_ALIVE_MS,
} as const;

const WHY: Record<string, string> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "no route to network",
  ETIMEDOUT: "connection timed out",
  ENOTFOUND: "no such host",
  ENOENT: "no such socket",
  EACCES: "permission denied",
  EMFILE: "this process has no file descriptors left",
};

/** Rejects with what went wrong and where: "cannot reach 127.0.0.1:8181: connection refused". */
export function dialAddress(to: Address, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // Node's types know `highWaterMark` on a server only.
    const options: NetConnectOpts & { highWaterMark: number } = {
      ...(to.path === undefined ? { host: to.host, port: to.port } : { path: to.path }),
      allowHalfOpen: true,
      highWaterMark: ONE_CHUNK,
      noDelay: true,
      keepAlive: to.path === undefined && !isLoopback(to.host), // a local peer does not vanish, and thousands of probes at once are dropped
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    };
    const socket = to.path === undefined ? connect(options) : asUnix(connect(options));
    const fail = (why: string, cause?: Error) => {
      callOff();
      socket.destroy();
      reject(new Error(`cannot reach ${formatAddress(to)}: ${why}`, { cause }));
    };
    const callOff = deadline(timeoutMs, () => fail(`no answer within ${Math.round(timeoutMs)} ms`));
    socket.on("error", (error: NodeJS.ErrnoException) => fail((error.code && WHY[error.code]) || error.message, error));
    socket.once("connect", () => {
      callOff();
      resolve(socket);
    });
  });
}

/** Unix sockets have no reset: what would send one closes, which the other side reads as an end, or as a reset where it had sent something unread. */
export function asUnix(socket: Socket): Socket {
  socket.resetAndDestroy = () => socket.destroy();
  return socket;
}

export function plainLeg(socket: PlainSocket): Leg {
  return { stream: socket, reset: () => resetSocket(socket) };
}
