/**
 * Notices that the way to the server was cut and is whole again. What was written into a connection meanwhile is sent again by TCP at
 * ever longer intervals, seconds after the way is back, and who was cut off has to hear of new rules within one. So while the server
 * is silent, connections are tried that carry nothing: its kernel answers them however busy the server is, and the first one
 * after some that came to nothing says that all that hang should be made anew.
 */
import { connect } from "node:net";
import type { ServerList } from "@heddle/api-client";

const TRY_MS = 300; // a try that is on its way when the cable is plugged in is lost

export interface WayBack {
  /** The server has not answered what it answers at once. */
  silent(): void;
  /** It has answered. */
  heard(): void;
  close(): void;
}

/** Calls `onBack` each time. */
export function watchWayBack(servers: ServerList, onBack: () => void): WayBack {
  let isTrying = false;
  let isCut = false;
  let next: NodeJS.Timeout | undefined;
  let stop = () => {};
  const back = () => {
    if (!isCut) return;
    isCut = false;
    onBack();
  };
  const attempt = () => {
    const { hostname, port, protocol } = new URL(servers.current);
    const host = hostname.replace(/^\[|\]$/g, "");
    const socket = connect({ host, port: Number(port) || (protocol === "https:" ? 443 : 80) });
    const finish = (isThere: boolean) => {
      clearTimeout(timeout);
      socket
        .removeAllListeners()
        .on("error", () => {})
        .destroy();
      if (isThere) back();
      else isCut = true;
      if (isTrying) next = setTimeout(attempt, TRY_MS).unref();
    };
    const timeout = setTimeout(finish, TRY_MS, false).unref();
    socket.unref();
    socket.once("connect", () => finish(true));
    // Where nobody listens the host has said so, and the way is there.
    socket.once("error", (error: NodeJS.ErrnoException) => finish(error.code === "ECONNREFUSED"));
    stop = () => {
      clearTimeout(timeout);
      socket
        .removeAllListeners()
        .on("error", () => {})
        .destroy();
    };
  };
  const end = () => {
    isTrying = false;
    clearTimeout(next);
    stop();
  };
  return {
    silent() {
      if (isTrying) return;
      isTrying = true;
      attempt();
    },
    heard() {
      if (!isTrying) return;
      end();
      back();
    },
    close: end,
  };
}
