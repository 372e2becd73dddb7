/**
 * The HTTP server of every daemon: Node's own, with each limit set on purpose (SECURITY.md, fact 5), bodies counted as
 * they are read, and a close in steps: not ready, answer what is in flight, destroy.
 */
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, Server as NetServer, type Socket } from "node:net";
import type { TlsOptions } from "node:tls";
import { beginDrain, createDrain, joinDrain } from "./drain.ts";
import { describeError, InvalidArgumentError, TooLargeError } from "./errors.ts";
import type { Logger } from "./log.ts";
import type { RequestLimit } from "./request-limit.ts";
import { explainListenError } from "./listen.ts";

const HEADERS_TIMEOUT_MS = 10_000; // a slow client may not hold a connection while it dribbles headers
const REQUEST_TIMEOUT_MS = 60_000; // the whole request with its body; blocking answers are not counted
const KEEP_ALIVE_TIMEOUT_MS = 75_000; // above the common 60 s of load balancers, so that they close first
const TIMEOUTS_CHECK_MS = 2_000; // Node looks for slow clients only every 30 s by itself
const MAX_HEADER_BYTES = 64 * 1024; // the documented cap (431 past it): long filters fit, a memory attack does not
const MAX_CONNECTIONS_PER_CLIENT = 200; // Consul's limits.http_max_conns_per_client
const DRAIN_MS = 3_000; // in-flight answers get this long before their sockets are destroyed
const MAX_DISCARDED_BYTES = 1024 * 1024; // read past a limit so that a refusal is not lost in a reset
const MAX_DISCARD_MS = 1_000;
const IDLE_GRACE_MS = 150; // while draining: a request that was sent before its client could know is answered
const DEFAULT_BODY_LIMIT = 512 * 1024; // Consul's limits.kv_max_value_size

export interface HttpServerOptions {
  host: string;
  port: number;
  handler: RequestListener;
  log: Logger;
  /** Mutual TLS or HTTPS options; plain HTTP without. */
  tls?: TlsOptions | undefined;
  /** 0 or less: no limit. */
  maxConnectionsPerClient?: number | (() => number);
  /** What the limit is called, for whoever meets it. */
  connectionsLimitName?: string;
  /** Of the request line and the headers together. */
  maxHeaderBytes?: number;
  requestLimit?: RequestLimit;
  /** Takes over a WebSocket upgrade; connections asking for anything else are closed. */
  upgrade?: (req: IncomingMessage, socket: Socket, head: Buffer) => void;
}

export interface HttpServer {
  readonly server: Server;
  readonly url: string;
  readonly port: number;
  /** Stops accepting, answers what is in flight, then destroys what is left. May be called twice. */
  close(): Promise<void>;
}

