/**
 * Watches as Consul's configuration files and its command line name them (`type = "key"`, `key = "…"`): which path each reads,
 * and what of the answer its handler gets.
 */
import { InvalidArgumentError } from "@heddle/daemon";
import type { Query } from "./client.ts";

export interface WatchPlan {
  type: string;
  path: string;
  query: Query;
  /** Waits on a content hash: the local agent's answers have no index. */
  hash: boolean;
  /** What the handler gets of the answer; `seen` remembers between answers. */
  pick: (body: unknown, seen: EventPosition) => unknown;
  /** Of a view that is a list, the name of one of its parts. */
  nameOf?: (part: unknown) => string;
}

/** The last event that a handler was given. */
export interface EventPosition {
  eventId?: string | undefined;
}

/** Reads values of known types, and knows afterwards which were not asked for. */
class Parameters {
  readonly #left: Map<string, unknown>;

  constructor(parameters: Readonly<Record<string, unknown>>) {
    this.#left = new Map(Object.entries(parameters));
  }

  text(name: string): string {
    const value = this.#take(name) ?? "";
    if (typeof value !== "string") throw new InvalidArgumentError(`Expecting ${name} to be a string`);
    return value;
  }

  wanted(name: string): string {
    const value = this.text(name);
    if (value === "") throw new InvalidArgumentError(`Must specify a single ${name} to watch`);
    return value;
  }

  boolean(name: string): boolean {
    const value = this.#take(name) ?? false;
    if (typeof value !== "boolean") throw new InvalidArgumentError(`Expecting ${name} to be a boolean`);
    return value;
  }

  texts(name: string): string[] {
    const value = this.#take(name) ?? [];
    if (typeof value === "string") return [value];
    if (!Array.isArray(value)) throw new InvalidArgumentError(`Expecting ${name} to be a string or []string`);
    return value.map((item: unknown, i) => {
      if (typeof item !== "string") throw new InvalidArgumentError(`Index ${i} of ${name} expected to be string`);
      return item;
    });
  }

  refuseOthers(): void {
    if (this.#left.size > 0)
      throw new InvalidArgumentError(`Invalid parameters: [${[...this.#left.keys()].join(" ")}]`);
  }

  #take(name: string): unknown {
    const value = this.#left.get(name);
    this.#left.delete(name);
    return value;
  }
}

type Described = Pick<WatchPlan, "path"> & Partial<WatchPlan>;

const first = (body: unknown): unknown => (Array.isArray(body) ? (body as unknown[])[0] : null) ?? null;
const kvPath = (key: string): string => `/v1/kv/${key.split("/").map(encodeURIComponent).join("/")}`;
const escape = encodeURIComponent;

/** Each type with what it takes; a read of the servers may be `stale`. */
const TYPES: Record<string, (p: Parameters) => Described> = {
  key: (p) => ({ query: stale(p), path: kvPath(p.wanted("key")), pick: first }),
  keyprefix: (p) => ({
    path: kvPath(p.wanted("prefix")),
    query: { recurse: true, ...stale(p) },
    nameOf: (part) => (part as { Key: string }).Key,
  }),
  services: (p) => ({ path: "/v1/catalog/services", query: stale(p) }),
  nodes: (p) => ({ path: "/v1/catalog/nodes", query: stale(p), nameOf: nodeOf }),
  service: (p) => ({
    path: `/v1/health/service/${escape(p.wanted("service"))}`,
    query: { tag: p.texts("tag"), passing: p.boolean("passingonly"), ...stale(p) },
    nameOf: (part) => {
      const { Node, Service } = part as { Node: { Node: string }; Service: { ID: string } };
      return `${Node.Node}/${Service.ID}`;
    },
  }),
  checks(p) {
    const [service, state] = [p.text("service"), p.text("state")];
    if (service && state) throw new InvalidArgumentError("Cannot specify service and state");
    const path = service ? `/v1/health/checks/${escape(service)}` : `/v1/health/state/${escape(state || "any")}`;
    return { path, query: stale(p), nameOf: (part) => `${nodeOf(part)}/${(part as { CheckID: string }).CheckID}` };
  },
  event: (p) => ({ path: "/v1/event/list", query: { name: p.text("name") || undefined }, pick: newEvents }),
  connect_roots: () => ({ path: "/v1/agent/connect/ca/roots" }),
  connect_leaf: (p) => ({ path: `/v1/agent/connect/ca/leaf/${escape(p.wanted("service"))}` }),
  agent_service: (p) => ({ path: `/v1/agent/service/${escape(p.wanted("service_id"))}`, hash: true }),
};

const nodeOf = (part: unknown): string => (part as { Node: string }).Node;
const stale = (p: Parameters): Query => ({ stale: p.boolean("stale") });

/** Throws InvalidArgumentError in Consul's words. */
export function parseWatchPlan(parameters: Readonly<Record<string, unknown>>): WatchPlan {
  const p = new Parameters(parameters);
  const datacenter = p.text("datacenter");
  const type = p.text("type");
  if (type === "") throw new InvalidArgumentError("Watch type must be specified");
  const kind = Object.hasOwn(TYPES, type) ? TYPES[type] : undefined;
  if (!kind) throw new InvalidArgumentError(`Unsupported watch type: ${type}`);
  const plan = kind(p);
  p.refuseOthers();
  return {
    type,
    hash: false,
    pick: (body) => body,
    ...plan,
    query: { ...plan.query, ...(datacenter && { dc: datacenter }) },
  };
}

/** Only the events behind the last one that was given. */
function newEvents(body: unknown, seen: EventPosition): unknown {
  if (!Array.isArray(body)) return body;
  const events = body as { ID?: string }[];
  const at = events.findIndex(({ ID }) => ID === seen.eventId);
  seen.eventId = events.at(-1)?.ID ?? seen.eventId;
  return events.slice(at + 1);
}
