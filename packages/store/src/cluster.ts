/** The servers that share one store: who they are, who leads, and what each says while it lives. A store of one process has one. */
import type { Compare } from "./etcd/messages.ts";

/** What a server says of itself. */
export interface ServerInfo {
  /** Of this life of the server. */
  id: string;
  /** The node that it runs on, or what it is called where it runs by itself. */
  name: string;
  /** "host:port" of its internal API. */
  address: string;
  version: string;
  /** Milliseconds since the epoch. */
  startedAt: number;
}

/** A condition that etcd checks with a commit: it is refused where the condition holds no more. */
export type Fence = Compare;

/** Something that a server says and that is gone when the server is: who is connected to it, who has renewed. */
export interface Fact {
  /** The server that says it. */
  server: string;
  value: unknown;
}

export interface Cluster {
  readonly self: ServerInfo;
  /** How long a server may have been dead that is still listed. */
  readonly maxSilenceMs: number;
  /** Of what keeps the records: whether all of it is well, and how many of its members may be lost. Asks each of them. */
  quorum(): Promise<{ isHealthy: boolean; tolerance: number }>;
  /** Every server that lives, this one included, in the order of their names. */
  servers(): ServerInfo[];
  leader(): ServerInfo | undefined;
  /** Whether the work that only one server may do is this one's. Commits of such work also carry the fence. */
  readonly isLeader: boolean;
  /** Undefined in a store of one process. Throws UnavailableError where this server does not lead. */
  leaderFence(): Fence | undefined;
  /**
   * Says something; undefined takes it back, if this server said it last. `id` is unique within `kind`. Resolves when it is
   * told: whoever says something of the same after that comes later everywhere.
   */
  say(kind: string, id: string, value: unknown): Promise<void>;
  fact(kind: string, id: string): Fact | undefined;
  facts(kind: string): ReadonlyMap<string, Fact>;
  /** Holds while nobody else has said anything of it since; undefined in a store of one process. */
  factFence(kind: string, id: string): Fence | undefined;
  /** Called when a fact came, changed or went. */
  onFact(listener: (kind: string, id: string, fact: Fact | undefined) => void): () => void;
  /** Called when servers came or went, or another one leads. */
  onChange(listener: () => void): () => void;
}

/** "host:port" of the internal API of every other server that lives. */
export const otherAddresses = (cluster: Cluster): string[] =>
  cluster.servers().flatMap(({ id, address }) => (id === cluster.self.id ? [] : [address]));

/** The cluster of one: it leads, and what it says nobody else hears. */
export function aloneCluster(self: ServerInfo): Cluster {
  const nothing: ReadonlyMap<string, Fact> = new Map();
  return {
    self,
    isLeader: true,
    maxSilenceMs: 0,
    quorum: () => Promise.resolve({ isHealthy: true, tolerance: 0 }),
    servers: () => [self],
    leader: () => self,
    leaderFence: () => undefined,
    say: () => Promise.resolve(),
    fact: () => undefined,
    facts: () => nothing,
    factFence: () => undefined,
    onFact: () => () => {},
    onChange: () => () => {},
  };
}
