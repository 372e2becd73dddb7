/** The catalog as a value: its routes and its stream over one store, to be mounted on any listener. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { type ApiRequest, type ApiTable, apiRouter, type Clock, describeError, HeddleError, type Health, type Logger, refusal, sendText, systemClock } from "@heddle/daemon";
import type { Store } from "@heddle/store";
import type { Ask } from "./blocking.ts";
import type { CatalogDeps } from "./deps.ts";
import { catalogQuestions, catalogTable } from "./routes/catalog.ts";
import { healthQuestions, healthTable } from "./routes/health.ts";
import { intentionQuestions, intentionTable } from "./routes/intentions.ts";
import { kvQuestions, kvTable } from "./routes/kv.ts";
import { sessionQuestions, sessionTable } from "./routes/session.ts";
import { statusTable } from "./routes/status.ts";
import { LockDelays, SessionTimers } from "./session-timers.ts";
import { CatalogState } from "./state.ts";
import { createStreamServer, type StreamServer } from "./stream.ts";

export interface CatalogOptions {
  store: Store;
  datacenter: string;
  nodeName: string;
  leader: string;
  defaultIntentionPolicy: "allow" | "deny";
  kvMaxValueSize: number;
  sessionTtlMinMs: number;
  clock?: Clock;
  log: Logger;
}

export interface Catalog extends AsyncDisposable {
  /** The rows of the public API that the catalog answers. */
  readonly table: ApiTable;
  /** What can be followed on the stream. */
  readonly questions: Record<string, Ask>;
  readonly stream: StreamServer;
  readonly state: CatalogState;
  health(): Record<string, Health>;
  close(): Promise<void>;
}

/** Builds the catalog over an open store; closing it closes the store. */
export function createCatalog(options: CatalogOptions): Catalog {
  const { store, log } = options;
  const clock = options.clock ?? systemClock;
  const deps: CatalogDeps = {
    state: new CatalogState(store),
    datacenter: options.datacenter,
    nodeName: options.nodeName,
    leader: options.leader,
    defaultIntentionPolicy: options.defaultIntentionPolicy,
    limits: { kvMaxValueSize: options.kvMaxValueSize },
    sessionTtlMinMs: options.sessionTtlMinMs,
    lockDelays: new LockDelays(store, clock),
    sessionTimers: new SessionTimers({ store, clock, log }),
    log,
  };
  const questions: Record<string, Ask> = {
    ...catalogQuestions(deps),
    ...healthQuestions(deps),
    ...kvQuestions(deps),
    ...sessionQuestions(deps),
    ...intentionQuestions(deps),
  };
  const stream = createStreamServer({ state: deps.state, questions, log: log.child("stream") });
  const close = async () => {
    stream.close();
    deps.sessionTimers.close();
    await store.close();
  };
  return {
    state: deps.state,
    questions,
    stream,
    table: { ...catalogTable(deps), ...healthTable(deps), ...kvTable(deps), ...sessionTable(deps), ...intentionTable(deps), ...statusTable(deps) },
    health: () => ({ store: { started: true, live: true, ready: true, details: `revision ${store.revision}` } }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Answers the rows of public tables on a listener; false where no row has the path. */
export function publicApi(table: ApiTable, { datacenter, log }: { datacenter: string; log: Logger }): (req: IncomingMessage, res: ServerResponse) => boolean {
  return apiRouter(table, {
    before: (request) => refuseForeign(request, datacenter),
    onError: (error, request) => sendError(error, request, log),
  });
}

// Consul's open-source servers answer so to what only its Enterprise ones, or other datacenters, could.
function refuseForeign({ req, query, path }: ApiRequest, datacenter: string): void {
  if (query.size > 0) {
    if (query.has("ns")) throw refusal(400, `Bad request: Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature`);
    const dc = query.get("dc");
    if (dc !== null && dc !== "" && dc !== datacenter && path !== "/v1/catalog/datacenters") throw refusal(500, "No path to datacenter");
  }
  if (req.headers["x-consul-namespace"]) throw refusal(400, `Bad request: Invalid header: "X-Consul-Namespace" - Namespaces are a Consul Enterprise feature`);
}

function sendError(error: unknown, { req, res, path }: ApiRequest, log: Logger): void {
  const known = error instanceof HeddleError ? error : undefined;
  const status = known?.status ?? 500;
  const message = describeError(known && known.cause !== undefined && status < 500 ? known.message : error);
  if (!known) log.error("request failed", { method: req.method, path, error: message, stack: (error as Error).stack });
  else if (status >= 500 && known.code === "unavailable") log.error("request failed", { method: req.method, path, error: message });
  else log.debug("request refused", { method: req.method, path, status, error: message });
  if (res.headersSent || res.destroyed) return void res.destroy();
  if (status === 413) res.setHeader("Connection", "close"); // the rest of the body is not read
  sendText(res, status, message);
}
