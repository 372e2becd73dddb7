/** `startConnect`: this program as a service of the mesh, with the identity checks, rules and tunnels of the proxy. */
import { readdirSync, readFileSync } from "node:fs";
import type { Agent, RequestListener } from "node:http";
import type { Socket } from "node:net";
import { type ApiClientOptions, apiOptions, createApiClient, toApiClientOptions } from "@heddle/api-client";
import {
  ConfigError,
  createRegistry,
  type Health,
  InvalidArgumentError,
  loadOptions,
  type Logger,
  silentLog,
} from "@heddle/daemon";
import { DEFAULT_CONNECT_TIMEOUT_MS, startDataPlane, type WantedListener } from "@heddle/data-plane";
import { parseSpiffeId } from "@heddle/spiffe";
import type { Registry } from "prom-client";
import { createFetch, type MeshFetch } from "./fetch.ts";
import { MeshAgent } from "./http-agent.ts";
import { MeshSocket } from "./mesh-socket.ts";
import {
  closing,
  createMeshServer,
  FarEnd,
  type MeshServer,
  type ServedService,
  type ServerOptions,
  type ServerTarget,
  toHttpServer,
} from "./server.ts";
import { parseTarget } from "./target.ts";
import { createUntil, createUpstreams } from "./upstreams.ts";

const DEFAULT_READY_TIMEOUT_MS = 10_000; // a first certificate takes milliseconds; an agent that starts takes a second
const DEFAULT_DRAIN_MS = 4_000; // below the 5 s after which an orchestrator's SIGKILL is common

export interface ConnectOptions {
  /** The service that this program is: its identity. */
  service: string;
  /** The agent; what is not given comes from HEDDLE_HTTP_ADDR or CONSUL_HTTP_ADDR and the like. */
  agent?: Partial<ApiClientOptions>;
  /** How long to wait for a certificate, and a server for its rules. Default 10 s. */
  readyTimeoutMs?: number;
  /** How long open connections may go on after `close`. Default 4 s. */
  drainMs?: number;
  /** Ends a start that still waits. */
  signal?: AbortSignal;
  /** Default: silent. `createLogHub({ level: "info" }).log` is one. */
  log?: Logger;
  /** Where the metric families of the proxy go; a registry of its own by default. */
  registry?: Registry;
}

export interface DialOptions {
  /** Until an instance has taken the connection, from the first to the last that is tried. Default 10 s. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** As in `net`: keeps our direction open after the other's end. Default false. */
  allowHalfOpen?: boolean;
}

export interface Connect extends AsyncDisposable {
  readonly service: string;
  /** Our identity: `spiffe://…/svc/<service>`. */
  readonly spiffeId: string;
  readonly registry: Registry;
  /** For `http.request` and clients that take an agent. */
  readonly httpAgent: Agent;
  /** Requests to `http://<service>.service.consul/…`, or `http://<service>/…`. */
  readonly fetch: MeshFetch;
  /**
   * Connects to an instance of a service: its name, or as in DNS (`socat.service.dc2.consul`, `find-db.query.consul`). Rejects with
   * RefusedError, whose `refusal` names the rule, or with TimeoutError where the agent gives nothing to go by.
   */
  dial(service: string, options?: DialOptions): Promise<MeshSocket>;
  /** A server for sockets: a function, or one of `net` or `http` that listens nowhere itself. */
  createServer(target: ServerTarget, options?: ServerOptions): MeshServer;
  /** The same for requests: a function, or an express application. Who calls is in `req.socket.peer`. */
  createHttpServer(app: RequestListener, options?: ServerOptions): MeshServer;
  health(): Record<string, Health>;
  /** Drains, then cuts what is left. */
  close(): Promise<void>;
}

