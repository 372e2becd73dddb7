/** The public tables on a listener: what is refused before any handler, and how an error is answered there. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { type ApiRequest, type ApiTable, apiRouter, refusal, refusalHeaders } from "./api.ts";
import { describeError, HeddleError } from "./errors.ts";
import { sendText } from "./http.ts";
import type { Logger } from "./log.ts";
import { readParams } from "./read-params.ts";

export interface PublicApiOptions {
  datacenter: string;
  log: Logger;
  /** Sees each request to a row before its handler does. */
  onRequest?: (request: ApiRequest) => void;
}

/** Answers the rows of public tables on a listener; false where no row has the path. */
export function publicApi(
  table: ApiTable,
  { datacenter, log, onRequest }: PublicApiOptions,
): (req: IncomingMessage, res: ServerResponse) => boolean {
  return apiRouter(table, {
    before: (request) => {
      onRequest?.(request);
      refuseForeign(request, datacenter);
    },
    onError: (error, request) => sendError(error, request, log),
  });
}

// Consul's open-source servers answer so to what only its Enterprise ones, or other datacenters, could.
function refuseForeign(request: ApiRequest, datacenter: string): void {
  const { req, method, query, path } = request;
  if (query.size > 0) {
    if (query.has("ns") && !isWithoutNamespaces(path))
      throw refusal(400, `Bad request: Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature`);
    // Consul reads these first where a server answers, whether the answer then depends on them or not.
    if (takesReadParams(request)) readParams(query);
    const dc = query.get("dc");
    if (dc !== null && dc !== "" && dc !== datacenter && !isEverywhere(path, method) && !isWithoutArgument(request)) {
      refusalHeaders(request);
      throw refusal(500, "No path to datacenter");
    }
  }
  if (req.headers["x-consul-namespace"])
    throw refusal(
      400,
      `Bad request: Invalid header: "X-Consul-Namespace" - Namespaces are a Consul Enterprise feature`,
    );
}

// What is asked of nothing is told so whatever else is wrong.
const WITH_ARGUMENT =
  /^\/v1\/(?:catalog|health|session|internal(?:\/ui)?|discovery-chain|coordinate\/node|event\/fire|connect\/intentions|kv)\/(?:[a-z-]+\/)?$/;
function isWithoutArgument({ rest, path, query }: ApiRequest): boolean {
  return rest === "" && WITH_ARGUMENT.test(path) && !query.has("recurse") && !query.has("keys");
}

function takesReadParams(request: ApiRequest): boolean {
  const { path, method } = request;
  if (path.startsWith("/v1/kv/")) return true;
  if (method !== "GET" || path === "/v1/snapshot" || isWithoutArgument(request)) return false;
  return !isEverywhere(path, method) || path.startsWith("/v1/agent/service/");
}

// Namespaces hold services, keys and sessions; these groups have none.
const WITHOUT_NAMESPACES =
  /^\/v1\/(?:acl|connect\/(?:ca|intentions)|coordinate|event|operator|query|status|snapshot|internal\/federation-states?|catalog\/(?:datacenters|nodes)|agent\/(?:force-leave|join|members|reload|token))(?:\/|$)/;
const isWithoutNamespaces = (path: string): boolean => WITHOUT_NAMESPACES.test(path);

const EVERYWHERE = new Set([
  "/v1/catalog/datacenters",
  "/v1/coordinate/datacenters",
  "/v1/event/list",
  "/v1/operator/keyring",
]);

/** What answers for itself whatever datacenter is asked for: the agent, ACLs, and writes of config entries, which go to the primary one. */
function isEverywhere(path: string, method: string): boolean {
  if (path.startsWith("/v1/acl/")) return true;
  if (path.startsWith("/v1/agent/")) return !path.startsWith("/v1/agent/connect/");
  return EVERYWHERE.has(path) || (path.startsWith("/v1/config") && method !== "GET");
}

function sendError(error: unknown, { req, res, path }: ApiRequest, log: Logger): void {
  const known = error instanceof HeddleError ? error : undefined;
  const status = known?.status ?? 500;
  const message = describeError(known && known.cause !== undefined && status < 500 ? known.message : error);
  if (!known) log.error("request failed", { method: req.method, path, error: message, stack: (error as Error).stack });
  else if (status >= 500 && known.code === "unavailable")
    log.error("request failed", { method: req.method, path, error: message });
  else log.debug("request refused", { method: req.method, path, status, error: message });
  if (res.headersSent || res.destroyed) return void res.destroy();
  sendText(res, status, message);
}
