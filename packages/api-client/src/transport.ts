/**
 * One HTTP exchange with the agent over node:http(s) and kept-alive connections. (Not `fetch`: loading undici costs a
 * short-lived command more than its whole request.) Answers are bounded; a late answer is an error.
 */
import { Agent, type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { Agent as TlsAgent, type AgentOptions, request as httpsRequest } from "node:https";
import type { ConnectionOptions } from "node:tls";
import { Readable } from "node:stream";
import { HeddleError, InvalidArgumentError, type LiveIdentity, TooLargeError } from "@heddle/daemon";
import { internalClientOptions } from "@heddle/tls";
import { explainTransportError, requestTimeout, UnreachableError } from "./errors.ts";
import { toTarget } from "./server-names.ts";
import { isServerList, type ServerList, serverList } from "./servers.ts";

const KEEP_ALIVE_PROBE_MS = 15_000; // a vanished agent host is noticed while a blocking query waits
const MAX_IDLE_CONNECTIONS = 4;

export interface TlsSettings {
  ca?: string[];
  cert?: string;
  key?: string;
  serverName?: string;
  /** False only where CONSUL_HTTP_SSL_VERIFY says so. */
  verify?: boolean;
  /** On the internal API: the roles that the server's certificate may hold. */
  serverRoles?: readonly string[];
}

/** TLS settings, or what says them anew for each connection: certificates change while a client lives. */
export type TlsSource = TlsSettings | (() => TlsSettings);

export interface Exchange {
  method: string;
  path: string;
  headers: Record<string, string>;
  /** A stream goes out as it is read, once. */
  body?: string | Buffer | Readable | undefined;
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  /** Asked before the same server is asked once more. */
  goesOn?: () => boolean;
}

export interface Transport {
  /** "http://127.0.0.1:8500", for messages. */
  readonly address: string;
  /** Resolves with the answer's head; the caller reads the body. */
  open(exchange: Exchange): Promise<IncomingMessage>;
  /** Ends every connection, with the requests on it; later ones make new connections. */
  drop(): void;
  close(): void;
}

/** Parses what CONSUL_HTTP_ADDR holds: "host:port", an http:// or https:// URL, or "unix:///path". */
export function parseAddress(text: string, preferTls = false): { url: URL; socketPath?: string } {
  const [, scheme, rest] = /^(?:([a-z]+):\/\/)?(?!.*:\/\/)(.+)$/i.exec(text.trim()) ?? [];
  if (scheme === "unix" && rest) return { url: new URL("http://localhost"), socketPath: rest };
  if (!rest || (scheme !== undefined && scheme !== "http" && scheme !== "https")) throw badAddress(text);
  try {
    const url = new URL(`${preferTls ? "https" : (scheme ?? "http")}://${rest}`);
    if (url.username || url.search || url.hash) throw badAddress(text);
    return { url };
  } catch (cause) {
    throw cause instanceof InvalidArgumentError ? cause : badAddress(text, cause);
  }
}

function badAddress(text: string, cause?: unknown): InvalidArgumentError {
  const want = "want host:port, http://host:port, https://host:port or unix:///path";
  return new InvalidArgumentError(`invalid agent address '${text}': ${want}`, { cause });
}

/** Of one server, or of several: "http://a:8300,http://b:8300". Then another one is asked where one does not answer. */
export function createTransport(addressText: string, tls?: TlsSource): Transport {
  return isServerList(addressText) ? spreadTransport(serverList(addressText), tls) : singleTransport(addressText, tls);
}

function spreadTransport(servers: ServerList, tls: TlsSource | undefined): Transport {
  const each = new Map<string, Transport>();
  const at = (url: string): Transport => {
    let transport = each.get(url);
    if (!transport) each.set(url, (transport = singleTransport(url, tls)));
    return transport;
  };
  const off = servers.onMove((left) => at(left).drop());
  return {
    get address() {
      return at(servers.current).address;
    },
    async open(exchange) {
      for (let left = servers.all.length - 1; ; left--) {
        const url = servers.current;
        try {
          const res = await at(url).open({ ...exchange, goesOn: () => servers.current === url });
          if (res.headers["x-consul-knownleader"] === "false") servers.isLimping(url);
          return res;
        } catch (error) {
          if (exchange.signal?.aborted || !(error instanceof HeddleError)) throw error;
          servers.failed(url);
          const isRepeatable = exchange.method === "GET" || error instanceof UnreachableError;
          if (left <= 0 || !isRepeatable || exchange.body instanceof Readable) throw error;
        }
      }
    },
    drop: () => each.forEach((transport) => transport.drop()),
    close() {
      off();
      each.forEach((transport) => transport.close());
    },
  };
}

function singleTransport(addressText: string, tls?: TlsSource): Transport {
  const { url: urlText, at, options } = toTarget(addressText);
  const { url, socketPath } = parseAddress(urlText);
  const isTls = url.protocol === "https:";
  const keepAlive = { keepAlive: true, keepAliveMsecs: KEEP_ALIVE_PROBE_MS, maxFreeSockets: MAX_IDLE_CONNECTIONS };
  const agent = isTls ? createTlsAgent(tls, keepAlive) : new Agent(keepAlive);
  const address = socketPath ? `unix://${socketPath}` : `${url.origin}${at === undefined ? "" : ` (${at})`}`;
  const prefix = url.pathname.replace(/\/$/, "");
  const target = socketPath
    ? { socketPath }
    : { ...options, host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port) || (isTls ? 443 : 80) };

  const send = (exchange: Exchange): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const { method, headers, body, timeoutMs, signal } = exchange;
      if (signal?.aborted) return reject(signal.reason as Error);
      const req: ClientRequest = (isTls ? httpsRequest : httpRequest)({
        ...target,
        agent,
        method,
        path: prefix + exchange.path,
        headers:
          body === undefined || body instanceof Readable
            ? headers
            : { ...headers, "Content-Length": Buffer.byteLength(body) },
        setHost: true,
      });
      const timer = setTimeout(() => req.destroy(requestTimeout(address, timeoutMs)), timeoutMs);
      const onAbort = () => req.destroy(signal?.reason as Error);
      signal?.addEventListener("abort", onAbort, { once: true });
      req.once("close", () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      });
      req.once("response", resolve);
      // `on`, not `once`: a second error after the first has no other listener.
      req.on("error", (error) => {
        if (signal?.aborted) return reject(signal.reason as Error);
        reject(isStaleConnection(req, error) ? new StaleConnectionError() : explainTransportError(error, address));
      });
      if (!(body instanceof Readable)) return void req.end(body);
      body.once("error", (error) => req.destroy(error)).pipe(req);
      req.once("close", () => body.destroy());
    });

  return {
    address,
    async open(exchange) {
      // An agent that went away leaves every kept connection stale: the last attempt is on a new one.
      for (let attempt = 0; ; attempt++) {
        try {
          return await send(exchange);
        } catch (error) {
          if (!(error instanceof StaleConnectionError)) throw error;
          const goesOn = exchange.goesOn?.() ?? true;
          if (exchange.method === "GET" && goesOn && attempt <= MAX_IDLE_CONNECTIONS) continue;
          throw explainTransportError(Object.assign(new Error("connection reset"), { code: "ECONNRESET" }), address);
        }
      }
    },
    drop: () => agent.destroy(),
    close: () => agent.destroy(),
  };
}

