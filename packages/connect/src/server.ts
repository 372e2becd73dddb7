/** A server whose clients come through the mesh: mutual TLS and the rules in front, sockets of `net` or requests of `http` behind. */
import { once } from "node:events";
import { createServer as createHttp, type RequestListener, Server as HttpServer } from "node:http";
import { type AddressInfo, createServer as createNet, type Server as NetServer, type Socket } from "node:net";
import { explainListenError, InvalidArgumentError, type Logger, TaskGroup } from "@heddle/daemon";
import type { ApiClient } from "@heddle/api-client";
import {
  ACCEPT_OPTIONS,
  type Connection,
  type DataPlane,
  DEFAULT_BIND_ADDRESS,
  DEFAULT_HANDSHAKE_TIMEOUT_MS,
  DEFAULT_LOCAL_CONNECT_TIMEOUT_MS,
  DEFAULT_MAX_CONNECTIONS,
  DEFAULT_MAX_HANDSHAKES_PER_SOURCE,
  type HostPort,
  keepRegistered,
  ONE_CHUNK,
  type Parties,
  type PlainSocket,
} from "@heddle/data-plane";
import { MeshSocket } from "./mesh-socket.ts";
import { PairedSocket } from "./socket-pair.ts";
import type { Until } from "./upstreams.ts";

export interface ServerOptions {
  /**
   * Registers the service with the agent as native to the mesh, with a heartbeat, until the server closes. Off by default: then
   * a definition file or another tool does it. An object adds to the registration: `ID`, `Address`, `Tags`, `Meta`, ….
   */
  register?: boolean | Record<string, unknown>;
  /** Keeps our direction open after the caller's has ended, as in `net`. Default false; servers that are given decide themselves. */
  allowHalfOpen?: boolean;
  /** Connections at once; more are refused. Default 16,384. */
  maxConnections?: number;
}

export interface MeshServer extends AsyncDisposable {
  /** Waits for certificate and rules, then accepts. Port 0, the default, is any free one. */
  listen(port?: number, host?: string): Promise<HostPort>;
  /** Where it listens; undefined where it does not. */
  readonly address: HostPort | undefined;
  /** Deregisters, accepts no more, and gives what is open a while to end. */
  close(): Promise<void>;
}

export type ServerTarget = ((socket: MeshSocket) => void) | NetServer | HttpServer;

export interface ServerDeps {
  service: string;
  plane: DataPlane;
  client: ApiClient;
  log: Logger;
  until: Until;
  readyTimeoutMs: number;
  drainMs: number;
  /** What the data plane hands accepted sockets to, once it may. */
  accept: () => ((raw: Socket) => void) | undefined;
}

/** A server, and how the data plane reaches it. */
export interface ServedService {
  server: MeshServer;
  open: (caller: Parties) => PlainSocket;
  /** Ends what callers hold open, those included that have not said a word. */
  reset: () => void;
}

export function toHttpServer(app: RequestListener): HttpServer {
  return createHttp(app);
}

export function createMeshServer(target: ServerTarget, options: ServerOptions, deps: ServerDeps): ServedService {
  const { service, plane, client, log, until, drainMs } = deps;
  const { register = false, maxConnections = DEFAULT_MAX_CONNECTIONS } = options;
  const isHttp = target instanceof HttpServer;
  const allowHalfOpen = options.allowHalfOpen ?? isHttp;
  const listener = createNet(ACCEPT_OPTIONS, (raw) => {
    raws.add(raw);
    raw.once("close", () => raws.delete(raw));
    deps.accept()?.(raw);
  });
  const raws = new Set<Socket>();
  const tasks = new TaskGroup();
  let address: HostPort | undefined;
  let closed: Promise<void> | undefined;

  const open = (caller: Parties): PlainSocket => {
    const socket = new MeshSocket({ allowHalfOpen });
    socket.named({ service: caller.source, spiffeId: caller.sourceId ?? "", address: caller.peer });
    // The handler gets it when it is decided that it may have it.
    return new FarEnd(socket, () => {
      if (typeof target === "function") target(socket);
      else target.emit("connection", socket);
    });
  };

  const listen = async (port = 0, host = DEFAULT_BIND_ADDRESS): Promise<HostPort> => {
    if (address || closed)
      throw new InvalidArgumentError(closed ? "the server is closed" : "the server listens already");
    const { spec } = plane.store.current;
    if (!spec) throw new InvalidArgumentError("the connection to the mesh is closed");
    plane.store.set("spec", {
      ...spec,
      public: {
        bind: { host, port },
        local: { host, port }, // this process itself
        localConnectTimeoutMs: DEFAULT_LOCAL_CONNECT_TIMEOUT_MS,
        handshakeTimeoutMs: DEFAULT_HANDSHAKE_TIMEOUT_MS,
        maxConnections,
        maxHandshakesPerSource: DEFAULT_MAX_HANDSHAKES_PER_SOURCE,
      },
    });
    await until(deps.accept, { timeoutMs: deps.readyTimeoutMs, what: "rules" });
    listener.listen({ host, port, backlog: BACKLOG });
    await once(listener, "listening").catch(async (error: unknown) => {
      throw await explainListenError(error, host, port);
    });
    const bound = listener.address() as AddressInfo;
    address = { host: bound.address, port: bound.port };
    // Node's HTTP server begins to watch over its connections (timeouts, idle ones at the end) when it is told so.
    if (isHttp) target.emit("listening");
    log.info("Starting listener", { listener: "public listener", bind_addr: `${address.host}:${address.port}` });
    if (register !== false) keepInAgent({ host, port: address.port });
    return address;
  };

  const keepInAgent = (bind: HostPort): void => {
    const definition = {
      ID: service,
      Name: service,
      Address: bind.host === DEFAULT_BIND_ADDRESS || bind.host === "::" ? "" : bind.host,
      Port: bind.port,
      Connect: { Native: true },
      ...(typeof register === "object" && register),
    };
    const check = { Name: "heartbeat", Notes: "The program beats while it accepts connections." };
    const isReady = () => listener.listening && plane.proxy.identityProblem() === undefined;
    tasks.run((signal) => keepRegistered({ service: definition, check, client, isReady, log }, signal));
  };

  const close = async (): Promise<void> => {
    await tasks.close(); // others must stop choosing us before we stop answering
    address = undefined;
    if (listener.listening) listener.close();
    plane.proxy.leave("inbound");
    if (isHttp) target.closeIdleConnections();
    await plane.table.drained(drainMs, "inbound");
    for (const connection of plane.table.all)
      if (connection.direction === "inbound") connection.cut(closing(connection));
  };
  const closeOnce = () => (closed ??= close());
  return {
    open,
    reset: () => raws.forEach((raw) => raw.destroy()),
    server: {
      listen,
      get address() {
        return address;
      },
      close: closeOnce,
      [Symbol.asyncDispose]: closeOnce,
    },
  };
}

export function closing({ source, destination }: Parties) {
  return { code: "closing" as const, source, destination, reason: "the program is shutting down" };
}

const BACKLOG = 4_096;

/** The data plane's end of a connection, which tells the application's what it has become. */
export class FarEnd extends PairedSocket {
  readonly #socket: MeshSocket;
  readonly #onCarried: () => void;
  constructor(socket: MeshSocket, onCarried: () => void) {
    super({ highWaterMark: ONE_CHUNK }); // as the data plane has its own sockets: each write that waits is told of when it is taken
    this.#socket = socket;
    this.#onCarried = onCarried;
    PairedSocket.join(this, socket);
  }

  attach(connection: Connection): void {
    this.#socket.attach(connection);
    this.#onCarried();
  }
}
