/** Starts the catalog as a daemon of its own: one internal listener with the public rows, the stream and the operator's routes. */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import {
  createRegistry,
  loadInternalIdentity,
  type Logger,
  opsRoutes,
  publicApi,
  requireRole,
  requireTlsOffLoopback,
  type Running,
  sendText,
  startHttpServer,
  startOpsServer,
} from "@heddle/daemon";
import { openStore } from "@heddle/store";
import type { NextFunction, Response } from "express";
import { createCatalog } from "./catalog.ts";
import type { CatalogConfig } from "./config.ts";
import { registerCatalogMetrics } from "./metrics.ts";

/** Who may read and follow, and who may write: an agent for its node, an operator for all. */
const READERS = ["agent", "ca", "catalog", "dns", "operator"];
const WRITERS = ["agent", "operator"];

/** Resolves when it serves. Throws UnavailableError for a port or a data directory that it cannot have. */
export async function start(config: CatalogConfig, { log }: { log: Logger }): Promise<Running> {
  const identity = loadInternalIdentity(config);
  requireTlsOffLoopback(config.host, identity);
  await using stack = new AsyncDisposableStack();
  const store = await openStore({ dataDir: config.dataDir, name: "catalog", log });
  const catalog = stack.use(
    createCatalog({
      store,
      datacenter: config.datacenter,
      nodeName: "catalog",
      leader: `${config.host}:${config.port}`,
      defaultIntentionPolicy: config.defaultIntentionPolicy === "deny" ? "deny" : "allow",
      kvMaxValueSize: config.kvMaxValueSize,
      sessionTtlMinMs: config.sessionTtlMin,
      log,
    }),
  );
  const registry = createRegistry("catalog");
  registerCatalogMetrics(registry, catalog);
  const api = publicApi(catalog.table, { datacenter: config.datacenter, log });
  // Loaded late: a composition mounts the tables itself and needs no express.
  const { default: express } = await import("express");
  const app = express().disable("x-powered-by");
  app.use(opsRoutes({ registry, health: () => catalog.health() }));
  app.use(async (req, res, next) => {
    await requireRole(req, req.method === "GET" || req.method === "HEAD" ? READERS : WRITERS);
    if (!api(req, res)) next();
  });
  app.use((_req, res) => void res.writeHead(404).end());
  app.use((error: Error & { status?: number }, _req: IncomingMessage, res: Response, _next: NextFunction) =>
    sendText(res, error.status ?? 500, error.message),
  );

  const server = await startHttpServer({
    host: config.host,
    port: config.port,
    handler: app,
    log,
    tls: identity && (await import("@heddle/tls")).internalServerOptions(identity),
    upgrade: (req: IncomingMessage, socket: Socket, head: Buffer) => void upgrade(req, socket, head),
  });
  const upgrade = async (req: IncomingMessage, socket: Socket, head: Buffer) => {
    try {
      await requireRole(req, READERS);
    } catch (error) {
      return void socket.end(`HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n${(error as Error).message}`);
    }
    if (!catalog.stream.upgrade(req, socket, head)) socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
  };
  stack.defer(() => server.close());
  stack.use(
    await startOpsServer({
      host: config.metricsHost,
      port: config.metricsPort,
      registry,
      health: () => catalog.health(),
      log,
    }),
  );
  log.info("catalog is serving", {
    address: server.url,
    data_dir: config.dataDir || "(memory)",
    index: store.revision,
  });
  const owned = stack.move();
  const close = () => owned.disposeAsync();
  return { url: server.url, health: () => catalog.health(), close, [Symbol.asyncDispose]: close };
}