/** Options of `tls.connect` for an agent or, where `serverRoles` are given, for a daemon of the internal API. */
export function tlsOptions(tls: TlsSource = {}): ConnectionOptions {
  const { ca, cert, key, serverName, verify, serverRoles } = typeof tls === "function" ? tls() : tls;
  if (serverRoles)
    return {
      ...internalClientOptions({ certPem: cert ?? "", keyPem: key ?? "", roots: ca ?? [], serverRoles }),
      ...(serverName && { servername: serverName }),
    };
  return {
    minVersion: "TLSv1.2",
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
    ...(serverName && { servername: serverName }),
    // Said each time: NODE_TLS_REJECT_UNAUTHORIZED must not decide.
    rejectUnauthorized: verify !== false,
  };
}

/** An agent of node:https whose connections each have the settings of their moment. */
export function createTlsAgent(tls: TlsSource | undefined, options: AgentOptions = {}): TlsAgent {
  return new LiveTlsAgent(tls, options);
}

class LiveTlsAgent extends TlsAgent {
  readonly #tls: TlsSource | undefined;

  constructor(tls: TlsSource | undefined, options: AgentOptions) {
    super({ ...options, maxCachedSessions: 0 });
    this.#tls = tls;
  }

  override createConnection(...[options, ...rest]: Parameters<TlsAgent["createConnection"]>) {
    return super.createConnection({ ...options, ...tlsOptions(this.#tls) }, ...rest);
  }
}

/** The client's end of the internal API: this daemon's certificate as it is at each connection, for servers of these roles. */
export function internalTls(
  identity: LiveIdentity | undefined,
  serverRoles: readonly string[],
): (() => TlsSettings) | undefined {
  return (
    identity &&
    (() => {
      const { certPem, keyPem, roots } = identity.current();
      return { ca: roots, cert: certPem, key: keyPem, serverRoles };
    })
  );
}

// The agent may close a kept connection in the moment it is used again; a read is simply asked once more.
class StaleConnectionError extends Error {}

function isStaleConnection(req: ClientRequest, error: NodeJS.ErrnoException): boolean {
  return req.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
}

/** Reads the whole body, counting what arrives. Throws TooLargeError past `limit` bytes. */
export async function readAll(res: IncomingMessage, limit: number, address: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of res as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > limit) {
        res.destroy();
        throw new TooLargeError(`the agent at ${address} answered with more than ${limit} bytes`);
      }
      chunks.push(chunk);
    }
  } catch (error) {
    throw explainTransportError(error, address);
  }
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, size);
}