/** Binds and serves. A port in use is an UnavailableError that names the port and its holder. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { handler, log } = options;
  const { maxConnectionsPerClient = MAX_CONNECTIONS_PER_CLIENT, requestLimit } = options;
  const setting = options.connectionsLimitName ?? "limits.http_max_conns_per_client";
  const sockets = new Map<Socket, string>();
  const perClient = new Map<string, number>();
  let closing = false;
  const drain = createDrain();
  const listener: RequestListener = (req, res) => {
    if (closing) res.setHeader("Connection", "close");
    if (!requestLimit || requestLimit.admit(req, res)) handler(req, res);
  };
  const http = {
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: TIMEOUTS_CHECK_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    maxHeaderSize: options.maxHeaderBytes ?? MAX_HEADER_BYTES,
    noDelay: true,
  };
  const server = options.tls ? createTlsServer({ ...http, ...options.tls }, listener) : createServer(http, listener);
  server.on(options.tls ? "secureConnection" : "connection", (socket: Socket) => joinDrain(socket, drain));
  server.on("connection", (socket: Socket) => {
    const client = socket.remoteAddress ?? "";
    const count = (perClient.get(client) ?? 0) + 1;
    perClient.set(client, count);
    sockets.set(socket, client);
    socket.once("close", () => {
      sockets.delete(socket);
      const left = (perClient.get(client) ?? 1) - 1;
      if (left > 0) perClient.set(client, left);
      else perClient.delete(client);
    });
    const limit = typeof maxConnectionsPerClient === "function" ? maxConnectionsPerClient() : maxConnectionsPerClient;
    if (count > limit && limit > 0) {
      log.warn("too many connections from one client, closing the newest", { client, limit, setting });
      if (options.tls) return void socket.destroy(); // nothing can be said before the handshake
      const body = `too many connections from ${client}: the limit is ${limit} (${setting})\n`;
      socket.on("error", () => {});
      socket.end(
        `HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      );
    }
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
    const status =
      error.code === "HPE_HEADER_OVERFLOW"
        ? "431 Request Header Fields Too Large"
        : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
          ? "408 Request Timeout"
          : "400 Bad Request";
    socket.end(`HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n${status}`);
  });
  server.on("tlsClientError", (error: Error, socket: Socket) => {
    log.warn("refused a TLS client", { peer: socket.remoteAddress, reason: describeError(error) });
    socket.destroy(); // Node leaves a handshake that timed out open
  });
  server.on("upgrade", (req: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    if (isForeignOrigin(req)) {
      log.warn("refused a WebSocket that a page of another origin opened", { origin: req.headers.origin });
      const body = "pages of other origins may not connect here\n";
      socket.end(
        `HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      );
    } else if (options.upgrade && !closing) options.upgrade(req, socket, head);
    else socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => void explainListenError(error, options.host, options.port).then(reject, reject));
    server.listen({ host: options.host, port: options.port, backlog: 4096 }, resolve);
  });
  server.on("error", (error) =>
    log.error("the listener failed, it goes on accepting", { error: describeError(error) }),
  );
  const { port } = server.address() as AddressInfo;
  const host =
    options.host === "0.0.0.0" ? "127.0.0.1" : options.host.includes(":") ? `[${options.host}]` : options.host;
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    closing = true;
    // Not the HTTP server's own close: that cuts connections whose request is on its way, or in the kernel already.
    const done = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
    const idle = setInterval(() => server.closeIdleConnections(), IDLE_GRACE_MS);
    const deadline = setTimeout(() => {
      for (const socket of sockets.keys()) socket.destroy();
    }, DRAIN_MS);
    beginDrain(drain);
    await done;
    clearInterval(idle);
    clearTimeout(deadline);
    server.close(() => {}); // ends Node's own timer for slow clients
    for (const socket of sockets.keys()) socket.destroy();
  };
  return {
    server,
    url: `${options.tls ? "https" : "http"}://${host}:${port}`,
    port,
    close: () => (closed ??= close()),
  };
}

// A browser lets any page open a WebSocket to any host, and tells only by Origin (RFC 6455 10.2): without a look at it, a
// page somewhere could read the catalog of whoever visits it. Programs that are no browsers send none.
function isForeignOrigin({ headers: { origin, host } }: IncomingMessage): boolean {
  return origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host);
}

/**
 * Reads a body, counting what arrives, not what Content-Length says. Throws TooLargeError past `limit` bytes; what still comes
 * is then discarded for a while, since closing at once would reset the connection before the caller has read the refusal.
 */
export function readBody(
  req: IncomingMessage,
  limit: number = DEFAULT_BODY_LIMIT,
  tooLarge?: (limit: number) => Error,
): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let size = 0;
  let linger: NodeJS.Timeout | undefined;
  const refuse = () => {
    chunks.length = 0;
    reject(tooLarge?.(limit) ?? new TooLargeError(`request body too large: the limit is ${limit} bytes`));
    linger ??= setTimeout(() => req.complete || req.socket.destroy(), MAX_DISCARD_MS);
  };
  if (Number(req.headers["content-length"] ?? 0) > limit) refuse();
  req.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size > limit) refuse();
    else if (!linger) chunks.push(chunk);
    if (size > limit + MAX_DISCARDED_BYTES) req.pause(); // its caller, held back, has time to read the refusal
  });
  req.once("end", () => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)));
  const onGone = (cause?: Error) => {
    if (!req.complete || cause)
      reject(new InvalidArgumentError("the caller went away before its request was complete", { cause }));
  };
  req.once("error", onGone).once("close", () => {
    clearTimeout(linger);
    onGone();
  });
  if (req.readableEnded) resolve(Buffer.alloc(0));
  else if (req.destroyed) onGone();
  return promise;
}

/** Reads a JSON body. Throws InvalidArgumentError with the parser's words, TooLargeError past `limit`. */
export async function readJson(req: IncomingMessage, limit?: number): Promise<unknown> {
  const text = (await readBody(req, limit)).toString("utf8");
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new InvalidArgumentError(`request body is not valid JSON: ${(cause as Error).message}`, { cause });
  }
}

/** Writes JSON with the headers every answer carries. */
export function sendJson(res: ServerResponse, status: number, body: unknown): void {
  const bytes = Buffer.from(JSON.stringify(body));
  res.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": bytes.length,
    "X-Content-Type-Options": "nosniff",
  });
  res.end(bytes);
}

/** Writes plain text, the form of errors on the public API. */
export function sendText(res: ServerResponse, status: number, text: string): void {
  const bytes = Buffer.from(text);
  res.writeHead(status, {
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": bytes.length,
    "X-Content-Type-Options": "nosniff",
  });
  res.end(bytes);
}
