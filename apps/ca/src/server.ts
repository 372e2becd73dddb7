/** Starts the CA as a daemon of its own: one internal listener with its public rows, the signing route and the operator's routes. */
import type { IncomingMessage } from "node:http";
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
import { createCa } from "./ca.ts";
import type { CaConfig } from "./config.ts";

/** Who may read roots and configuration, and who may change the configuration: agents forward what their users ask. */
const READERS = ["agent", "ca", "catalog", "dns", "health", "operator"];
const WRITERS = ["agent", "operator"];

/** Resolves when it serves. Throws UnavailableError for a port or a data directory that it cannot have. */
export async function start(config: CaConfig, { log }: { log: Logger }): Promise<Running> {
  const identity = loadInternalIdentity(config);
  requireTlsOffLoopback(config.host, identity);
  await using stack = new AsyncDisposableStack();
  const registry = createRegistry("ca");
  const store = stack.use(await openStore({ dataDir: config.dataDir, name: "ca", log }));
  const ca = await createCa({
    store,
    datacenter: config.datacenter,
    clusterId: config.clusterId || undefined,
    initialConfig: { LeafCertTTL: config.leafCertTtl, CSRMaxPerSecond: config.csrMaxPerSecond },
    registry,
    log,
  });
  const api = publicApi(ca.table, { datacenter: config.datacenter, log });
  // Loaded late: a composition mounts the tables itself and needs no express.
  const { default: express } = await import("express");
  const app = express().disable("x-powered-by");
  app.use(opsRoutes({ registry, health: () => ca.health() }));
  app.use((req, res, next) => void (ca.internal(req, res) || next()));
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
  });
  stack.defer(() => server.close());
  const { metricsHost, metricsPort } = config;
  stack.use(await startOpsServer({ host: metricsHost, port: metricsPort, registry, health: () => ca.health(), log }));
  log.info("CA is serving", { address: server.url, data_dir: config.dataDir || "(memory)" });
  const owned = stack.move();
  const close = () => owned.disposeAsync();
  return { url: server.url, health: () => ca.health(), close, [Symbol.asyncDispose]: close };
}
