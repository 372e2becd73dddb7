/** Ends of connections that the other side sees as a reset. */
import type { Duplex } from "node:stream";

/** What can be reset: a TCP socket, or what stands for one. */
export interface Resettable {
  readonly destroyed: boolean;
  resetAndDestroy(): unknown;
  destroy(): unknown;
}

type Written = Pick<Duplex, "writableEnded" | "writableFinished" | "destroyed">;

const over = new WeakMap<Resettable, Written>();

/** From here on the socket is written to by TLS over it, whose end is the socket's FIN. */
export function setStreamOver(socket: Resettable, stream: Written): void {
  over.set(socket, stream);
}

/**
 * Ends it now.
 *
 * Where its FIN is on its way out it is closed instead: the kernel refuses that reset, and Node 26 then loses the handle: there is an
 * error, no 'close', a descriptor that stays open, and a thread that can never end (`Environment::CleanupHandles` waits for it, spinning).
 */
export function resetSocket(socket: Resettable & Written): void {
  const stream = over.get(socket) ?? socket;
  if (socket.destroyed) return;
  if (stream.writableEnded && !stream.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
