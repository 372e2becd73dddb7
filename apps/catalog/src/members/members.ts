/**
 * Who is there: each agent holds a lease by its heartbeats. A lease that runs out makes its node suspect, other agents are
 * asked whether they reach it, and then it is declared failed. Leases are in memory; what the catalog tells is a record.
 */
import { type Clock, describeError, type Logger } from "@heddle/daemon";
import { type Cluster, type Command, type Commit, type Fact, type Fence, FencedError, type Store } from "@heddle/store";
import { memberAlive, memberFailed, type MemberFacts, memberLeft } from "../commands/members.ts";
import {
  checkKey,
  CHECKS,
  type CheckRecord,
  type MemberRecord,
  MEMBERS,
  nodeKey,
  NODES,
  SERF_HEALTH,
} from "../records.ts";
import { type RunningTime, startRunningTime } from "../running-time.ts";
import { isPortClosed } from "./closed-port.ts";
import { type Lease, type MemberLink, newSuspicion, reasonOf, shown, type Suspicion } from "./lease.ts";
import { HEARTBEAT_MS, judgeSuspect, LEASE_MS, PROBE_TIMEOUT_MS, PROBERS, RESTART_GRACE_MS } from "./suspicion.ts";
import { IdTakenError, NameTakenError } from "./taken.ts";

const TICK_MS = 250;
const RECONCILE_MS = 60_000; // Consul's
/** What servers say of each other: whose agent is connected to which of them. */
const CLAIM = "member";
const LEFT_LISTED_MS = 24 * 3_600_000; // Serf's tombstone_timeout: until then `members` lists who left

export interface HeldLease {
  /** A heartbeat has come. */
  heard(): void;
  /** The connection has ended; of a node that was revoked, it says why, and the node has failed, whoever still reaches it. */
  lost(revoked?: string): void;
}

export interface MembersOptions {
  store: Store;
  /** The catalogs on this store: each judges the agents that are connected to it, the leader those of nobody. */
  cluster: Cluster;
  clock: Clock;
  log: Logger;
  /** Whether nobody listens at the host and port of a URL. */
  isPortClosed?: (url: string, timeoutMs: number) => Promise<boolean>;
  /** How long a failed node stays before it is taken out of the catalog. */
  reconnectTimeoutMs: number;
}

export class Members {
  readonly #options: MembersOptions;
  readonly #leases = new Map<string, Lease>();
  /** The leases' own time, in milliseconds: it stands still while this process does, and no change of the clock moves it. */
  readonly #time: RunningTime;
  readonly #looking = new WeakSet<Suspicion>();
  #reconcileAt = RECONCILE_MS;
  #isClosed = false;

