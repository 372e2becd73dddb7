/** A catalog small enough to read: answers kept by path, over HTTP and as the change stream of the real one. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";

export interface FakeCatalog extends AsyncDisposable {
  readonly url: string;
  /** Paths that somebody is subscribed to. */
  readonly subscribed: Set<string>;
  /** How often each path was asked for over HTTP. */
  readonly asked: Map<string, number>;
  /** Sets the answer of a path and tells its subscribers. */
  set(path: string, body: unknown): void;
  /** Answers nothing more to new subscriptions of this path. */
  mute(path: string): void;
  /** Registers instances, as `/v1/health/service/…` and the lists tell them. */
  register(name: string, instances: InstanceFixture[]): void;
  stop(): Promise<void>;
}

export interface InstanceFixture {
  node: string;
  address: string;
  nodeTagged?: Record<string, string>;
  meta?: Record<string, string>;
  serviceAddress?: string;
  tagged?: Record<string, string>;
  port?: number;
  tags?: string[];
  weights?: { Passing: number; Warning: number };
  checks?: string[];
}

export const toCheckServiceNode = (name: string, i: InstanceFixture) => ({
  Node: {
    Node: i.node,
    Address: i.address,
    Datacenter: "dc1",
    Meta: i.meta ?? null,
    TaggedAddresses: i.nodeTagged ?? null,
  },
  Service: {
    ID: name,
    Service: name,
    Tags: i.tags ?? [],
    Address: i.serviceAddress ?? "",
    TaggedAddresses: Object.fromEntries(
      Object.entries(i.tagged ?? {}).map(([key, Address]) => [key, { Address, Port: i.port ?? 80 }]),
    ),
    Port: i.port ?? 80,
    Weights: i.weights ?? { Passing: 1, Warning: 1 },
  },
  Checks: (i.checks ?? ["passing"]).map((Status, n) => ({ CheckID: `check-${n}`, Status })),
});

export async function startFakeCatalog(port = 0): Promise<FakeCatalog> {
  const bodies = new Map<string, unknown>([
    ["/v1/catalog/nodes", []],
    ["/v1/catalog/services", {}],
  ]);
  const asked = new Map<string, number>();
  const muted = new Set<string>();
  const subscribers = new Map<WebSocket, Map<number, string>>();
  let index = 1;
  const server = createServer((req, res) => {
    const path = decodeURIComponent((req.url ?? "").split("?")[0] ?? "");
    asked.set(path, (asked.get(path) ?? 0) + 1);
    if (!bodies.has(path)) return void res.writeHead(404).end();
    res.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(bodies.get(path)));
  });
  const sockets = new WebSocketServer({ server, path: "/v1/stream" });
  sockets.on("connection", (socket) => {
    const paths = new Map<number, string>();
    subscribers.set(socket, paths);
    socket.on("close", () => subscribers.delete(socket));
    socket.on("message", (data: Buffer) => {
      const request = JSON.parse(data.toString()) as { id: number; subscribe?: string; index?: number };
      if (request.subscribe === undefined) return void paths.delete(request.id);
      const path = decodeURIComponent(request.subscribe);
      paths.set(request.id, path);
      if (!muted.has(path) && index > (request.index ?? 0)) tell(socket, request.id, path);
    });
  });
  const tell = (socket: WebSocket, id: number, path: string) =>
    socket.send(JSON.stringify({ id, index, body: bodies.get(path) ?? [] }));
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const catalog: FakeCatalog = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    get subscribed() {
      return new Set([...subscribers.values()].flatMap((paths) => [...paths.values()]));
    },
    set(path, body) {
      bodies.set(path, body);
      index++;
      for (const [socket, paths] of subscribers) for (const [id, p] of paths) if (p === path) tell(socket, id, path);
    },
    mute: (path) => void muted.add(path),
    register(name, instances) {
      const nodes = new Map((bodies.get("/v1/catalog/nodes") as { Node: string }[]).map((n) => [n.Node, n]));
      for (const i of instances) nodes.set(i.node, toCheckServiceNode(name, i).Node);
      catalog.set("/v1/catalog/nodes", [...nodes.values()]);
      catalog.set("/v1/catalog/services", { ...(bodies.get("/v1/catalog/services") as object), [name]: [] });
      catalog.set(
        `/v1/health/service/${name.toLowerCase()}`,
        instances.map((i) => toCheckServiceNode(name, i)),
      );
    },
    async stop() {
      for (const socket of subscribers.keys()) socket.terminate();
      sockets.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
    [Symbol.asyncDispose]: () => catalog.stop(),
  };
  return catalog;
}
