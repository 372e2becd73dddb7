/** Client of the public HTTP API: what the proxies, the CLI and the tests use, against Heddle's agent or Consul's. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { type Logger, silentLog, UnavailableError } from "@heddle/daemon";
import { ApiError } from "./errors.ts";
import { createTransport, type Exchange, readAll, type TlsSource } from "./transport.ts";
import { watch, type WatchOptions } from "./watch.ts";

const DEFAULT_TIMEOUT_MS = 10_000; // an ordinary answer takes milliseconds; blocking ones set their own
const DEFAULT_MAX_BODY_BYTES = 64 * 1024 * 1024; // a catalog of 100,000 services fits
const ERROR_BODY_BYTES = 64 * 1024;

export interface ApiClientOptions {
  /** "host:port", a URL, or "unix:///path". */
  address: string;
  /** Sent as X-Consul-Token; a function is asked for each request, so that a token file may change. */
  token?: string | (() => string | undefined) | undefined;
  tls?: TlsSource | undefined;
  /** "user:password" of CONSUL_HTTP_AUTH. */
  basicAuth?: string | undefined;
  /** Query parameters of every request: dc, stale, ns. */
  query?: Query | undefined;
  /** Largest answer that is read. Default 64 MiB. */
  maxBodyBytes?: number | undefined;
  log?: Logger | undefined;
}

export type Query = Record<string, string | number | boolean | readonly string[] | undefined>;

export interface RequestOptions {
  /** `true` gives a bare key (`?recurse`), `false` and undefined nothing, a list one pair each. */
  query?: Query;
  headers?: Record<string, string>;
  /** Text, bytes and streams go as they are, anything else as JSON. */
  body?: unknown;
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
  /** Statuses besides 2xx that are answers, not errors: `[404]`. */
  allow?: readonly number[];
}

export interface ApiResponse<T = unknown> {
  status: number;
  headers: IncomingHttpHeaders;
  /** X-Consul-Index; 0 where the answer has none. */
  index: number;
  /** Parsed where the answer is JSON; its text otherwise. */
  body: T;
  raw: Buffer;
}

export interface ApiClient {
  /** For messages: "http://127.0.0.1:8500". */
  readonly address: string;
  get<T = unknown>(path: string, options?: RequestOptions): Promise<ApiResponse<T>>;
  put<T = unknown>(path: string, options?: RequestOptions): Promise<ApiResponse<T>>;
  post<T = unknown>(path: string, options?: RequestOptions): Promise<ApiResponse<T>>;
  delete<T = unknown>(path: string, options?: RequestOptions): Promise<ApiResponse<T>>;
  /** The answer as it comes, for snapshots and `monitor`; the caller reads or destroys it. */
  stream(method: string, path: string, options?: RequestOptions): Promise<IncomingMessage>;
  /** Yields the first answer and each changed one until `signal` aborts; failures are retried and told to `onError`. */
  watch<T = unknown>(path: string, options: WatchOptions): AsyncGenerator<ApiResponse<T>, void, void>;
  close(): void;
}

export function createApiClient(options: ApiClientOptions): ApiClient {
  const transport = createTransport(options.address, options.tls);
  const log = options.log ?? silentLog;
  const limit = options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES;

  const stream = async (method: string, path: string, request: RequestOptions = {}): Promise<IncomingMessage> => {
    const { headers, body } = encode(request);
    const token = typeof options.token === "function" ? options.token() : options.token;
    if (token) headers["X-Consul-Token"] ??= token;
    if (options.basicAuth) headers.Authorization ??= `Basic ${Buffer.from(options.basicAuth).toString("base64")}`;
    const res = await transport.open({
      method,
      path: withQuery(path, { ...options.query, ...request.query }),
      headers,
      body,
      timeoutMs: request.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      signal: request.signal,
    });
    const status = res.statusCode ?? 0;
    log.debug("request answered", { method, path, status });
    if ((status >= 200 && status < 300) || request.allow?.includes(status)) return res;
    const text = (await readAll(res, ERROR_BODY_BYTES, transport.address)).toString("utf8");
    throw new ApiError(method, path, status, text);
  };

  const call = async <T>(method: string, path: string, request?: RequestOptions): Promise<ApiResponse<T>> => {
    const res = await stream(method, path, request);
    const raw = await readAll(res, limit, transport.address);
    return {
      status: res.statusCode ?? 0,
      headers: res.headers,
      index: Number(res.headers["x-consul-index"] ?? 0) || 0,
      body: decode(raw, res.headers["content-type"], `${method} ${path}`) as T,
      raw,
    };
  };

  const client: ApiClient = {
    get address() {
      return transport.address;
    },
    get: (path, request) => call("GET", path, request),
    put: (path, request) => call("PUT", path, request),
    post: (path, request) => call("POST", path, request),
    delete: (path, request) => call("DELETE", path, request),
    stream,
    watch: (path, watchOptions) => watch(client, path, watchOptions),
    close: () => transport.close(),
  };
  return client;
}

function encode(request: RequestOptions): { headers: Record<string, string>; body: Exchange["body"] } {
  const { body } = request;
  const headers: Record<string, string> = { Accept: "application/json", ...request.headers };
  if (body === undefined || typeof body === "string" || Buffer.isBuffer(body) || body instanceof Readable)
    return { headers, body };
  headers["Content-Type"] ??= "application/json";
  return { headers, body: JSON.stringify(body) };
}

function withQuery(path: string, query: Query): string {
  const pairs: string[] = [];
  for (const [key, value] of Object.entries(query)) {
    if (value === undefined || value === false) continue;
    if (value === true) pairs.push(encodeURIComponent(key));
    else
      for (const each of Array.isArray(value) ? value : [value])
        pairs.push(`${encodeURIComponent(key)}=${encodeURIComponent(String(each))}`);
  }
  if (pairs.length === 0) return path;
  return `${path}${path.includes("?") ? "&" : "?"}${pairs.join("&")}`;
}

function decode(raw: Buffer, contentType: string | undefined, what: string): unknown {
  const text = raw.toString("utf8");
  if (!contentType?.startsWith("application/json")) return text;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UnavailableError(`${what}: the agent's answer is not valid JSON`, { cause });
  }
}
