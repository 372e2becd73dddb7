/** What each request of the public API counts as, under the names that Consul's dashboards and alerts ask for. */
import type { ApiRequest } from "@heddle/daemon";
import type { Telemetry } from "./telemetry.ts";

/** Starts measuring a request; the figures are taken when its answer is out. */
export function measureRequest(telemetry: Telemetry, request: ApiRequest): void {
  const start = performance.now();
  const { method, path, rest, res } = request;
  const row = rest === "" ? path : path.slice(0, path.length - rest.length);
  // What the agent answers itself asks no server.
  if (!row.startsWith("/v1/agent/")) telemetry.count("client.rpc");
  res.on("close", () => {
    const ms = performance.now() - start;
    telemetry.sample(httpName(method, row), ms);
    if (res.statusCode >= 400) return;
    if (method === "GET") countQuery(telemetry, row, rest);
    else sampleWrite(telemetry, request, row, ms);
  });
}

const names = new Map<string, Map<string, string>>();
/** "http.PUT.v1.kv._": the row's path with dots, and "_" for what follows it. */
function httpName(method: string, row: string): string {
  let ofMethod = names.get(method);
  if (!ofMethod) names.set(method, (ofMethod = new Map<string, string>()));
  let name = ofMethod.get(row);
  if (name === undefined) {
    name = `http.${method}${row.replace(/\/$/, "/_").replaceAll("/", ".")}`;
    if (ofMethod.size < 1_000) ofMethod.set(row, name);
  }
  return name;
}

const QUERIES: Record<string, string> = {
  "/v1/catalog/service/": "catalog.service.query",
  "/v1/catalog/connect/": "catalog.connect.query",
  "/v1/health/service/": "health.service.query",
  "/v1/health/connect/": "health.connect.query",
};

function countQuery(telemetry: Telemetry, row: string, rest: string): void {
  const name = QUERIES[row];
  if (name !== undefined) telemetry.count(name, { service: rest });
}

/** Of each row that writes: the sample of the endpoint, and that of the store's part in it. */
const WRITES: Record<string, [endpoint: string, store: string, op: string]> = {
  "/v1/catalog/register": ["catalog.register", "fsm.register", ""],
  "/v1/catalog/deregister": ["catalog.deregister", "fsm.deregister", ""],
  "/v1/session/create": ["session.apply", "fsm.session", "create"],
  "/v1/session/destroy/": ["session.apply", "fsm.session", "destroy"],
  "/v1/session/renew/": ["session.renew", "", ""],
  "/v1/txn": ["txn.apply", "fsm.txn", ""],
  "/v1/connect/intentions": ["intention.apply", "fsm.intention", "create"],
  "/v1/connect/intentions/": ["intention.apply", "fsm.intention", "update"],
  "/v1/query": ["prepared-query.apply", "fsm.prepared-query", "create"],
  "/v1/config": ["config_entry.apply", "fsm.config_entry", "upsert"],
};

function sampleWrite(telemetry: Telemetry, request: ApiRequest, row: string, ms: number): void {
  const [endpoint, store, op] =
    row === "/v1/kv/" ? ["kvs.apply", "fsm.kvs", kvOperation(request)] : (WRITES[row] ?? []);
  if (endpoint === undefined) return;
  telemetry.sample(endpoint, ms);
  if (store === "" || store === undefined) return;
  const label = request.method === "DELETE" && row !== "/v1/kv/" ? "delete" : op;
  telemetry.sample(store, ms, label ? { op: label } : undefined);
}

function kvOperation({ method, query }: ApiRequest): string {
  if (method === "DELETE") return query.has("recurse") ? "delete-tree" : query.has("cas") ? "delete-cas" : "delete";
  if (query.has("acquire")) return "lock";
  if (query.has("release")) return "unlock";
  return query.has("cas") ? "cas" : "set";
}
