/** What waits on a server that closes: told at the beginning of the close, so that it answers instead of holding it up. */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** One a server. */
export interface Drain {
  isDraining: boolean;
  waiting: Set<() => void>;
}

export const createDrain = (): Drain => ({ isDraining: false, waiting: new Set() });

const drains = new WeakMap<Socket, Drain>();

export function joinDrain(socket: Socket, drain: Drain): void {
  drains.set(socket, drain);
}

export function beginDrain(drain: Drain): void {
  drain.isDraining = true;
  for (const tell of [...drain.waiting]) tell();
}

/**
 * Calls `act` when the server of this answer begins to close: what waits for a change answers as things stand. Calls it at
 * once (not before this returns) where the close has begun, and never when the answer is out.
 */
export function whenDraining(res: ServerResponse, act: () => void): void {
  const drain = drains.get(res.req.socket);
  if (!drain) return;
  const tell = () => {
    drain.waiting.delete(tell);
    if (res.writableEnded || res.destroyed) return;
    // Its caller asks again at once: not here, on a connection that would be cut.
    if (!res.headersSent) res.setHeader("Connection", "close");
    act();
  };
  if (drain.isDraining) return queueMicrotask(tell);
  drain.waiting.add(tell);
  res.once("close", () => drain.waiting.delete(tell));
}
