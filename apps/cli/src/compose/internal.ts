/** One internal listener for the daemons of a composition: their internal routes, side by side, on `ports.server`. */
import type { IncomingMessage, RequestListener } from "node:http";
import type { Socket } from "node:net";
import { type HttpServer, type InternalIdentity, type Logger, startHttpServer } from "@heddle/daemon";

export interface InternalListenerOptions {
  host: string;
  port: number;
  identity: InternalIdentity | undefined;
  handler: RequestListener;
  /** Tried in order; the first that knows the path takes the connection over. */
  upgrades: ((req: IncomingMessage, socket: Socket, head: Buffer) => boolean)[];
  log: Logger;
}

export async function startInternalListener(options: InternalListenerOptions): Promise<HttpServer> {
  const { identity, upgrades } = options;
  return startHttpServer({
    host: options.host,
    port: options.port,
    handler: options.handler,
    log: options.log,
    maxConnectionsPerClient: 0,
    tls: identity && (await import("@heddle/tls")).internalServerOptions(identity),
    upgrade: (req, socket, head) => {
      if (!upgrades.some((upgrade) => upgrade(req, socket, head)))
        socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
    },
  });
}
