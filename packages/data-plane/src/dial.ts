/** Opens TCP connections as the data plane wants them: half-open, undelayed, kept alive, with a deadline. */
import { connect, type Socket, type TcpNetConnectOpts } from "node:net";
import { isLoopback } from "@heddle/daemon";
import type { Leg, PlainSocket } from "./pipe.ts";
import { formatHostPort, type HostPort } from "./spec.ts";

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
  EMFILE: "this process has no file descriptors left",
};

/** Rejects with what went wrong and where: "cannot reach 127.0.0.1:8181: connection refused". */
export function dialTcp(to: HostPort, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // Node's types know `highWaterMark` on a server only.
    const options: TcpNetConnectOpts & { highWaterMark: number } = {
      host: to.host,
      port: to.port,
      allowHalfOpen: true,
      highWaterMark: ONE_CHUNK,
      noDelay: true,
      keepAlive: !isLoopback(to.host), // a local peer does not vanish, and thousands of probes at once are dropped
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    };
    const socket = connect(options);
    const fail = (why: string, cause?: Error) => {
      clearTimeout(timer);
      socket.destroy();
      reject(new Error(`cannot reach ${formatHostPort(to)}: ${why}`, { cause }));
    };
    const timer = setTimeout(() => fail(`no answer within ${Math.round(timeoutMs)} ms`), timeoutMs);
    socket.on("error", (error: NodeJS.ErrnoException) => fail((error.code && WHY[error.code]) || error.message, error));
    socket.once("connect", () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

export function plainLeg(socket: PlainSocket): Leg {
  return { stream: socket, reset: () => void (socket.destroyed || socket.resetAndDestroy()) };
}
