/**
 * The servers of a mesh on etcd. Each has a lease and keeps it alive; what hangs on the lease goes when the server does: that
 * it is there, that it leads, what it says. None of it touches the records' indexes.
 *
 *     <root>/<name>.live/leader                 who leads
 *     <root>/<name>.live/servers/<id>           what a server says of itself
 *     <root>/<name>.live/facts/<kind>/<id>      what it says of others
 */
import { backoffMs, describeError, type Logger, UnavailableError } from "@heddle/daemon";
import type { Cluster, Fact, Fence, ServerInfo } from "../cluster.ts";
import type { EtcdClient, EtcdWatch } from "./client.ts";
import { type KeyValue, type Op, prefixEnd } from "./messages.ts";

/** A server that died leads for this long at most; etcd's least is 2 s with its default timing. */
const LEASE_S = 5;
const RENEW_MS = 1_000;
/** What is said within this goes in one transaction. */
const SAY_EVERY_MS = 50;
const MAX_OPS = 100;
const RETRY_BASE_MS = 50;
const RETRY_MAX_MS = 1_000;

export interface EtcdClusterOptions {
  client: EtcdClient;
  root: string;
  name: string;
  self: ServerInfo;
  log: Logger;
}

interface Spoken extends Fact {
  modRevision: number;
}

export class EtcdClusterView implements Cluster {
  readonly self: ServerInfo;
  readonly #client: EtcdClient;
  readonly #log: Logger;
  readonly #prefix: string;
  readonly #leaderKey: string;
  readonly #servers = new Map<string, ServerInfo>();
  readonly #facts = new Map<string, Map<string, Spoken>>();
  /** What this server says: put again under a new lease where the old one was lost. */
  readonly #said = new Map<string, string>();
  readonly #unsent = new Map<string, string | undefined>();
  /** Who waits until what is unsent is told. */
  #telling: (() => void)[] = [];
  readonly #onFact = new Set<(kind: string, id: string, fact: Fact | undefined) => void>();
  readonly #onChange = new Set<() => void>();
  #leader: { server: string; createRevision: number } | undefined;
  #lease = 0n;
  #leaseEnds = 0;
  #revision = 0;
  #watch: EtcdWatch | undefined;
  #failures = 0;
  #timers = new Set<NodeJS.Timeout>();
  #isSaying = false;
  #isClosed = false;

  constructor({ client, root, name, self, log }: EtcdClusterOptions) {
    this.self = self;
    this.#client = client;
    this.#log = log;
    this.#prefix = `${root}/${name}.live/`;
    this.#leaderKey = `${this.#prefix}leader`;
  }

  /** Resolves when this server is one of them. */
  async start(): Promise<void> {
    await this.#takeLease();
    await this.#load();
    this.#follow();
    this.#every(RENEW_MS, () => this.#renew());
  }

  readonly maxSilenceMs = LEASE_S * 1_000;

