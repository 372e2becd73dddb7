/**
 * The TCP listener: messages with two bytes of length in front (RFC 1035 §4.2.2, RFC 7766). Nothing is allocated from the
 * length; a connection has a deadline for each whole message; when all places are taken the one idle longest makes room.
 */
import { createServer, type Socket } from "node:net";
import { describeError, explainListenError, type Logger } from "@heddle/daemon";

const MAX_CONNECTIONS = 500;
const MESSAGE_DEADLINE_MS = 10_000; // from one whole message to the next, dribbled bytes do not count
const MAX_QUERY_BYTES = 4_096; // a question with every option there is takes some hundred
const MAX_PIPELINED = 64; // questions of one connection under way; more wait in the kernel

export interface TcpListener {
  readonly port: number;
  readonly connections: number;
  close(): Promise<void>;
}

/** Answers through `send` exactly once, at once or later; without bytes the connection ends. */
export type TcpHandler = (
  packet: Buffer,
  peer: { address: string; port: number },
  send: (answer: Buffer | undefined) => void,
) => void;

export async function listenTcp(host: string, port: number, handler: TcpHandler, log: Logger): Promise<TcpListener> {
  // In order of their last whole message, so that the first is the one idle longest.
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    if (open.size >= MAX_CONNECTIONS) open.keys().next().value?.destroy();
    serve(socket, handler, {
      onMessage: () => {
        open.delete(socket);
        open.add(socket);
      },
      onClose: () => open.delete(socket),
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => void explainListenError(error, host, port, "tcp").then(reject, reject));
    server.listen({ host, port, backlog: 1024 }, resolve);
  });
  server.removeAllListeners("error");
  server.on("error", (error) =>
    log.error("the TCP listener failed, it goes on accepting", { error: describeError(error) }),
  );
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : port,
    get connections() {
      return open.size;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

function serve(socket: Socket, handler: TcpHandler, hooks: { onMessage: () => void; onClose: () => void }): void {
  let buffered: Buffer = Buffer.alloc(0);
  let underWay = 0;
  let isTaking = false;
  let isEnded = false;
  const peer = { address: socket.remoteAddress ?? "", port: socket.remotePort ?? 0 };
  const deadline = setTimeout(() => socket.destroy(), MESSAGE_DEADLINE_MS);
  hooks.onMessage();
  socket.setNoDelay(true);
  socket.on("close", () => {
    clearTimeout(deadline);
    hooks.onClose();
  });
  const isFull = () => underWay >= MAX_PIPELINED || socket.writableNeedDrain;
  const takeAll = () => {
    if (isTaking || socket.destroyed) return;
    isTaking = true;
    while (!isFull() && buffered.length >= 2) {
      const length = buffered.readUInt16BE(0);
      if (length > MAX_QUERY_BYTES || length === 0) return void socket.destroy();
      if (buffered.length < 2 + length) break;
      const packet = buffered.subarray(2, 2 + length);
      buffered = buffered.subarray(2 + length);
      deadline.refresh();
      hooks.onMessage();
      underWay++;
      handler(packet, peer, answer);
    }
    isTaking = false;
    // A client that asks and never reads is not read either, and its deadline ends it.
    if (isFull()) socket.pause();
    else if (isEnded && underWay === 0) socket.end();
    else socket.resume();
  };
  const answer = (bytes: Buffer | undefined) => {
    underWay--;
    if (socket.destroyed) return;
    if (bytes === undefined) return void socket.destroy();
    const framed = Buffer.allocUnsafe(2 + bytes.length);
    framed.writeUInt16BE(bytes.length, 0);
    bytes.copy(framed, 2);
    socket.write(framed);
    takeAll();
  };
  socket.on("drain", takeAll);
  socket.on("data", (chunk: Buffer) => {
    buffered = buffered.length === 0 ? chunk : Buffer.concat([buffered, chunk]);
    takeAll();
  });
  // The client may close its side as soon as it has asked: what it asked is answered all the same.
  socket.on("end", () => {
    isEnded = true;
    takeAll();
  });
}
