/** The agent's public API: its own rows, those of the servers, and the page of what everybody gets. */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { type ApiTable, type Logger, type Operations, publicApi, sendText } from "@heddle/daemon";
import type { RequestHandler } from "express";
import type { AgentConfig } from "./config/index.ts";
import type { AgentDeps } from "./deps.ts";
import { prepareSettings } from "./http-settings.ts";
import { measureRequest } from "./request-metrics.ts";
import { aclTable } from "./routes/acl.ts";
import { checkTable } from "./routes/checks.ts";
import { connectTable } from "./routes/connect.ts";
import { debugTable } from "./routes/debug.ts";
import { decisionTable } from "./routes/decisions.ts";
import { eventTable } from "./routes/event.ts";
import { healthTable } from "./routes/health.ts";
import { nodeTable } from "./routes/node.ts";
import { openApiTable } from "./routes/openapi.ts";
import { proxyTable } from "./routes/proxies.ts";
import { serviceTable } from "./routes/services.ts";

export interface AgentApiOptions {
  /** The servers' rows, in a composition. */
  mounted: ApiTable;
  /** /metrics, /healthz, /readyz. */
  ops: RequestHandler;
  /** Passes a request on to a server, on a node without one. */
  forward: ((req: IncomingMessage, res: ServerResponse) => void) | undefined;
  /** What the rows of all daemons mean. */
  operations: () => Promise<Operations>;
}

export function createAgentApi(
  deps: AgentDeps,
  { mounted, ops, forward, operations }: AgentApiOptions,
): RequestListener {
  const table: ApiTable = {
    ...mounted,
    ...serviceTable(deps),
    ...checkTable(deps),
    ...healthTable(deps),
    ...connectTable(deps),
    ...decisionTable(deps),
    ...proxyTable(deps),
    ...nodeTable(deps),
    ...eventTable(deps),
    ...debugTable(deps),
    ...aclTable(),
    ...openApiTable({ version: deps.version, operations, table: () => table }),
  };
  const log = deps.log.child("http");
  const route = publicApi(table, {
    datacenter: deps.config.datacenter,
    log,
    onRequest: (request) => measureRequest(deps.telemetry, request),
  });
  const applySettings = prepareSettings(() => deps.settings());
  let rest: Promise<RequestListener> | undefined;
  return (req, res) => {
    if (log.isDebug()) logWhenDone(req, res, log);
    if (!applySettings(req, res)) return;
    // Rows are matched before express: a read of hot data is answered in a few microseconds.
    if (route(req, res)) return;
    if (forward && req.url?.startsWith("/v1/")) return forward(req, res);
    rest ??= createRest(ops, deps.settings().uiConfig);
    rest.then((app) => app(req, res)).catch(() => res.destroy());
  };
}

/** What is no row: the operator's routes, the page, 404. Loaded late: express costs the start 20 ms. */
async function createRest(
  ops: RequestHandler,
  { enabled, contentPath }: AgentConfig["uiConfig"],
): Promise<RequestListener> {
  const { default: express } = await import("express");
  const app = express().disable("x-powered-by");
  app.use(ops);
  const base = `/${contentPath}/`.replaceAll(/\/+/g, "/");
  if (enabled) {
    const { createPage } = await import("./page.ts");
    const servePage = createPage(base);
    app.use((req, res, next) => (req.url.startsWith(base) ? servePage(req, res) : next()));
    if (base !== "/")
      app.all(
        base.slice(0, -1),
        (req, res) => void res.writeHead(301, { Location: `${base}${queryOf(req.url)}`, "Content-Length": 0 }).end(),
      );
    app.all("/robots.txt", (_req, res) => sendText(res, 200, ROBOTS));
  }
  app.all("/", (req, res) => {
    if (!enabled) return sendText(res, 200, "Heddle Agent");
    res.writeHead(301, { Location: base, "Content-Type": "text/html; charset=utf-8" });
    res.end(req.method === "GET" ? `<a href="${encodeURI(base)}">Moved Permanently</a>.\n\n` : "");
  });
  app.use((_req, res) => void res.writeHead(404, { "Content-Length": 0 }).end());
  return app;
}

const ROBOTS = "# http://www.robotstxt.org\nUser-agent: *\nDisallow: *\n";

const queryOf = (url: string): string => (url.includes("?") ? url.slice(url.indexOf("?")) : "");

function logWhenDone(req: IncomingMessage, res: ServerResponse, log: Logger): void {
  const start = performance.now();
  res.once("close", () => {
    const latency = `${(performance.now() - start).toFixed(3)}ms`;
    log.debug("Request finished", {
      method: req.method,
      url: withoutToken(req.url ?? ""),
      from: `${req.socket.remoteAddress ?? ""}:${req.socket.remotePort ?? ""}`,
      latency,
    });
  });
}

/** A URL for the log: a token is hidden however its name is spelled. */
function withoutToken(url: string): string {
  const mark = url.indexOf("?");
  if (mark < 0) return url;
  const pairs = url.slice(mark + 1).split("&");
  const shown = pairs.map((pair) => (new URLSearchParams(pair).has("token") ? "token=<hidden>" : pair));
  return `${url.slice(0, mark + 1)}${shown.join("&")}`;
}
