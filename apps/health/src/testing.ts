/** Small real things for tests: a probe's context, an agent on the WebSocket, servers on free ports. */
import { systemClock } from "@heddle/daemon";
import { createServer, type RequestListener, type Server as HttpServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from "node:net";
import { WebSocket } from "ws";
import type { Check, ErrorMessage, ResultMessage } from "./check.ts";
import { createPipeSupply } from "./pipes.ts";
import type { ProbeContext } from "./probes/probe.ts";

const pipes = createPipeSupply();

export function testContext(overrides: Partial<ProbeContext> = {}): ProbeContext {
  return {
    clock: systemClock,
    signal: new AbortController().signal,
    outputMaxBytes: 4_096,
    scriptEnv: { PATH: process.env.PATH ?? "/usr/bin:/bin" },
    scriptUsers: () => Promise.resolve(undefined),
    pipes,
    allowLinkLocal: false,
    redirectsElsewhere: false,
    dockerHost: "unix:///nonexistent/docker.sock",
    roots: () => undefined,
    ...overrides,
  };
}

export interface TestServer extends AsyncDisposable {
  port: number;
  /** "127.0.0.1:port" */
  address: string;
  close(): Promise<void>;
}

/** Listens on a loopback port; closing destroys its connections. */
export async function listen(server: Server | HttpServer, port = 0): Promise<TestServer> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  const bound = (server.address() as AddressInfo).port;
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  return { port: bound, address: `127.0.0.1:${bound}`, close, [Symbol.asyncDispose]: close };
}

export const httpServer = (handler: RequestListener, port?: number): Promise<TestServer> =>
  listen(createServer(handler), port);

/** A server that does `onConnection` with every connection; nothing by default. */
export const tcpServer = (onConnection: (socket: Socket) => void = () => {}, port?: number): Promise<TestServer> =>
  listen(createTcpServer(onConnection), port);

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = await tcpServer();
  await server.close();
  return server.port;
}

export interface TestAgent extends AsyncDisposable {
  readonly results: ResultMessage[];
  readonly errors: ErrorMessage[];
  sync(checks: Check[]): void;
  send(data: string | Buffer): void;
  /** Resolves with the first result of the check that satisfies `accept`, past ones included from index `from` on. */
  result(checkId: string, accept?: (result: ResultMessage) => boolean, from?: number): Promise<ResultMessage>;
  /** Resolves when the connection is closed. */
  closed: Promise<{ code: number; reason: string }>;
  close(): void;
}

/** Connects as an agent does. Rejects with the status where the upgrade is refused. */
export async function connectAgent(url: string, options: Record<string, unknown> = {}): Promise<TestAgent> {
  const client = new WebSocket(`${url.replace(/^http/, "ws")}/internal/v1/checks`, options);
  const results: ResultMessage[] = [];
  const errors: ErrorMessage[] = [];
  const waiters = new Set<() => void>();
  client.on("message", (data: Buffer) => {
    const message = JSON.parse(data.toString("utf8")) as ResultMessage | ErrorMessage;
    if (message.type === "result") results.push(message);
    else errors.push(message);
    for (const wake of waiters) wake();
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) =>
    client.once("close", (code, reason) => resolve({ code, reason: reason.toString("utf8") })),
  );
  await new Promise<void>((resolve, reject) => {
    client.once("open", resolve);
    client.once("unexpected-response", (_req, res) => {
      let text = "";
      res.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
      res.once("end", () => reject(new Error(`${res.statusCode} ${text}`)));
    });
    client.on("error", reject);
  });
  return {
    results,
    errors,
    closed,
    sync: (checks) => client.send(JSON.stringify({ type: "sync", checks })),
    send: (data) => client.send(data),
    result: (checkId, accept = () => true, from = 0) =>
      new Promise((resolve) => {
        const look = () => {
          const found = results.slice(from).find((r) => r.checkId === checkId && accept(r));
          if (found === undefined) return;
          waiters.delete(look);
          resolve(found);
        };
        waiters.add(look);
        look();
      }),
    close: () => client.close(),
    [Symbol.asyncDispose]: async () => {
      client.terminate();
      await closed;
    },
  };
}
