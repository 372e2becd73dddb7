/** The public API's listeners: HTTP and HTTPS, on each address, with the way on to the servers where this node has none. */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { createSecureContext, Server as TlsServer, type TlsOptions } from "node:tls";
import { internalTls, serverList } from "@heddle/api-client";
import {
  type HttpServer,
  InvalidArgumentError,
  isLoopback,
  type LiveIdentity,
  type Logger,
  RequestLimit,
  startHttpServer,
} from "@heddle/daemon";
import type { Registry } from "prom-client";
import type { AgentConfig } from "./config/index.ts";
import { createForwarder } from "./forward.ts";

export interface Forwarding {
  handle(req: IncomingMessage, res: ServerResponse): void;
  /** True where it takes the connection over. */
  upgrade(req: IncomingMessage, socket: Socket, head: Buffer): boolean;
  close(): void;
}

export interface ForwardingOptions {
  servers: { catalog: string; ca: string };
  identity: LiveIdentity | undefined;
  nodeName: string;
  log: Logger;
}

/** What is asked about the CA goes to the CA, all else to the catalog. */
export function forwardToServers({ servers, identity, nodeName, log }: ForwardingOptions): Forwarding {
  const to = (role: "catalog" | "ca") =>
    createForwarder({
      servers: serverList(servers[role]),
      tls: internalTls(identity, [role, "server"]),
      nodeName,
      log,
    });
  const [catalog, ca] = [to("catalog"), to("ca")];
  return {
    handle: (req, res) => (req.url?.startsWith("/v1/connect/ca/") ? ca : catalog).handle(req, res),
    upgrade(req, socket, head) {
      if (!req.url?.startsWith("/v1/stream")) return false;
      catalog.upgrade(req, socket, head);
      return true;
    },
    close() {
      catalog.close();
      ca.close();
    },
  };
}

export interface ListenerOptions {
  api: RequestListener;
  /** True where it takes the WebSocket over. */
  upgrade: (req: IncomingMessage, socket: Socket, head: Buffer) => boolean;
  /** Asked for each connection and request: a reload may change them. */
  limits: () => AgentConfig["limits"];
  registry: Registry;
  log: Logger;
}

/** Binds what the configuration says. Throws UnavailableError for a port that it cannot have, InvalidArgumentError for bad files. */
export async function startListeners(
  config: AgentConfig,
  stack: AsyncDisposableStack,
  { api, upgrade, limits, registry, log }: ListenerOptions,
): Promise<HttpServer[]> {
  // One count for all listeners, so that a client has no more through a second one.
  const requestLimit = new RequestLimit(() => limits().httpMaxRequestsPerClient, {
    setting: "limits.http_max_requests_per_client",
    registry,
    log: log.child("http"),
  });
  const listen = async (host: string, port: number, tls?: TlsOptions): Promise<HttpServer> => {
    const server = await startHttpServer({
      host,
      port,
      handler: api,
      log: log.child("http"),
      tls,
      maxHeaderBytes: config.http.maxHeaderBytes,
      maxConnectionsPerClient: () => limits().httpMaxConnsPerClient,
      requestLimit,
      upgrade: (req, socket, head) => {
        if (!upgrade(req, socket, head)) socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
      },
    });
    stack.defer(() => server.close());
    log.info(`Started ${tls ? "HTTPS" : "HTTP"} server`, { address: server.url, network: "tcp" });
    return server;
  };
  const { addresses, ports } = config;
  const listeners: HttpServer[] = [];
  if (ports.http >= 0) for (const host of addresses.http) listeners.push(await listen(host, ports.http));
  if (ports.https >= 0) {
    const tls = httpsOptions(config.tls.https, config.limits.httpsHandshakeTimeoutMs);
    for (const host of addresses.https) listeners.push(await listen(host, ports.https, tls));
  }
  return listeners;
}

/**
 * Reads the files of the HTTPS listener as the new configuration names them; `apply` has new connections use them. Throws InvalidArgumentError
 * for what cannot be read.
 */
export function reloadTls(listeners: readonly HttpServer[], config: AgentConfig): { apply(): void } {
  const https = listeners.map(({ server }) => server).filter((server) => server instanceof TlsServer);
  const options = https.length > 0 ? httpsOptions(config.tls.https, config.limits.httpsHandshakeTimeoutMs) : {};
  if (https.length > 0) createSecureContext(options); // a key that does not fit its certificate is refused before anything changes
  return { apply: () => https.forEach((server) => server.setSecureContext(options)) };
}

/** Certificate and key of the HTTPS listener; with `verify_incoming`, only clients of our CA get in. Throws InvalidArgumentError. */
function httpsOptions(
  { caFile, certFile, keyFile, minVersion, verifyIncoming }: AgentConfig["tls"]["https"],
  handshakeTimeoutMs: number,
): TlsOptions {
  const read = (path: string, key: string) => {
    if (path === "") throw new InvalidArgumentError(`ports.https needs ${key}`);
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      throw new InvalidArgumentError(`cannot read ${path} (${key})`, { cause });
    }
  };
  return {
    cert: read(certFile, "cert_file"),
    key: read(keyFile, "key_file"),
    minVersion,
    handshakeTimeout: handshakeTimeoutMs,
    ...(verifyIncoming && { ca: read(caFile, "ca_file"), requestCert: true, rejectUnauthorized: true }),
  };
}

/** Throws InvalidArgumentError where the way to a server leaves this machine in plain text. */
export function refusePlainTextOffLoopback(urls: string): void {
  urls.split(",").forEach(refusePlainText);
}

function refusePlainText(url: string): void {
  const { protocol, hostname } = new URL(url);
  if (protocol === "https:" || isLoopback(hostname.replace(/^\[|\]$/g, ""))) return;
  throw new InvalidArgumentError(
    `refusing to reach the servers in plain text at ${url}: join with -join and a line of 'heddle token join', or give ca_file, cert_file and key_file (made by 'heddle tls ca create' and 'heddle tls cert create')`,
  );
}
