/**
 * On a node without servers: requests that the agent does not answer itself go on to a server, over kept connections. A
 * read whose server is away is asked of the next one.
 */
import {
  Agent as PlainAgent,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request as httpRequest,
  type RequestOptions,
  type ServerResponse,
} from "node:http";
import { request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { createTlsAgent, type ServerList, tlsOptions, type TlsSource, toTarget } from "@heddle/api-client";
import { describeError, type Logger, sendText } from "@heddle/daemon";

const FORWARD_TIMEOUT_MS = 11 * 60_000; // past the longest blocking query
const HOP_HEADERS = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "te",
  "trailer",
]);

export interface ForwardOptions {
  servers: ServerList;
  tls?: TlsSource | undefined;
  /** The node whose agent forwards: what a request says of "this node" is its. */
  nodeName: string;
  log: Logger;
}

export interface Forwarder {
  handle(req: IncomingMessage, res: ServerResponse): void;
  /** Passes a WebSocket on. */
  upgrade(req: IncomingMessage, socket: Socket, head: Buffer): void;
  close(): void;
}

export function createForwarder({ servers, tls, nodeName, log }: ForwardOptions): Forwarder {
  const agents = { http: new PlainAgent({ keepAlive: true }), https: createTlsAgent(tls, { keepAlive: true }) };
  const optionsFor = (target: string, req: IncomingMessage) => {
    const { url: text, options: place } = toTarget(target);
    const url = new URL(text);
    const isTls = url.protocol === "https:";
    const kept = Object.entries(req.headers).filter(
      ([name]) => !HOP_HEADERS.has(name) && name !== "host" && name !== "origin",
    );
    const headers: OutgoingHttpHeaders = {
      "x-forwarded-for": req.socket.remoteAddress,
      ...Object.fromEntries(kept),
      "x-heddle-node": nodeName,
    };
    const options: RequestOptions = {
      ...place,
      host: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port,
      method: req.method,
      path: req.url,
      headers,
      agent: isTls ? agents.https : agents.http,
      timeout: FORWARD_TIMEOUT_MS,
    };
    return { options, headers, isTls };
  };
  const attempt = (list: string[], req: IncomingMessage, res: ServerResponse) => {
    const [target, ...others] = list;
    if (target === undefined) return sendText(res, 500, "No known Consul servers");
    const { options, isTls } = optionsFor(target, req);
    const upstream = (isTls ? httpsRequest : httpRequest)(options, (answer) => {
      const headers = Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !HOP_HEADERS.has(name)));
      if (answer.headers["x-consul-knownleader"] === "false") servers.isLimping(target);
      res.writeHead(answer.statusCode ?? 502, headers);
      answer.on("error", () => res.destroy());
      answer.pipe(res);
    });
    upstream.on("error", (error) => {
      if (!res.destroyed) servers.failed(target);
      if (res.headersSent || res.destroyed) return void res.destroy();
      if (req.method === "GET" && servers.isRenewing) return attempt(list, req, res);
      const canRetry = req.method === "GET" && others.length > 0;
      log.warn(canRetry ? "a server does not answer, asking the next" : "no server answers", {
        server: target,
        path: req.url?.split("?")[0],
        error: describeError(error),
      });
      if (canRetry) attempt(others, req, res);
      else sendText(res, 500, `rpc error: cannot reach a server at ${target}: ${describeError(error)}`);
    });
    upstream.on("timeout", () => upstream.destroy(new Error("timed out")));
    res.once("close", () => {
      if (!res.writableFinished) upstream.destroy();
    });
    req.pipe(upstream);
  };
  // What waits for an answer of the server that was left is asked of the next one.
  const off = servers.onMove(() => {
    agents.http.destroy();
    agents.https.destroy();
  });
  return {
    handle: (req, res) => attempt(servers.inOrder(), req, res),
    upgrade(req, socket, head) {
      const target = servers.current;
      const { options, headers, isTls } = optionsFor(target, req);
      const upstream = (isTls ? httpsRequest : httpRequest)({
        ...options,
        agent: false,
        ...(isTls && tlsOptions(tls)),
        headers: { ...headers, Connection: "Upgrade", Upgrade: "websocket" },
      });
      upstream.on("upgrade", (answer, peer, peerHead) => {
        const lines = [
          `HTTP/1.1 101 Switching Protocols`,
          ...Object.entries(answer.headers).map(([k, v]) => `${k}: ${String(v)}`),
        ];
        socket.write(`${lines.join("\r\n")}\r\n\r\n`);
        if (peerHead.length > 0) socket.write(peerHead);
        if (head.length > 0) peer.write(head);
        peer.on("error", () => socket.destroy());
        socket.on("error", () => peer.destroy());
        peer.pipe(socket).pipe(peer);
      });
      upstream.on("response", (answer) =>
        socket.end(`HTTP/1.1 ${answer.statusCode ?? 502} ${answer.statusMessage ?? ""}\r\nConnection: close\r\n\r\n`),
      );
      upstream.on("error", (error) => {
        log.warn("cannot pass a stream on", { server: target, error: describeError(error) });
        socket.destroy();
      });
      upstream.end();
    },
    close() {
      off();
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}