  constructor(options: MembersOptions) {
    this.#options = options;
    this.#time = startRunningTime(options.clock, TICK_MS, () => this.#tick());
    for (const { value } of this.records())
      if (value.Status === "alive" && this.#isNobodys(value.Node)) this.#adopt(value);
    options.store.subscribe((commit) => this.#observe(commit));
    options.cluster.onFact((kind, node, fact) => {
      if (kind === CLAIM) this.#claimed(node, fact);
    });
    options.cluster.onChange(() => (this.#reconcileAt = this.#time.now));
  }

  records() {
    return this.#options.store.list<MemberRecord>(MEMBERS);
  }

  isAlive(node: string): boolean {
    return this.#options.store.get<MemberRecord>(MEMBERS, nodeKey(node))?.value.Status === "alive";
  }

  /** How many leases are held now. */
  get held(): number {
    return [...this.#leases.values()].filter((lease) => lease.link || lease.isOwn).length;
  }

  /** A lease without a connection, for the agent in the catalog's own process: it lives as long as this. */
  async holdOwn(facts: MemberFacts, deregister: MemberLink["deregister"]): Promise<void> {
    this.#leases.set(nodeKey(facts.Node), { ...this.#newLease(facts), isOwn: true, deregister });
    void this.#options.cluster.say(CLAIM, nodeKey(facts.Node), facts);
    await this.#declareAlive(facts);
  }

  /** Gives a lease to a connected agent. Throws where another agent has the node's name. */
  async hold(facts: MemberFacts, { probeUrl, link }: { probeUrl: string; link: MemberLink }): Promise<HeldLease> {
    const key = nodeKey(facts.Node);
    const before = this.#leases.get(key);
    const isTaken = before && (before.link || before.isOwn) && !before.suspicion;
    if (isTaken && before.facts.ID !== facts.ID) throw new NameTakenError(facts.Node, before.facts);
    for (const [other, { facts: old, isOwn, link: oldLink, suspicion }] of this.#leases)
      if (other !== key && facts.ID !== "" && old.ID === facts.ID && (oldLink || isOwn) && !suspicion)
        throw new IdTakenError(facts, old);
    this.#refuseClaimed(facts);
    before?.link?.close("the agent has connected again");
    for (const [other, { facts: old }] of this.#leases)
      if (other !== key && facts.ID !== "" && old.ID === facts.ID) this.#leases.delete(other);
    const lease: Lease = { ...this.#newLease(facts), probeUrl, link };
    this.#leases.set(key, lease);
    await this.#options.cluster.say(CLAIM, key, facts);
    await this.#declareAlive(facts);
    return {
      heard: () => {
        if (this.#leases.get(key) === lease) this.#heard(lease);
      },
      lost: (revoked) => {
        if (this.#leases.get(key) !== lease) return;
        if (revoked !== undefined) return void this.#fail(lease, revoked);
        lease.link = undefined;
        lease.deadline = this.#time.now;
        this.#suspect(lease, "its connection has ended");
      },
    };
  }

  /** Asks the agent of a node to take a service away; false where none is connected. */
  askToDeregister(node: string, ask: { service: string; check: string }): boolean {
    const lease = this.#leases.get(nodeKey(node));
    if (!lease || lease.suspicion) return false;
    if (lease.link) lease.link.deregister(ask);
    else lease.deregister?.(ask);
    return lease.link !== undefined || lease.deregister !== undefined;
  }

  /** A node leaves by its own will. */
  async leave(node: string, options?: { forget: boolean }): Promise<void> {
    const lease = this.#leases.get(nodeKey(node));
    this.#leases.delete(nodeKey(node));
    void this.#options.cluster.say(CLAIM, nodeKey(node), undefined);
    lease?.link?.close("this node has left");
    if (await this.#run(memberLeft(node, this.#options.clock.now(), options)))
      this.#options.log.info("member left, deregistering", { member: node });
  }

  /** Takes a failed node away by hand; one that lives stays, as it would say so at once. False where there is no such member. */
  async forceLeave(node: string, { prune }: { prune: boolean }): Promise<boolean> {
    const record = this.#options.store.get<MemberRecord>(MEMBERS, nodeKey(node))?.value;
    if (!record) return false;
    if (this.#leases.has(nodeKey(node)) || this.#options.cluster.fact(CLAIM, nodeKey(node)))
      this.#options.log.warn("a member that is alive cannot be made to leave", { member: record.Node });
    else await this.leave(record.Node, { forget: prune });
    return true;
  }

  close(): void {
    this.#isClosed = true;
    this.#time.close();
  }

  #newLease(facts: MemberFacts): Lease {
    const time = { heardAt: this.#time.now, deadline: this.#time.now + LEASE_MS };
    return { facts, probeUrl: "", link: undefined, isOwn: false, deregister: undefined, suspicion: undefined, ...time };
  }

  // Stored as alive, but nothing was heard of it in this life of the catalog (or since a restore).
  #adopt({ Node, ID, Address, Server }: MemberRecord): void {
    const facts = { Node, ID, Address, Server };
    this.#leases.set(nodeKey(Node), { ...this.#newLease(facts), deadline: this.#time.now + RESTART_GRACE_MS });
  }

  #heard(lease: Lease): void {
    lease.heardAt = this.#time.now;
    lease.deadline = this.#time.now + LEASE_MS;
    if (lease.suspicion) this.#options.log.info("member is heard of again", { member: lease.facts.Node });
    lease.suspicion = undefined;
  }

  #tick(): void {
    for (const lease of this.#leases.values()) {
      if (lease.suspicion) {
        this.#look(lease, lease.suspicion);
        this.#judge(lease, lease.suspicion);
      } else if (!lease.isOwn && this.#time.now >= lease.deadline)
        this.#suspect(lease, `no heartbeat for ${shown(this.#time.now - lease.heardAt)}`);
    }
    if (this.#time.now < this.#reconcileAt) return;
    this.#reconcileAt = this.#time.now + RECONCILE_MS;
    this.#reconcile();
  }

  #suspect(lease: Lease, why: string): void {
    if (this.#isClosed) return;
    this.#options.log.warn("member is suspected to have failed", { member: lease.facts.Node, reason: why });
    lease.suspicion = newSuspicion(this.#time.now, why);
    this.#ask(lease, lease.suspicion);
  }

  #ask(lease: Lease, suspicion: Suspicion): void {
    if (lease.probeUrl === "") return;
    const target = { node: lease.facts.Node, url: lease.probeUrl };
    for (const { link, facts } of this.#probers(lease)) {
      void link?.probe(target, PROBE_TIMEOUT_MS).then((probe) => {
        if (!probe || lease.suspicion !== suspicion) return;
        if (probe.isReached) suspicion.reachedBy = facts.Node;
        else suspicion.confirmed.set(facts.Node, probe.reason);
      });
    }
  }

  /** A connection that ends and a port that is closed say together that a process is gone; a slow one keeps its port. */
  #look({ link, probeUrl }: Lease, suspicion: Suspicion): void {
    if (link || probeUrl === "" || this.#looking.has(suspicion)) return;
    this.#looking.add(suspicion);
    void (this.#options.isPortClosed ?? isPortClosed)(probeUrl, PROBE_TIMEOUT_MS).then((isClosed) => {
      this.#looking.delete(suspicion);
      suspicion.refusals = isClosed ? suspicion.refusals + 1 : 0;
    });
  }

  /** Some of the other agents that are well, at random. */
  #probers(suspect: Lease): Lease[] {
    const others = [...this.#leases.values()].filter((l) => l !== suspect && l.link && !l.suspicion);
    const chosen: Lease[] = [];
    while (chosen.length < PROBERS && others.length > 0)
      chosen.push(...others.splice(Math.floor(Math.random() * others.length), 1));
    return chosen;
  }

  #judge(lease: Lease, suspicion: Suspicion): void {
    const silentMs = this.#time.now - lease.heardAt;
    const verdict = judgeSuspect({
      silentMs,
      suspectedMs: this.#time.now - suspicion.since,
      confirmations: suspicion.confirmed.size,
      refusals: suspicion.refusals,
      isReached: suspicion.reachedBy !== "",
    });
    if (verdict === "wait") return;
    if (verdict === "ask") {
      this.#options.log.warn("member is cut off from the catalog, another agent reaches it", {
        member: lease.facts.Node,
        by: suspicion.reachedBy,
      });
      lease.suspicion = newSuspicion(this.#time.now, suspicion.why);
      return this.#ask(lease, lease.suspicion);
    }
    void this.#fail(lease, reasonOf(suspicion, silentMs));
  }

  async #fail(lease: Lease, reason: string): Promise<void> {
    const { clock, log } = this.#options;
    const { Node } = lease.facts;
    const fence = this.#fenceOf(Node);
    this.#leases.delete(nodeKey(Node));
    lease.link?.close("this node was declared failed");
    if (fence === "not ours") return;
    log.error("member failed, marking health critical", { member: Node, address: lease.facts.Address, reason });
    await this.#run(memberFailed(Node, reason, clock.now()), fence);
    void this.#options.cluster.say(CLAIM, nodeKey(Node), undefined);
  }

  /** What must still hold when a node is declared failed: that its agent is not connected to another server. */
  #fenceOf(node: string): Fence | "not ours" | undefined {
    const { cluster } = this.#options;
    const claim = cluster.fact(CLAIM, nodeKey(node));
    if (claim) return claim.server === cluster.self.id ? cluster.factFence(CLAIM, nodeKey(node)) : "not ours";
    return cluster.isLeader ? cluster.leaderFence() : "not ours";
  }

  /** No server has this node's agent: it is the leader's to judge. */
  #isNobodys(node: string): boolean {
    const { cluster } = this.#options;
    return cluster.isLeader && !cluster.fact(CLAIM, nodeKey(node));
  }

  #refuseClaimed(facts: MemberFacts): void {
    const { cluster } = this.#options;
    for (const [key, { server, value }] of cluster.facts(CLAIM)) {
      const holder = value as MemberFacts;
      if (server === cluster.self.id) continue;
      if (key === nodeKey(facts.Node) && holder.ID !== facts.ID) throw new NameTakenError(facts.Node, holder);
      if (key !== nodeKey(facts.Node) && facts.ID !== "" && holder.ID === facts.ID)
        throw new IdTakenError(facts, holder);
    }
  }

  #claimed(node: string, claim: Fact | undefined): void {
    const { cluster } = this.#options;
    const lease = this.#leases.get(node);
    if (!claim) {
      if (lease && (lease.link || lease.isOwn)) void cluster.say(CLAIM, node, lease.facts);
      else if (!lease) this.#reconcileAt = this.#time.now;
    } else if (claim.server !== cluster.self.id && lease && !lease.isOwn) {
      this.#leases.delete(node);
      lease.link?.close("the agent has connected to another server");
    }
  }

  async #declareAlive(facts: MemberFacts): Promise<void> {
    const { clock, log } = this.#options;
    const result = await this.#run(memberAlive(facts, clock.now()));
    if (result?.wasFailed) log.info("member is back, marking health alive", { member: facts.Node });
    else if (result?.isNew) log.info("member joined", { member: facts.Node, address: facts.Address });
  }

  /** Memory is right where the records say otherwise: after a restore, a failed write, or a change by hand. */
  #reconcile(): void {
    const { clock, cluster, log, reconnectTimeoutMs } = this.#options;
    for (const [key, { facts, link, isOwn, suspicion }] of this.#leases) {
      if (suspicion || this.#isRecordedAlive(facts)) continue;
      if (link || isOwn) void this.#declareAlive(facts);
      else this.#leases.delete(key);
    }
    if (!cluster.isLeader) return;
    const fence = cluster.leaderFence();
    for (const { value } of this.records()) {
      const age = clock.now() - value.Since;
      if (value.Status === "alive" && !this.#leases.has(nodeKey(value.Node))) {
        if (this.#isNobodys(value.Node)) this.#adopt(value);
      } else if (value.Status === "failed" && age > reconnectTimeoutMs) {
        log.info("member was away for too long, deregistering", { member: value.Node, since: new Date(value.Since) });
        void this.#run(memberLeft(value.Node, clock.now(), { forget: true }), fence);
      } else if (value.Status === "left" && age > LEFT_LISTED_MS)
        void this.#run(() => ({ writes: [{ table: MEMBERS, key: nodeKey(value.Node) }], result: true }), fence);
    }
  }

  #isRecordedAlive({ Node }: MemberFacts): boolean {
    const { store } = this.#options;
    if (store.get<MemberRecord>(MEMBERS, nodeKey(Node))?.value.Status !== "alive") return false;
    const check = store.get<CheckRecord>(CHECKS, checkKey(Node, SERF_HEALTH))?.value;
    return store.get(NODES, nodeKey(Node)) === undefined || check?.Status === "passing";
  }

  // A record that does not fit the leases was written by others (a restore): seen to at the next tick.
  #observe(commit: Commit): void {
    for (const { table, key, after } of commit.changes) {
      if (table !== MEMBERS) continue;
      const status = (after?.value as MemberRecord | undefined)?.Status;
      // It left by way of another server.
      if (status === "left" && this.#options.cluster.servers().length > 1)
        this.#leases.get(key)?.link?.close("this node has left");
      if ((status === "alive") !== this.#leases.has(key)) this.#reconcileAt = this.#time.now;
    }
  }

  async #run<R>(command: Command<R>, fence?: Fence): Promise<R | undefined> {
    try {
      return (await this.#options.store.run(command, { fence })).result;
    } catch (error) {
      if (error instanceof FencedError) return undefined;
      if (!this.#isClosed)
        this.#options.log.error("cannot write who is a member, trying again", { error: describeError(error) });
      this.#reconcileAt = this.#time.now + HEARTBEAT_MS;
      return undefined;
    }
  }
}