/** Resolves when the certificate is there. */
export async function startConnect(options: ConnectOptions): Promise<Connect> {
  const { service, log = silentLog, registry = createRegistry("connect") } = options;
  const { readyTimeoutMs = DEFAULT_READY_TIMEOUT_MS, drainMs = DEFAULT_DRAIN_MS } = options;
  if (service === "")
    throw new InvalidArgumentError("service is empty: want the name of the service that this program is");
  await using stack = new AsyncDisposableStack();
  const client = createApiClient({ ...agentOptions(), ...options.agent, log: log.child("api") });
  stack.defer(() => client.close());

  let accept: ((raw: Socket) => void) | undefined;
  let served: ServedService | undefined;
  const plane = stack.use(
    startDataPlane({
      client,
      registry,
      log,
      origin: { spec: { service, namespace: "default", upstreams: [] } },
      listeners: { want: (listeners) => void (accept = publicOf(listeners)?.accept) },
      openService: async (_spec, caller) => {
        if (!served) throw new Error("no server is there");
        return served.open(caller);
      },
    }),
  );
  const until = createUntil(plane, client.address);
  const upstreams = stack.use(createUpstreams({ plane, until }));
  const { table, proxy, store, link } = plane;

  const dial = async (
    name: string,
    { timeoutMs = DEFAULT_CONNECT_TIMEOUT_MS, signal, allowHalfOpen = false }: DialOptions = {},
  ) => {
    const outbound = await upstreams.reach(parseTarget(name), timeoutMs, signal);
    const socket = new MeshSocket({ allowHalfOpen });
    const onAbort = () => socket.destroy();
    socket.on("error", ignore); // until somebody has it
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const connection = await outbound.open(new FarEnd(socket, ignore));
      const spiffeId = connection.destinationId ?? "";
      const id = parseSpiffeId(spiffeId);
      socket.named({ service: id.kind === "service" ? id.service : name, spiffeId, address: connection.peer });
      socket.off("error", ignore);
      return socket;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  };
  const httpAgent = new MeshAgent(dial);
  stack.defer(() => httpAgent.destroy());

  const createServer = (target: ServerTarget, serverOptions: ServerOptions = {}): MeshServer => {
    if (served) throw new InvalidArgumentError(`'${service}' has a server already: one identity listens once`);
    served = createMeshServer(target, serverOptions, {
      service,
      plane,
      client,
      log,
      until,
      readyTimeoutMs,
      drainMs,
      accept: () => accept,
    });
    return served.server;
  };

  await until(() => (proxy.missing().length === 0 ? true : undefined), {
    timeoutMs: readyTimeoutMs,
    signal: options.signal,
    what: "identity",
  });

  const owned = stack.move();
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await served?.server.close();
    proxy.leave();
    httpAgent.destroy();
    await table.drained(drainMs);
    for (const connection of table.all) connection.cut(closing(connection));
    await proxy.close();
    served?.reset();
    await owned.disposeAsync();
  };
  const closeOnce = () => (closed ??= close());
  return {
    service,
    get spiffeId() {
      return store.current.leaf?.uri ?? "";
    },
    registry,
    httpAgent,
    fetch: createFetch(httpAgent),
    dial,
    createServer,
    createHttpServer: (app, serverOptions) => createServer(toHttpServer(app), serverOptions),
    health() {
      const missing = proxy.missing();
      const problem = missing.length > 0 ? `waiting for ${missing.join(", ")}` : proxy.identityProblem();
      return {
        agent: {
          started: true,
          live: true,
          ready: true,
          details: link.isUp ? "answers" : "away, what is known is in use",
        },
        identity: { started: true, live: true, ready: !problem, ...(problem && { details: problem }) },
      };
    },
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  };
}

const publicOf = (listeners: WantedListener[]) => listeners.find(({ name }) => name === "public listener");

/** What the environment says of the agent, as every command reads it. */
function agentOptions(): ApiClientOptions {
  const readFile = (path: string) => readFileSync(path, "utf8");
  const sources = { argv: [], env: process.env, readFile, readDir: (path: string) => readdirSync(path) };
  const problems: string[] = [];
  const api = toApiClientOptions(loadOptions("connect", apiOptions, sources), sources, problems);
  if (problems.length > 0) throw new ConfigError(problems);
  return api;
}

function ignore(): void {}
