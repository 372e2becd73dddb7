/**
 * The internal listener: parts side by side (a daemon's public rows, its internal routes, its WebSockets), each behind the
 * roles that may use it. A daemon alone has one, with its operator's routes; a composition shares one among all its daemons.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Server as TlsServer } from "node:https";
import type { dateProblem } from "@heddle/tls";
import { type ApiTable, rowMatcher } from "./api.ts";
import { describeError, HeddleError, PermissionDeniedError } from "./errors.ts";
import { type HttpServer, sendText, startHttpServer } from "./http.ts";
import type { LiveIdentity } from "./identity.ts";
import { type Caller, requireRole } from "./internal.ts";
import type { Logger } from "./log.ts";
import { type OpsDeps, opsRoutes } from "./metrics.ts";
import { publicApi } from "./public-api.ts";
import { guardRevoked, type RevokedCallers } from "./revoked-callers.ts";

// A node's agent (with one connection for each blocking read of its clients), DNS server and CLI share an address.
const MAX_CONNECTIONS_PER_CLIENT = 2_000;

/** Who may read, and who may write, by the role in their certificate. */
export interface Roles {
  readers: readonly string[];
  writers: readonly string[];
}

export interface InternalPart {
  /** True when it answers the request. */
  handle?: (req: IncomingMessage, res: ServerResponse) => boolean | Promise<boolean>;
  /** True when it takes the WebSocket over. */
  upgrade?: (req: IncomingMessage, socket: Socket, head: Buffer) => boolean | Promise<boolean>;
}

/** The rows of a public table as a part: a caller whose role may not is refused with 403 before any row sees the request. */
export function guardedTable(
  table: ApiTable,
  roles: Roles,
  options: { datacenter: string; log: Logger },
): InternalPart {
  const api = publicApi(table, options);
  const hasRow = rowMatcher(table);
  return {
    async handle(req, res) {
      if (!hasRow(req.url ?? "/")) return false;
      await requireRole(req, req.method === "GET" || req.method === "HEAD" ? roles.readers : roles.writers);
      return api(req, res);
    },
  };
}

/** A WebSocket as a part, for callers of these roles. */
export function guardedUpgrade(
  path: string,
  upgrade: (req: IncomingMessage, socket: Socket, head: Buffer, caller?: Caller) => boolean,
  roles: readonly string[],
): InternalPart {
  return {
    async upgrade(req, socket, head) {
      if (req.url?.split("?")[0] !== path) return false;
      const caller = await requireRole(req, roles);
      return upgrade(req, socket, head, caller);
    },
  };
}

export interface InternalServerOptions {
  host: string;
  port: number;
  /** Mutual TLS where it is given; the caller has seen to it that it is, off loopback. */
  identity: LiveIdentity | undefined;
  /** Tried in order. */
  parts: readonly InternalPart[];
  /** Tried first, and all that callers without a certificate of ours come to; without any, they come to nothing. */
  open?: readonly InternalPart[];
  /** Callers whose certificate was revoked come to nothing, and what they hold open is ended. */
  revoked?: RevokedCallers | undefined;
  /** A daemon alone answers /metrics, /healthz and /readyz here too. */
  ops?: OpsDeps;
  log: Logger;
}

/** Throws UnavailableError for a port that it cannot have. */
export async function startInternalServer(options: InternalServerOptions): Promise<HttpServer> {
  const { identity, open = [], ops, log } = options;
  const tls = identity && (await import("@heddle/tls"));
  const refuseStrangers = ({ socket }: IncomingMessage): never => {
    throw new PermissionDeniedError(whyStranger(socket as TLSSocket, tls?.dateProblem));
  };
  const forStrangers = [...open, { handle: refuseStrangers, upgrade: refuseStrangers }];
  const partsFor = (req: IncomingMessage) => (isStranger(req) ? forStrangers : parts);
  const guard = options.revoked && guardRevoked(options.revoked, log);
  const parts = [...(guard ? [guard.part] : []), ...open, ...options.parts];
  const route: RequestListener = (req, res) => {
    answer(req, res, partsFor(req)).catch((error: unknown) => refuse(error, req, res, log));
  };
  const tlsOptions = open.length > 0 ? tls?.openInternalServerOptions : tls?.internalServerOptions;
  const server = await startHttpServer({
    host: options.host,
    port: options.port,
    handler: ops ? await withOps(ops, route) : route,
    log,
    maxConnectionsPerClient: MAX_CONNECTIONS_PER_CLIENT,
    connectionsLimitName: "fixed, of the internal API",
    tls: identity && tlsOptions?.(identity.current()),
    upgrade: (req, socket, head) => void takeOver(req, socket, head, partsFor(req)),
  });
  guard?.follow(server.server);
  const off = identity?.onChange(() => tls?.swapServerIdentity(server.server as TlsServer, identity.current()));
  return {
    ...server,
    close() {
      off?.();
      guard?.close();
      return server.close();
    },
  };
}

const isStranger = ({ socket }: IncomingMessage): boolean => socket instanceof TLSSocket && !socket.authorized;

/** Why a caller is nobody here: most have no certificate, and some one that is of another time. */
function whyStranger(socket: TLSSocket, explain: typeof dateProblem | undefined): string {
  const reason = String(socket.authorizationError ?? "none was presented");
  const certificate = reason.startsWith("CERT_") ? socket.getPeerX509Certificate() : undefined;
  const dates = certificate && {
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
  };
  const problem = dates && explain?.(dates, Date.now()); // as OpenSSL, which has judged it
  if (problem !== undefined) return `the caller's certificate ${problem}`;
  return `want a certificate of this mesh (${reason}): a node joins with 'heddle agent -join'`;
}

async function answer(req: IncomingMessage, res: ServerResponse, parts: readonly InternalPart[]): Promise<void> {
  for (const { handle } of parts) if (handle && (await handle(req, res))) return;
  res.writeHead(404, { "Content-Length": 0 }).end();
}

async function takeOver(
  req: IncomingMessage,
  socket: Socket,
  head: Buffer,
  parts: readonly InternalPart[],
): Promise<void> {
  try {
    for (const { upgrade } of parts) if (upgrade && (await upgrade(req, socket, head))) return;
    socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  } catch (error) {
    const text = describeError(error);
    socket.end(
      `HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`,
    );
  }
}

function refuse(error: unknown, req: IncomingMessage, res: ServerResponse, log: Logger): void {
  const status = error instanceof HeddleError ? error.status : 500;
  const path = req.url?.split("?")[0];
  log.warn("refused an internal request", { method: req.method, path, status, error: describeError(error) });
  if (res.headersSent || res.destroyed) return void res.destroy();
  sendText(res, status, describeError(error));
}

/** Loaded late: a composition has no operator's routes here, and express costs its start 20 ms. */
async function withOps(ops: OpsDeps, route: RequestListener): Promise<RequestListener> {
  const { default: express } = await import("express");
  return express().disable("x-powered-by").use(opsRoutes(ops)).use(route);
}
