/** An HTTP/2 session over a dialled connection, for gRPC and H2PING; every event that could end the process has a handler. */
import { type ClientHttp2Session, connect } from "node:http2";
import type { Socket } from "node:net";

export function openSession(socket: Socket, authority: string): ClientHttp2Session {
  const session = connect(`http://${authority}`, {
    createConnection: () => socket,
    settings: { enablePush: false },
    maxSessionMemory: 1, // MB: an answer is a few bytes
  });
  session.on("error", () => {});
  return session;
}
