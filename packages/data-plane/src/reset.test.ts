/** A reset at any moment closes the socket for good: Node alone loses the handle where a FIN is under way. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from "node:tls";
import { Worker } from "node:worker_threads";
import { createMeshClient, meshServerOptions } from "@heddle/tls";
import { createTestMesh } from "@heddle/tls/testing";
import { expect, onTestFinished, test } from "vitest";
import { resetSocket, setStreamOver } from "./reset.ts";

/** Both ends of a connection. */
async function pair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const far = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
  const [[near]] = (await Promise.all([once(server, "connection"), once(far, "connect")])) as [[Socket], unknown];
  onTestFinished(() => void [near, far].map((socket) => socket.destroy()));
  server.close();
  far.on("error", () => {});
  return [near, far];
}

test.each<[string, (socket: Socket) => void, string]>([
  ["open", () => {}, "ECONNRESET"],
  ["whose FIN is under way", (socket) => void socket.end(), "end"],
  ["with words and a FIN under way", (socket) => void socket.end("bye"), "end"],
  ["whose peer takes nothing", (socket) => void socket.end(Buffer.alloc(20_000_000)), "end or ECONNRESET"],
])("a socket %s", async (_name, before, how) => {
  const [near, far] = await pair();
  const errors: Error[] = [];
  near.on("error", (error) => errors.push(error));
  const told = new Promise((resolve) =>
    far.once("end", () => resolve("end")).once("error", ({ code }: NodeJS.ErrnoException) => resolve(code)),
  );
  before(near);
  resetSocket(near);
  await once(near, "close");
  expect(errors).toEqual([]);
  far.resume();
  expect(how).toContain(await told);
});

test("TLS whose FIN is under way", async () => {
  const mesh = await createTestMesh();
  const server = createTlsServer(meshServerOptions(mesh.identity("db"), { handshakeTimeoutMs: 5_000 }));
  const [near, far] = await pair();
  const client = connectTls({ socket: far, ...createMeshClient(mesh.identity("web")).options() }).on("error", () => {});
  server.emit("connection", near);
  const accepted = once(server, "secureConnection") as Promise<[TLSSocket]>;
  const [[stream]] = await Promise.all([accepted, once(client, "secureConnect")]);
  const errors: NodeJS.ErrnoException[] = []; // of what was to be written
  for (const socket of [near, stream]) socket.on("error", (error) => errors.push(error));
  stream.end("bye");
  setStreamOver(near, stream);
  resetSocket(near);
  await once(near, "close");
  expect(errors).not.toContainEqual(expect.objectContaining({ code: "EINVAL" }));
});

test("a thread that resets so can end", async () => {
  const code = `
    const { parentPort } = require("node:worker_threads");
    const net = require("node:net");
    import(${JSON.stringify(new URL("./reset.ts", import.meta.url).href)}).then(({ resetSocket }) => {
      const server = net.createServer({ allowHalfOpen: true }, (socket) => {
        socket.on("error", () => {});
        socket.end("bye");
        resetSocket(socket);
        parentPort.postMessage("reset");
      });
      server.listen(0, "127.0.0.1", () => net.connect(server.address().port, "127.0.0.1").on("error", () => {}));
    });`;
  const worker = new Worker(code, { eval: true });
  await once(worker, "message");
  await worker.terminate();
});
