/**
 * The proxy's admin socket: what it does right now, for `heddle proxy`, and the word by which another process takes over. A
 * Unix socket of mode 0600; whoever may open it could as well look into the process.
 */
import { chmod } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { Socket } from "node:net";
import { describeError, type Logger } from "@heddle/daemon";
import type { Carrier } from "@heddle/data-plane";
import { type Offered, offerListeners } from "../hand-over/offer.ts";
import type { Crew } from "../threads/crew.ts";
import { claimSocket } from "./places.ts";
import type { StatusView } from "./status.ts";
import { type ConnectionView, type CarriedView, type InstanceView, mergeInstances } from "./views.ts";
import { viewCarried, viewConfig, viewConnections, viewInstances } from "./views.ts";

const DEFAULT_LIMIT = 1_000;
const MAX_LIMIT = 100_000;
const MAX_CONNECTIONS = 32;

export interface AdminDeps {
  dir: string;
  carrier: Carrier;
  crew: Crew;
  log: Logger;
  /** What does not depend on threads. */
  status: () => Omit<StatusView, "Carried" | "Threads">;
  /** What listens on ports in this thread. */
  offered: () => readonly Offered[];
  /** Another process has our listeners: accept nothing more, finish, end. Resolves when nothing more is accepted. */
  handOver: () => Promise<void>;
}

/** Opens it; undefined where it cannot be, which keeps no proxy from serving. */
export async function startAdmin(deps: AdminDeps): Promise<AsyncDisposable | undefined> {
  const { dir, log } = deps;
  const server = createServer((req, res) => {
    handle(deps, req, res).catch((error: unknown) => {
      res.statusCode = 500;
      res.end(describeError(error));
    });
  });
  server.on("upgrade", (req, socket: Socket) => {
    if (req.url === "/listeners")
      offer(deps, socket).catch((error: unknown) =>
        deps.log.warn("cannot hand over listeners", { error: describeError(error) }),
      );
    else socket.destroy();
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.on("clientError", (_error, socket) => socket.destroy());
  try {
    const path = await claimSocket(dir);
    server.listen(path);
    await once(server, "listening");
    await chmod(path, 0o600);
  } catch (error) {
    log.info("no admin socket", { error: describeError(error) });
    return undefined;
  }
  server.unref();
  return {
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function offer({ offered, crew }: AdminDeps, socket: Socket): Promise<void> {
  const others = await crew.ask<Offered[]>({ about: "offered" });
  await offerListeners(socket, [offered(), ...others].flat());
}

async function handle(deps: AdminDeps, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(req.url ?? "/", "http://proxy");
  const body = await answer(deps, `${req.method} ${pathname}`, searchParams);
  res.statusCode = body === undefined ? 404 : 200;
  res.setHeader("Content-Type", "application/json");
  res.end(body === undefined ? "null" : JSON.stringify(body));
}

async function answer(deps: AdminDeps, what: string, query: URLSearchParams): Promise<unknown> {
  const { carrier, crew } = deps;
  switch (what) {
    case "GET /status":
      return {
        ...deps.status(),
        Threads: crew.loads.map((load) => Math.round(load * 1000) / 1000),
        Carried: addUp([viewCarried(carrier), ...(await crew.ask<CarriedView[]>({ about: "carried" }))]),
      } satisfies StatusView;
    case "GET /connections": {
      const limit = Math.min(MAX_LIMIT, Number(query.get("limit")) || DEFAULT_LIMIT);
      const others = await crew.ask<ConnectionView[]>({ about: "connections", limit });
      return [viewConnections(carrier, 0, limit), ...others]
        .flat()
        .toSorted((a, b) => b.AgeSeconds - a.AgeSeconds)
        .slice(0, limit);
    }
    case "GET /endpoints":
      return mergeInstances(
        [viewInstances(carrier), ...(await crew.ask<InstanceView[]>({ about: "instances" }))].flat(),
      );
    case "GET /config":
      return viewConfig(carrier);
    case "POST /takeover":
      await deps.handOver();
      return {};
    default:
      return undefined;
  }
}

function addUp(threads: CarriedView[][]): CarriedView[] {
  const sums = new Map<string, CarriedView>();
  for (const view of threads.flat()) {
    const sum = sums.get(view.Proxy);
    if (!sum) sums.set(view.Proxy, { ...view });
    else for (const key of ["Inbound", "Outbound", "TunnelsIn", "TunnelsOut"] as const) sum[key] += view[key];
  }
  return [...sums.values()];
}
