/** Plain sockets for what no HTTP client would send. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface RawClient {
  socket: Socket;
  received(): string;
  /** Resolves with everything received once the connection has ended, in whatever way, and how long that took. */
  ended: Promise<{ text: string; afterMs: number }>;
}

export async function raw(port: number, firstBytes: string | Buffer = ""): Promise<RawClient> {
  const socket = connect({ port, host: "127.0.0.1" });
  const start = performance.now();
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("error", () => {});
  onTestFinished(() => void socket.destroy());
  const received = () => Buffer.concat(chunks).toString("latin1");
  const ended = once(socket, "close").then(() => ({ text: received(), afterMs: performance.now() - start }));
  await Promise.race([once(socket, "connect"), ended]);
  if (firstBytes.length > 0) socket.write(firstBytes);
  return { socket, received, ended };
}

/** Sends bytes on a connection of their own and returns what came back until its end. */
export const exchange = async (port: number, bytes: string | Buffer): Promise<string> =>
  (await (await raw(port, bytes)).ended).text;
