/** The catalog as DNS sees it: nodes and names always, the instances of a service from the first question on. */
import type { ApiClient } from "@heddle/api-client";
import { type Clock, type Logger, parseDuration, UnavailableError } from "@heddle/daemon";
import { type Instance, isAddress, type NodeEntry, toInstances, toNode } from "../answers/instance.ts";
import { toAddressBytes } from "../codec/record.ts";
import { type CatalogStream, Follower, type FollowerDeps } from "./follower.ts";
import { Followers } from "./followers.ts";

const MAX_SERVICES = 4_096;
const MAX_MESH_NAMES = 1_024; // names of proxies' destinations need not exist, so anybody can make us follow one
const MAX_REQUESTS = 256;
const REQUEST_TIMEOUT_MS = 2_000;
const MAX_QUERIES = 1_024; // a template answers any name, so anybody can make us follow one

export interface Nodes {
  byName: Map<string, NodeEntry>;
  /** By the address's bytes in hex. */
  byAddress: Map<string, NodeEntry>;
}

/** A service as it stands: replaced as a whole by each change, so it serves as the key of what is derived from it. */
export interface Snapshot {
  readonly instances: Instance[];
  /** The instances' addresses that are names, in lower case: a question for one of them is answered with the node. */
  readonly hostNames: ReadonlySet<string>;
}

export interface QueryResult extends Snapshot {
  service: string;
  datacenter: string;
  ttlMs: number | undefined;
  /** Instances that the query left out, and why. */
  leftOut: LeftOut[];
  /** Whether the nearest instances come first; without, their order means nothing. */
  isOrdered: boolean;
  /** Whether it is another answer for each address that asks. */
  isByAddress: boolean;
}

export interface LeftOut {
  Node: string;
  ServiceID: string;
  Reason: string;
}

export type MeshKind = "connect" | "ingress";

export interface Directory {
  readonly isStale: boolean;
  readonly followed: number;
  readonly isReady: boolean;
  nodes(): Nodes | Promise<Nodes>;
  /** Undefined for a name that the catalog does not know: such names cost no subscription. */
  service(name: string): Snapshot | undefined | Promise<Snapshot | undefined>;
  mesh(kind: MeshKind, name: string): Snapshot | Promise<Snapshot>;
  /** `client` is the address that asks, for queries that answer with what is near it. */
  query(name: string, client: string): QueryResult | undefined | Promise<QueryResult | undefined>;
  /** The name of a service that has this address. */
  serviceAt(address: string): Promise<string | undefined>;
  close(): void;
}

export interface DirectoryDeps {
  stream: CatalogStream;
  api: Pick<ApiClient, "get">;
  clock: Clock;
  log: Logger;
  /** The node that a query means by `_agent`; empty: the catalog's. */
  nodeName: string;
}

export function createDirectory(deps: DirectoryDeps): Directory {
  const followerDeps: FollowerDeps = { stream: deps.stream, clock: deps.clock, log: deps.log };
  const nodes = new Follower("/v1/catalog/nodes", toNodes, followerDeps);
  const names = new Follower("/v1/catalog/services", toNames, followerDeps);
  const follow = (kind: string, max: number) =>
    new Followers<Snapshot>({
      max,
      clock: deps.clock,
      create: (name) => new Follower(`/v1/health/${kind}/${encodeURIComponent(name)}`, toSnapshot, followerDeps),
    });
  const services = follow("service", MAX_SERVICES);
  const mesh = { connect: follow("connect", MAX_MESH_NAMES), ingress: follow("ingress", MAX_MESH_NAMES) };
  const agent = deps.nodeName === "" ? "" : `?agent=${encodeURIComponent(deps.nodeName)}`;
  const queryPath = (name: string) => `/v1/internal/query/${encodeURIComponent(name)}${agent}`;
  const queries = new Followers<QueryResult | null>({
    max: MAX_QUERIES,
    clock: deps.clock,
    create: (name) => new Follower(queryPath(name), toQueryResult, followerDeps),
  });
  const requests = createRequests(deps);
  // Where each address has an answer of its own there is nothing to follow; what everybody else gets is better than none.
  const nearClient = (name: string, client: string, otherwise: QueryResult) =>
    requests.get(`${queryPath(name)}${agent === "" ? "?" : "&"}ip=${encodeURIComponent(client)}`).then(
      (body) => toQueryResult(body) ?? undefined,
      () => otherwise,
    );
  const forClient = (found: QueryResult | null, name: string, client: string) =>
    found?.isByAddress && client !== "" ? nearClient(name, client, found) : (found ?? undefined);

  const serviceOf = (known: Set<string>, name: string) => (known.has(name) ? services.get(name) : undefined);
  return {
    get isStale() {
      return !deps.stream.connected;
    },
    get followed() {
      return services.size + mesh.connect.size + mesh.ingress.size + queries.size;
    },
    get isReady() {
      return nodes.current !== undefined && names.current !== undefined;
    },
    nodes: () => nodes.get(),
    service(name) {
      // Who is followed is known: the list of names is for the others.
      if (services.has(name)) return services.get(name);
      const known = names.get();
      return known instanceof Promise ? known.then((k) => serviceOf(k, name)) : serviceOf(known, name);
    },
    mesh: (kind, name) => mesh[kind].get(name),
    query(name, client) {
      const found = queries.get(name);
      return found instanceof Promise
        ? found.then((result) => forClient(result, name, client))
        : forClient(found, name, client);
    },
    serviceAt: (address) => requests.serviceAt(address),
    close() {
      for (const part of [nodes, names, services, mesh.connect, mesh.ingress, queries]) part.close();
    },
  };
}

