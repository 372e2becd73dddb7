/**
 * The public API as a table: one row a path, one handler a method. The table answers what every row has in common (405 with
 * `Allow`, OPTIONS, empty 404, redirects of unclean paths), as Go's mux under Consul does. A path that ends in "/" takes
 * the rest of the path as its argument.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { HeddleError } from "./errors.ts";
import { sendText } from "./http.ts";
import { canHold, headOf, holdAnswer } from "./turn.ts";

/** One request to a row of the table. */
export interface ApiRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly method: string;
  /** The decoded path. */
  readonly path: string;
  /** What follows the row's path; empty for an exact row. */
  readonly rest: string;
  readonly query: URLSearchParams;
}

export type ApiHandler = (request: ApiRequest) => void | Promise<void>;
/** Other methods, and OPTIONS, are answered by the table itself where a row does not. */
export type ApiMethod = "DELETE" | "GET" | "OPTIONS" | "OTHERS" | "POST" | "PUT";
export type ApiTable = Record<string, Partial<Record<ApiMethod, ApiHandler>>>;

export interface ApiTableOptions {
  /** Runs before every handler: common query parameters, access. Throws to refuse. */
  before?: (request: ApiRequest) => void;
  onError: (error: unknown, request: ApiRequest) => void;
}

// Shared by all requests without one: handlers read their query, they do not write it.
const NO_QUERY = new URLSearchParams();

/** Turns a table into a request handler that returns false where no row has the path. */
export function apiRouter(
  table: ApiTable,
  options: ApiTableOptions,
): (req: IncomingMessage, res: ServerResponse) => boolean {
  const rows = new Map(Object.entries(table));
  return function route(req, res) {
    const url = req.url ?? "/";
    const mark = url.indexOf("?");
    const raw = mark < 0 ? url : url.slice(0, mark);
    if (!raw.startsWith("/v1/") && !raw.startsWith("/v1//")) return false;
    let path = raw;
    if (mark >= 0 && /%(?![0-9a-fA-F]{2})/.test(url.slice(mark))) {
      res.writeHead(500, { "Content-Length": 0 }).end(); // as Consul answers a query that cannot be decoded
      return true;
    }
    if (raw.includes("%")) {
      const decoded = decodePath(raw);
      if (decoded === undefined) {
        sendText(res, 400, "400 Bad Request");
        return true;
      }
      path = decoded;
    }
    if (isUnclean(raw)) {
      redirect(req, res, encodeURI(clean(raw)) + (mark < 0 ? "" : url.slice(mark)));
      return true;
    }
    const found = findRow(rows, path);
    if (!found) {
      if (!rows.has(`${path}/`)) return false;
      // As Go's mux under Consul does for a folder that is named without its slash.
      redirect(req, res, `${raw}/${mark < 0 ? "" : url.slice(mark)}`);
      return true;
    }
    const method = req.method ?? "GET";
    const handler = found.row[method as ApiMethod] ?? (method === "OPTIONS" ? undefined : found.row.OTHERS);
    if (!handler) {
      const methods = new Set(["OPTIONS", ...Object.keys(found.row)].filter((name) => name !== "OTHERS"));
      const allowed = [...methods].toSorted().join(",");
      res.setHeader("Allow", allowed);
      if (method === "OPTIONS") res.writeHead(200, { "Content-Length": 0 }).end();
      else sendText(res, 405, `method ${method} not allowed`);
      return true;
    }
    const request: ApiRequest = {
      req,
      res,
      method,
      path,
      rest: found.rest,
      query: mark < 0 ? NO_QUERY : new URLSearchParams(url.slice(mark + 1)),
    };
    try {
      options.before?.(request);
      const done = handler(request);
      if (done) done.catch((error: unknown) => options.onError(error, request));
    } catch (error) {
      options.onError(error, request);
    }
    return true;
  };
}

/** 301 with the page that Go's mux writes for a reader. */
function redirect(req: IncomingMessage, res: ServerResponse, location: string): void {
  const isRead = req.method === "GET" || req.method === "HEAD";
  const shown = location
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&#34;");
  const body = isRead ? `<a href="${shown}">Moved Permanently</a>.\n\n` : "";
  res
    .writeHead(301, {
      Location: location,
      ...(isRead && { "Content-Type": "text/html; charset=utf-8" }),
      "Content-Length": Buffer.byteLength(body),
      "X-Content-Type-Options": "nosniff",
    })
    .end(body);
}

/** Tells whether some row of the table has the path of a URL. */
export function rowMatcher(table: ApiTable): (url: string) => boolean {
  const rows = new Map(Object.entries(table));
  return (url) => {
    const path = decodePath(url.split("?")[0] as string);
    return path !== undefined && findRow(rows, path) !== undefined;
  };
}

function findRow(
  rows: Map<string, ApiTable[string]>,
  path: string,
): { row: ApiTable[string]; rest: string } | undefined {
  const exact = rows.get(path);
  if (exact) return { row: exact, rest: "" };
  for (let i = path.lastIndexOf("/"); i > 2; i = path.lastIndexOf("/", i - 1)) {
    const row = rows.get(path.slice(0, i + 1));
    if (row) return { row, rest: path.slice(i + 1) };
  }
  return undefined;
}

function decodePath(raw: string): string | undefined {
  try {
    return decodeURIComponent(raw);
  } catch {
    return undefined;
  }
}

const isUnclean = (path: string): boolean =>
  path.includes("//") || path.includes("/./") || path.includes("/../") || path.endsWith("/..") || path.endsWith("/.");

function clean(path: string): string {
  const out: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") out.pop();
    else out.push(part);
  }
  return `/${out.join("/")}${path.endsWith("/") ? "/" : ""}`;
}

/** Answers JSON, indented where the request asks for `pretty`. */
export function reply(
  { res, query }: Pick<ApiRequest, "res" | "query">,
  value: unknown,
  headers: Record<string, string | number> = {},
): void {
  const text = encodeText(value, query.has("pretty"));
  const isHeld = canHold(res);
  res.writeHead(200, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(text),
    Vary: "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    ...headers,
  });
  // Text goes out in one write with its head, bytes in one of their own.
  if (isHeld) holdAnswer(res, 200, headOf(res), `${headOf(res)}${text}`);
  else res.end(text);
}

/** JSON bytes as Consul writes them: `pretty` means four spaces and a last line feed. */
export function encodeJson(value: unknown, pretty: boolean): Buffer {
  return Buffer.from(encodeText(value, pretty));
}

const encodeText = (value: unknown, pretty: boolean): string =>
  pretty ? `${JSON.stringify(value, undefined, 4)}\n` : JSON.stringify(value);

/** Answers 200 with no body, as Consul does for agent writes. */
export function replyEmpty({ res }: Pick<ApiRequest, "res">): void {
  const isHeld = canHold(res);
  res.writeHead(200, { "Content-Length": 0, Vary: "Accept-Encoding" });
  if (isHeld) holdAnswer(res, 200, headOf(res), headOf(res));
  else res.end();
}

/** A status and text that Consul answers for a request it does not accept. */
export function refusal(status: number, text: string, cause?: unknown): HeddleError {
  return new HeddleError(status === 404 ? "not_found" : status < 500 ? "invalid_argument" : "internal", text, {
    status,
    cause,
  });
}

/** Headers of a read that a server refused: what clients read before they look at the status. */
export function refusalHeaders({ method, res }: Pick<ApiRequest, "method" | "res">): void {
  if (method !== "GET") return;
  res.setHeader("X-Consul-Index", 1);
  res.setHeader("X-Consul-KnownLeader", "true");
  res.setHeader("X-Consul-LastContact", 0);
}
