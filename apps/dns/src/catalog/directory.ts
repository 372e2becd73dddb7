/** The catalog as DNS sees it: nodes and names always, the instances of a service from the first question on. */
import type { ApiClient } from "@heddle/api-client";
import { type Clock, describeError, type Logger, parseDuration, UnavailableError } from "@heddle/daemon";
import { type Instance, isAddress, type NodeEntry, toInstances, toNode } from "../answers/instance.ts";
import { toAddressBytes } from "../codec/record.ts";
import { type CatalogStream, Follower, type FollowerDeps } from "./follower.ts";
import { Followers } from "./followers.ts";

const MAX_SERVICES = 4_096;
const MAX_MESH_NAMES = 1_024; // names of proxies' destinations need not exist, so anybody can make us follow one
const MAX_REQUESTS = 256;
const REQUEST_TIMEOUT_MS = 2_000;
const MAX_STALE_QUERIES = 1_024;

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

export interface QueryResult {
  service: string;
  instances: Instance[];
  datacenter: string;
  ttlMs: number | undefined;
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
  query(name: string): Promise<QueryResult | undefined>;
  /** The name of a service that has this address. */
  serviceAt(address: string): Promise<string | undefined>;
  close(): void;
}

export interface DirectoryDeps {
  stream: CatalogStream;
  api: Pick<ApiClient, "get">;
  clock: Clock;
  log: Logger;
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
  const requests = createRequests(deps);

  const serviceOf = (known: Set<string>, name: string) => (known.has(name) ? services.get(name) : undefined);
  return {
    get isStale() {
      return !deps.stream.connected;
    },
    get followed() {
      return services.size + mesh.connect.size + mesh.ingress.size;
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
    query: (name) => requests.query(name),
    serviceAt: (address) => requests.serviceAt(address),
    close() {
      for (const part of [nodes, names, services, mesh.connect, mesh.ingress]) part.close();
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

// What has no place in the stream is asked for each time: prepared queries, and whose a service address is.
function createRequests({ api, clock, log }: DirectoryDeps) {
  const underWay = new Map<string, Promise<unknown>>();
  const lastQueries = new Map<string, QueryResult>();
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
  let warnedAt = Number.NEGATIVE_INFINITY;
  return {
    async query(name: string): Promise<QueryResult | undefined> {
      try {
        const result = toQueryResult(await get(`/v1/query/${encodeURIComponent(name)}/execute`));
        lastQueries.delete(name);
        if (result) lastQueries.set(name, result);
        const oldest = lastQueries.size > MAX_STALE_QUERIES ? lastQueries.keys().next().value : undefined;
        if (oldest !== undefined) lastQueries.delete(oldest);
        return result;
      } catch (error) {
        if (clock.now() - warnedAt > 10_000)
          log.warn("cannot execute a prepared query", { query: name, error: describeError(error) });
        warnedAt = Math.max(warnedAt, clock.now());
        const last = lastQueries.get(name);
        if (last) return last;
        throw error;
      }
    },
    async serviceAt(address: string): Promise<string | undefined> {
      const found = await get(`/v1/internal/service-address/${encodeURIComponent(address)}`);
      const [first] = Array.isArray(found) ? (found as { Service?: unknown }[]) : [];
      return typeof first?.Service === "string" ? first.Service : undefined;
    },
  };
}

function toQueryResult(body: unknown): QueryResult | undefined {
  if (typeof body !== "object" || body === null) return undefined;
  const { Service, Nodes, Datacenter, DNS } = body as Record<string, unknown>;
  const ttl = (DNS as { TTL?: unknown } | undefined)?.TTL;
  return {
    service: typeof Service === "string" ? Service : "",
    instances: toInstances(Nodes),
    datacenter: typeof Datacenter === "string" ? Datacenter : "",
    ttlMs: typeof ttl === "string" && ttl !== "" ? parseTtl(ttl) : undefined,
  };
}

function parseTtl(text: string): number | undefined {
  try {
    return parseDuration(text);
  } catch {
    return undefined;
  }
}