function toNodes(body: unknown): Nodes {
  const byName = new Map<string, NodeEntry>();
  const byAddress = new Map<string, NodeEntry>();
  for (const entry of Array.isArray(body) ? body : []) {
    const node = toNode(entry);
    byName.set(node.node.toLowerCase(), node);
    const address = isAddress(node.nodeAddress) && toAddressBytes(node.nodeAddress)?.toString("hex");
    if (address && !byAddress.has(address)) byAddress.set(address, node);
  }
  return { byName, byAddress };
}

// In lower case, as DNS asks: the catalog finds a service by any spelling.
function toNames(body: unknown): Set<string> {
  return new Set(Object.keys(body ?? {}).map((name) => name.toLowerCase()));
}

function toSnapshot(body: unknown): Snapshot {
  const instances = toInstances(body);
  const names = instances.map((i) => i.address).filter((address) => address !== "" && !isAddress(address));
  return { instances, hostNames: new Set(names.map((name) => name.toLowerCase().replace(/\.$/, ""))) };
}

// What has no place in the stream is asked for each time: whose an address is, and what is near it.
function createRequests({ api }: DirectoryDeps) {
  const underWay = new Map<string, Promise<unknown>>();
  const get = (path: string): Promise<unknown> => {
    const running = underWay.get(path);
    if (running) return running;
    if (underWay.size >= MAX_REQUESTS) return Promise.reject(new UnavailableError("too many requests to the catalog"));
    const request = api
      .get(path, { allow: [404], timeoutMs: REQUEST_TIMEOUT_MS })
      .then((answer) => (answer.status === 404 ? undefined : answer.body))
      .finally(() => underWay.delete(path));
    underWay.set(path, request);
    return request;
  };
  return {
    get,
    async serviceAt(address: string): Promise<string | undefined> {
      const found = await get(`/v1/internal/service-address/${encodeURIComponent(address)}`);
      const [first] = Array.isArray(found) ? (found as { Service?: unknown }[]) : [];
      return typeof first?.Service === "string" ? first.Service : undefined;
    },
  };
}

function toQueryResult(body: unknown): QueryResult | null {
  if (typeof body !== "object" || body === null) return null;
  const { Service, Nodes, Datacenter, DNS, Near, LeftOut } = body as Record<string, unknown>;
  const ttl = (DNS as { TTL?: unknown } | undefined)?.TTL;
  return {
    ...toSnapshot(Nodes),
    service: typeof Service === "string" ? Service : "",
    datacenter: typeof Datacenter === "string" ? Datacenter : "",
    ttlMs: typeof ttl === "string" && ttl !== "" ? parseTtl(ttl) : undefined,
    leftOut: Array.isArray(LeftOut) ? (LeftOut as LeftOut[]) : [],
    isOrdered: typeof Near === "string" && Near !== "",
    isByAddress: Near === "_ip",
  };
}

function parseTtl(text: string): number | undefined {
  try {
    return parseDuration(text);
  } catch {
    return undefined;
  }
}
