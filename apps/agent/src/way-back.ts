/**
 * Notices that the way to the server was cut and is whole again. What was written into a connection meanwhile is sent again by TCP at
 * ever longer intervals, seconds after the way is back, and who was cut off has to hear of new rules within one. So while the server
 * is silent, connections are tried that carry nothing: its kernel answers them however busy the server is, and the first one
 * after some that came to nothing says that all that hang should be made anew.
 */
import { connect, type Socket } from "node:net";
import type { ServerList } from "@heddle/api-client";

const TRY_EVERY_MS = 300; // and a server that is reached at all answers within that
/**
 * A try is kept for as long as the kernel looks for the neighbour's address, once a second where a cable was out: what it holds back until then
 * leaves as soon as the address is known, and the answer must find somebody who still waits for it.
 */
const TRY_MS = 1_500;
/** The kernel has given up looking, which takes it seconds: it begins anew, and at once, with the next try. */
const GIVEN_UP = "EHOSTUNREACH";
const LOOKED_MS = 500; // one that comes back sooner says that there is no way to try

export interface WayBack {
  /** The server has not answered what it answers at once. */
  silent(): void;
  /** It has answered. */
  heard(): void;
  close(): void;
}

/** Calls `onBack` each time. */
export function watchWayBack(servers: ServerList, onBack: () => void): WayBack {
  const tries = new Set<Socket>();
  let trying: NodeJS.Timeout | undefined;
  let isCut = false;
  const drop = (socket: Socket) => {
    tries.delete(socket);
    socket
      .removeAllListeners()
      .on("error", () => {})
      .destroy();
  };
  const dropAll = () => {
    for (const socket of tries) drop(socket);
  };
  const back = () => {
    if (!isCut) return;
    isCut = false;
    dropAll();
    onBack();
  };
  const attempt = () => {
    const { hostname, port, protocol } = new URL(servers.current);
    const host = hostname.replace(/^\[|\]$/g, "");
    const socket = connect({ host, port: Number(port) || (protocol === "https:" ? 443 : 80) });
    const startedAt = performance.now();
    tries.add(socket);
    const finish = (isThere: boolean) => {
      drop(socket);
      if (isThere) back();
      else isCut = true;
    };
    socket.unref();
    socket.setTimeout(TRY_MS, () => finish(false));
    socket.once("connect", () => finish(true));
    // Where nobody listens the host has said so, and the way is there.
    socket.once("error", ({ code }: NodeJS.ErrnoException) => {
      finish(code === "ECONNREFUSED");
      if (code === GIVEN_UP && trying && performance.now() - startedAt > LOOKED_MS) next();
    });
  };
  function next(): void {
    if (tries.size > 0) isCut = true; // the one before is not through
    attempt();
  }
  const end = () => {
    clearInterval(trying);
    trying = undefined;
    dropAll();
  };
  return {
    silent() {
      if (trying) return;
      trying = setInterval(next, TRY_EVERY_MS).unref();
      next();
    },
    heard() {
      if (!trying) return;
      end();
      back();
    },
    close: end,
  };
}