  async quorum(): Promise<{ isHealthy: boolean; tolerance: number }> {
    const members = await this.#client.members().catch(() => []);
    const voters = members.filter(({ isLearner }) => !isLearner);
    const asked = voters.map(async ({ clientUrls: [url] }) => url !== undefined && this.#client.statusOf(url));
    const states = await Promise.allSettled(asked);
    const well = states.filter((s) => s.status === "fulfilled" && s.value && s.value.leader !== 0n).length;
    const needed = Math.floor(voters.length / 2) + 1;
    return { isHealthy: well === voters.length && well > 0, tolerance: Math.max(0, well - needed) };
  }

  servers(): ServerInfo[] {
    return [...this.#servers.values()].sort((a, b) => (a.name + a.id < b.name + b.id ? -1 : 1));
  }

  leader(): ServerInfo | undefined {
    return this.#leader && this.#servers.get(this.#leader.server);
  }

  get isLeader(): boolean {
    return this.#leader?.server === this.self.id && performance.now() < this.#leaseEnds;
  }

  leaderFence(): Fence {
    // By what is known of etcd and not by the time: whoever has just asked `isLeader` gets it, and etcd itself refuses a late one.
    if (this.#leader?.server !== this.self.id) throw new UnavailableError("this server does not lead");
    return { key: this.#leaderKey, target: "create", is: "equal", value: this.#leader.createRevision };
  }

  say(kind: string, id: string, value: unknown): Promise<void> {
    const key = this.#factKey(kind, id);
    if (value === undefined) {
      this.#said.delete(key);
      this.#unsent.set(key, undefined);
    } else {
      const text = JSON.stringify({ server: this.self.id, value } satisfies Fact);
      this.#said.set(key, text);
      this.#unsent.set(key, text);
    }
    const told = new Promise<void>((resolve) => this.#telling.push(resolve));
    this.#sayUnsent();
    return told;
  }

  fact(kind: string, id: string): Fact | undefined {
    return this.#facts.get(kind)?.get(id);
  }

  facts(kind: string): ReadonlyMap<string, Fact> {
    return this.#facts.get(kind) ?? new Map<string, Fact>();
  }

  factFence(kind: string, id: string): Fence {
    const value = this.#facts.get(kind)?.get(id)?.modRevision ?? 0;
    return { key: this.#factKey(kind, id), target: "mod", is: "equal", value };
  }

  onFact(listener: (kind: string, id: string, fact: Fact | undefined) => void): () => void {
    this.#onFact.add(listener);
    return () => this.#onFact.delete(listener);
  }

  onChange(listener: () => void): () => void {
    this.#onChange.add(listener);
    return () => this.#onChange.delete(listener);
  }

  /** Leaves: who takes over need not wait for the lease to run out. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#watch?.cancel();
    await this.#client.revokeLease(this.#lease).catch(() => {});
  }

  #factKey(kind: string, id: string): string {
    return `${this.#prefix}facts/${kind}/${id}`;
  }

  async #takeLease(): Promise<void> {
    const asked = performance.now();
    const { id, ttlSeconds } = await this.#client.grantLease(LEASE_S);
    this.#lease = id;
    this.#leaseEnds = asked + ttlSeconds * 1_000;
    const key = `${this.#prefix}servers/${this.self.id}`;
    await this.#client.txn({
      compares: [],
      success: [{ type: "put", key, value: JSON.stringify(this.self), lease: id }],
    });
    for (const [said, text] of this.#said) this.#unsent.set(said, text);
    this.#sayUnsent();
  }

  async #renew(): Promise<void> {
    const asked = performance.now();
    try {
      const ttlSeconds = await this.#client.keepAlive(this.#lease);
      if (ttlSeconds > 0) this.#leaseEnds = asked + ttlSeconds * 1_000;
      else {
        this.#log.warn("this server's lease in etcd has run out, taking another");
        await this.#takeLease();
      }
      if (!this.#leader) await this.#campaign();
    } catch (error) {
      this.#log.debug("cannot renew this server's lease in etcd", { error: describeError(error) });
    }
  }

  async #campaign(): Promise<void> {
    if (this.#isClosed) return;
    const { succeeded } = await this.#client.txn({
      compares: [{ key: this.#leaderKey, target: "create", is: "equal", value: 0 }],
      success: [{ type: "put", key: this.#leaderKey, value: this.self.id, lease: this.#lease }],
    });
    if (succeeded)
      this.#log.info("this server leads now: what only one may do is its work", { server: this.self.name });
  }

  async #load(): Promise<void> {
    const { header, kvs } = await this.#client.range({ key: this.#prefix, end: prefixEnd(this.#prefix) });
    const there = new Set(kvs.map(({ key }) => key));
    for (const key of this.#keys()) if (!there.has(key)) this.#forget(key);
    for (const kv of kvs) this.#learn(kv);
    this.#revision = header.revision;
    this.#failures = 0;
    if (!this.#leader) await this.#campaign();
  }

  *#keys(): Iterable<string> {
    if (this.#leader) yield this.#leaderKey;
    for (const id of this.#servers.keys()) yield `${this.#prefix}servers/${id}`;
    for (const [kind, facts] of this.#facts) for (const id of facts.keys()) yield this.#factKey(kind, id);
  }

  #follow(): void {
    if (this.#isClosed) return;
    const again = (why: string) => {
      this.#log.debug("following the other servers anew", { reason: why });
      this.#after(backoffMs(this.#failures++, RETRY_BASE_MS, RETRY_MAX_MS), async () => {
        await this.#load().catch((error: unknown) =>
          this.#log.debug("cannot ask for the servers", { error: describeError(error) }),
        );
        this.#follow();
      });
    };
    this.#watch = this.#client.watch(
      { key: this.#prefix, end: prefixEnd(this.#prefix), startRevision: this.#revision + 1 },
      {
        onResult: (result) => {
          if (result.canceled) {
            this.#watch?.cancel();
            return again(result.reason);
          }
          for (const { type, kv } of result.events) {
            if (kv.modRevision <= this.#revision) continue;
            if (type === "put") this.#learn(kv);
            else this.#forget(kv.key);
          }
          this.#revision = Math.max(this.#revision, result.events.at(-1)?.kv.modRevision ?? 0);
          // Whoever led is gone: no waiting for the next renewal.
          if (!this.#leader) this.#campaign().catch(() => {});
        },
        onEnd: (error) => again(error.message),
      },
    );
  }

  #learn(kv: KeyValue): void {
    const name = kv.key.slice(this.#prefix.length);
    const text = kv.value.toString("utf8");
    if (name === "leader") {
      this.#leader = { server: text, createRevision: kv.createRevision };
      return this.#changed();
    }
    const said = parseSaid(text);
    if (!said) return this.#log.warn("cannot read what another server says, leaving it out", { key: kv.key });
    if (name.startsWith("servers/")) {
      this.#servers.set(name.slice("servers/".length), said as unknown as ServerInfo);
      return this.#changed();
    }
    const parsed = parseFact(name);
    if (!parsed) return;
    const fact: Spoken = { ...(said as unknown as Fact), modRevision: kv.modRevision };
    if (fact.server !== this.self.id) this.#said.delete(kv.key); // the other's word counts now
    let facts = this.#facts.get(parsed.kind);
    if (!facts) this.#facts.set(parsed.kind, (facts = new Map()));
    facts.set(parsed.id, fact);
    for (const listener of this.#onFact) listener(parsed.kind, parsed.id, fact);
  }

  #forget(key: string): void {
    const name = key.slice(this.#prefix.length);
    if (name === "leader") {
      this.#leader = undefined;
      return this.#changed();
    }
    if (name.startsWith("servers/")) {
      this.#servers.delete(name.slice("servers/".length));
      return this.#changed();
    }
    const parsed = parseFact(name);
    if (!parsed || !this.#facts.get(parsed.kind)?.delete(parsed.id)) return;
    for (const listener of this.#onFact) listener(parsed.kind, parsed.id, undefined);
  }

  #changed(): void {
    for (const listener of this.#onChange) listener();
  }

  #sayUnsent(): void {
    if (this.#isSaying || this.#isClosed) return;
    this.#isSaying = true;
    this.#after(SAY_EVERY_MS, async () => {
      const part = [...this.#unsent].slice(0, MAX_OPS);
      for (const [key] of part) this.#unsent.delete(key);
      try {
        await this.#send(part);
      } catch (error) {
        this.#log.debug("cannot tell the other servers, trying again", { error: describeError(error) });
        for (const [key, text] of part) if (!this.#unsent.has(key)) this.#unsent.set(key, text);
      }
      this.#isSaying = false;
      if (this.#unsent.size > 0) this.#sayUnsent();
      else for (const tell of this.#telling.splice(0)) tell();
    });
  }

  async #send(part: [key: string, text: string | undefined][]): Promise<void> {
    const puts = part.flatMap(([key, value]): Op[] =>
      value === undefined ? [] : [{ type: "put", key, value, lease: this.#lease }],
    );
    if (puts.length > 0) await this.#client.txn({ compares: [], success: puts });
    for (const [key, text] of part) {
      if (text !== undefined) continue;
      // Another server may have said it since: then it is that one's.
      await this.#client.txn({
        compares: [{ key, target: "lease", is: "equal", value: this.#lease }],
        success: [{ type: "delete", key }],
      });
    }
  }

  #after(ms: number, work: () => Promise<void>): void {
    if (this.#isClosed) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void work();
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }

  #every(ms: number, work: () => Promise<void>): void {
    this.#after(ms, async () => {
      await work();
      this.#every(ms, work);
    });
  }
}

/** Undefined for what none of our servers has written. */
function parseSaid(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function parseFact(name: string): { kind: string; id: string } | undefined {
  const [, kind, id] = /^facts\/([^/]+)\/(.*)$/s.exec(name) ?? [];
  return kind === undefined || id === undefined ? undefined : { kind, id };
}
