/**
 * `/metrics`, `/healthz` and `/readyz` in plain text on a listener of their own, for scrapers and orchestrators that have no
 * certificate of the internal API: nothing else is served there.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { option } from "./config.ts";
import { startHttpServer } from "./http.ts";
import type { Logger } from "./log.ts";
import { type OpsDeps, opsRoutes } from "./metrics.ts";

/** For a daemon's own table of options; `metricsPort` below zero is no listener. */
export const opsOptions = {
  metricsHost: option.string("Address of /metrics, /healthz and /readyz in plain text.", "127.0.0.1"),
  metricsPort: option.integer(
    "Port of /metrics, /healthz and /readyz; 0 picks a free one, -1 is none.",
    -1,
    65_535,
    -1,
  ),
};

export interface OpsServerOptions extends OpsDeps {
  host: string;
  /** Below zero: no listener. */
  port: number;
  /** Answers further paths; false for those that are not its. */
  handle?: (req: IncomingMessage, res: ServerResponse) => boolean;
  log: Logger;
}

export interface OpsServer extends AsyncDisposable {
  /** Empty where there is no listener. */
  readonly url: string;
}

/** Throws UnavailableError for a port that it cannot have. */
export async function startOpsServer({ host, port, handle, log, ...deps }: OpsServerOptions): Promise<OpsServer> {
  if (port < 0) return { url: "", [Symbol.asyncDispose]: async () => {} };
  const { default: express } = await import("express");
  const handler = express().disable("x-powered-by").use(opsRoutes(deps));
  if (handle) handler.use((req, res, next) => void (handle(req, res) || next()));
  const server = await startHttpServer({ host, port, handler, log });
  log.info("Serving metrics", { url: `${server.url}/metrics` });
  return { url: server.url, [Symbol.asyncDispose]: () => server.close() };
}
