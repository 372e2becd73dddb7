/** A relay of TCP that can go silent, as a cut cable does: nothing passes, nothing is told. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface Relay extends AsyncDisposable {
  readonly port: number;
  /** While silent, bytes wait where they are and new connections are taken and not passed on. */
  setSilent(isSilent: boolean): void;
}

export async function startRelay(targetPort: number): Promise<Relay> {
  const open = new Set<Socket>();
  let isSilent = false;
  const server = createServer((client) => {
    const target = connect(targetPort, "127.0.0.1");
    for (const [socket, other] of [
      [client, target],
      [target, client],
    ] as const) {
      open.add(socket);
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        if (!other.write(chunk)) socket.pause();
      });
      socket.on("drain", () => isSilent || other.resume());
      socket.on("close", () => {
        open.delete(socket);
        other.destroy();
      });
      if (isSilent) socket.pause();
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as { port: number }).port,
    setSilent(value) {
      isSilent = value;
      for (const socket of open) {
        if (value) socket.pause();
        else socket.resume();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}
