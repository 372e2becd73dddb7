/** Plain sockets for what no HTTP client would send. */
import { connect, type Socket } from "node:net";

const EXCHANGE_TIMEOUT_MS = 3_000;

export interface RawClient {
  socket: Socket;
  received(): string;
  /** Resolves with everything received once the connection has ended, in whatever way, and how long that took. */
  ended: Promise<{ text: string; afterMs: number }>;
}

/** Connects, from another address of loopback where one is given, and sends the first bytes. */
export async function raw(port: number, firstBytes: string | Buffer = "", localAddress?: string): Promise<RawClient> {
  const socket = connect({ port, host: "127.0.0.1", ...(localAddress && { localAddress }) });
  const start = performance.now();
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("error", () => {});
  const received = () => Buffer.concat(chunks).toString("latin1");
  const ended = new Promise((resolve) => socket.once("close", resolve)).then(() => ({
    text: received(),
    afterMs: performance.now() - start,
  }));
  await Promise.race([new Promise((resolve) => socket.once("connect", resolve)), ended]);
  if (firstBytes.length > 0) socket.write(firstBytes);
  return { socket, received, ended };
}

/** Sends bytes on a connection of their own and returns what came back until its end; a FIN follows them where asked. */
export async function exchange(port: number, bytes: string | Buffer, fin = false): Promise<string> {
  const client = await raw(port, bytes);
  if (fin) client.socket.end();
  const deadline = setTimeout(() => client.socket.destroy(), EXCHANGE_TIMEOUT_MS);
  const { text, afterMs } = await client.ended;
  clearTimeout(deadline);
  if (afterMs > EXCHANGE_TIMEOUT_MS)
    throw new Error(
      `the connection is still open after ${JSON.stringify(bytes.toString("latin1").slice(0, 200))}, with ${JSON.stringify(text)}`,
    );
  return text;
}

/** Asks again and again until `stop`; resolves with the latencies in milliseconds, sorted. */
export async function latencies(ask: () => Promise<unknown>, stop: AbortSignal): Promise<number[]> {
  const all: number[] = [];
  while (!stop.aborted) {
    const start = performance.now();
    await ask();
    all.push(performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return all.toSorted((a, b) => a - b);
}

export const percentile = (sorted: number[], p: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] ?? 0;
