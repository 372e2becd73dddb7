/**
 * The store on etcd: any number of servers hold every record in memory and follow each other's commits. A command runs
 * against memory; what it read are the compares of its transaction, so it takes place as if it had run alone, or is run again.
 */
import { randomBytes } from "node:crypto";
import { HeddleError, type Logger, sleep, UnavailableError } from "@heddle/daemon";
import type { Cluster, ServerInfo } from "../cluster.ts";
import { FencedError } from "../errors.ts";
import type { Command, CommandResult, Commit, Contact, RunOptions, Store, StoredRecord, Write } from "../record.ts";
import { type Batch, nested, type Outcome, takeBatch, type Waiting } from "./batch.ts";
import type { EtcdClient } from "./client.ts";
import { EtcdClusterView } from "./cluster.ts";
import { Follower } from "./follower.ts";
import { GrpcError } from "@heddle/grpc";
import { encodeRecord, type Format, FORMAT_VERSION, Layout } from "./layout.ts";
import { type Compare, type KeyValue, type Op, prefixEnd, type TxnResult } from "./messages.ts";

/** How long a command waits for etcd to have a leader; Consul's rpc_hold_timeout. */
const HOLD_MS = 7_000;
const RETRY_MS = 25;
/** Memory is asked whether it is current this often, which is what X-Consul-LastContact tells. */
const CONTACT_EVERY_MS = 300;
/** Without contact for this long no commit can be expected to be made. */
const LEADER_LOST_MS = 2_500;
/** A commit that is known of has to be heard of by the watch within this, or the watch goes to another endpoint. */
const STALL_MS = 1_000;
const RESTORE_BYTES = 512 * 1024;
const RESTORE_OPS = 100;

export interface EtcdStoreOptions {
  /** Closed with the store. */
  client: EtcdClient;
  /** Above all stores of this mesh: "heddle/dc1". */
  root: string;
  /** "catalog", "ca". */
  name: string;
  log: Logger;
  emptyRevision?: number;
}

/** What a store on etcd counts: commands run again after somebody else's commit, everything read again, calls tried again. */
type StoreEvent = "conflict" | "reload" | "retry";

export class EtcdStore implements Store {
  readonly events: Map<StoreEvent, number>;
  readonly #options: EtcdStoreOptions;
  readonly #client: EtcdClient;
  readonly #layout: Layout;
  readonly #follower: Follower;
  readonly #queue: Waiting[] = [];
  readonly #seqKey: string;
  readonly #wasEmpty: boolean;
  #seqRevision = 0;
  #committed = 0;
  #cluster: EtcdClusterView | undefined;
  #isFlushing = false;
  #isClosed = false;
  #catchingUp: { begun: boolean; done: Promise<void> } | undefined;
  #currentAt = performance.now();
  #contactTimer: NodeJS.Timeout | undefined;

  private constructor(
    options: EtcdStoreOptions,
    { layout, follower, events }: { layout: Layout; follower: Follower; events: Map<StoreEvent, number> },
  ) {
    this.events = events;
    this.#options = options;
    this.#client = options.client;
    this.#layout = layout;
    this.#follower = follower;
    this.#seqKey = layout.seq(randomBytes(6).toString("hex"));
    this.#wasEmpty = follower.headRevision === 0;
    this.#keepContact();
  }

  /** Reads everything into memory. Throws UnavailableError where etcd cannot be asked. */
  static async open(options: EtcdStoreOptions): Promise<EtcdStore> {
    const layout = new Layout(options.root, options.name);
    const { client, log, emptyRevision = 1 } = options;
    const events = newEvents();
    const onReload = () => count(events, "reload");
    const follower = new Follower({ client, layout, emptyRevision, log, onReload });
    const deadline = performance.now() + HOLD_MS;
    for (;;) {
      try {
        await follower.start();
        return new EtcdStore(options, { layout, follower, events });
      } catch (error) {
        if (isPassing(error) && performance.now() < deadline && (await sleep(RETRY_MS), true)) continue;
        follower.close();
        client.close();
        throw error instanceof HeddleError ? error : unreachable(client, error);
      }
    }
  }

  get instance(): string {
    return `${this.#layout.prefix}${this.#follower.founded}`;
  }

  get wasEmpty(): boolean {
    return this.#wasEmpty;
  }

  get revision(): number {
    return this.#follower.revision;
  }

  get next(): number {
    return this.revision + 1;
  }

  get<V = unknown>(table: string, key: string): StoredRecord<V> | undefined {
    return this.#follower.records.get<V>(table, key);
  }

  list<V = unknown>(table: string, prefix = ""): StoredRecord<V>[] {
    return this.#follower.records.list<V>(table, prefix);
  }

  count(table: string): number {
    return this.#follower.records.count(table);
  }

  subscribe(listener: (commit: Commit) => void): () => void {
    return this.#follower.records.subscribe(listener);
  }

  snapshot(): { revision: number; records: StoredRecord[] } {
    return { revision: this.revision, records: this.#follower.records.all() };
  }

  run<R>(command: Command<R>, { fence }: RunOptions = {}): Promise<CommandResult<R>> {
    if (this.#isClosed) return Promise.reject(new Error("the store is closed"));
    return new Promise((resolve, reject) => {
      this.#queue.push({
        ...{ command, fence, reject, conflicts: 0, deadline: performance.now() + HOLD_MS },
        resolve: resolve as Waiting["resolve"],
      });
      if (!this.#isFlushing) void this.#flush();
    });
  }

  catchUp(): Promise<void> {
    // Who comes while a question is on its way asks the next one, together with all who come until that is sent.
    if (this.#catchingUp && !this.#catchingUp.begun) return this.#catchingUp.done;
    const previous = this.#catchingUp?.done.catch(() => {}) ?? Promise.resolve();
    const round = { begun: false, done: Promise.resolve() };
    round.done = previous.then(async () => {
      round.begun = true;
      await this.#askHead();
    });
    round.done.then(
      () => this.#catchingUp === round && (this.#catchingUp = undefined),
      () => this.#catchingUp === round && (this.#catchingUp = undefined),
    );
    this.#catchingUp = round;
    return round.done;
  }

  async join(self: ServerInfo): Promise<Cluster> {
    if (this.#cluster) throw new Error("this store's server has joined already");
    const { root, name, log } = this.#options;
    const cluster = new EtcdClusterView({ client: this.#client, root, name, self, log });
    this.#cluster = cluster;
    await this.#retrying(() => cluster.start());
    return cluster;
  }

  contact(): Contact {
    const lastContactMs = Math.round(performance.now() - this.#currentAt);
    return { lastContactMs, knowsLeader: lastContactMs < LEADER_LOST_MS };
  }

  /**
   * Everything is written beside what there is, under a generation of its own, and then changed over to in one step. Memory
   * follows as with every other server's restore.
   */
  async restore(
    records: readonly StoredRecord[],
    index: number,
    also: readonly Write[] = [],
  ): Promise<CommandResult<void>> {
    const generation = randomBytes(6).toString("hex");
    const toPut = (write: Write, next: number): Op => ({
      ...{ type: "put", key: this.#layout.record(generation, write.table, write.key) },
      value: encodeRecord(write, undefined, next),
    });
    const replaced = new Set(also.map(({ table, key }) => `${table}\0${key}`));
    const kept = records.filter(({ table, key }) => !replaced.has(`${table}\0${key}`));
    // No index is that of "this commit": all of them are written out.
    for (const ops of inParts(kept.map((record) => toPut(record, -1))))
      await this.#retrying(() => this.#client.txn({ compares: [], success: ops }));
    const old = this.#follower.format;
    const base = Math.max(old.base, index + 1 - this.#follower.etcdRevision);
    const format: Format = { version: FORMAT_VERSION, generation, base };
    const tables = new Set([...kept, ...also, ...this.#follower.records.all()].map(({ table }) => table));
    const { header } = await this.#retrying(() =>
      this.#client.txn({
        compares: [],
        success: nested([
          ...also.filter(({ value }) => value !== undefined).map((write) => toPut(write, -1)),
          { type: "put", key: this.#layout.format, value: JSON.stringify(format) },
          { type: "put", key: this.#layout.head, value: "" },
          ...[...tables].flatMap((table): Op[] => [
            { type: "put", key: this.#layout.modified(table), value: "" },
            { type: "put", key: this.#layout.deleted(table), value: "" },
          ]),
        ]),
      }),
    );
    await this.#follower.reached(header.revision, HOLD_MS);
    const gone = this.#layout.records(old.generation);
    await this.#retrying(() =>
      this.#client.txn({ compares: [], success: [{ type: "delete", key: gone, end: prefixEnd(gone) }] }),
    );
    return { result: undefined, revision: this.#follower.toIndex(header.revision) };
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#contactTimer);
    for (const { reject } of this.#queue.splice(0)) reject(new UnavailableError("the store is closed"));
    this.#follower.close();
    await this.#cluster?.close();
    await this.#client.txn({ compares: [], success: [{ type: "delete", key: this.#seqKey }] }).catch(() => {});
    this.#client.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Commits what has queued up, batch after batch, until nothing is left. */
  async #flush(): Promise<void> {
    this.#isFlushing = true;
    await Promise.resolve(); // what is run in the same turn goes together
    while (this.#queue.length > 0) {
      const { generation, etcdRevision, headRevision } = this.#follower;
      const memory = {
        ...{ generation, etcdRevision, headRevision, next: this.next },
        get: (table: string, key: string) => this.#follower.get(table, key),
        list: (table: string, prefix: string) => this.#follower.list(table, prefix),
        marks: (table: string) => this.#follower.marks(table),
      };
      const batch = takeBatch(this.#queue, memory, this.#layout);
      if (batch.outcomes.length > 0) await this.#commit(batch);
    }
    this.#isFlushing = false;
  }

  async #commit(batch: Batch): Promise<void> {
    const id = `${++this.#committed}`;
    try {
      const { revision, isConflict, fences } = await this.#send(batch, id);
      if (!isConflict) {
        if (batch.ops.length > 0) await this.#follower.reached(revision, HOLD_MS);
        for (const outcome of batch.outcomes) this.#settle(outcome, batch.ops.length > 0 ? revision : 0);
        return;
      }
      await this.#follower.reached(revision, HOLD_MS);
      await this.#requeue(batch.outcomes.filter(({ waiting }) => !isFenced(waiting, fences)));
    } catch (error) {
      const why = error instanceof HeddleError ? error : unreachable(this.#client, error);
      for (const { waiting } of batch.outcomes) waiting.reject(why);
    }
  }

  /** Sends until there is an answer: the same transaction, which takes place once at most, however often it is sent. */
  async #send(batch: Batch, id: string): Promise<Sent> {
    const deadline = Math.min(...batch.outcomes.map(({ waiting }) => waiting.deadline));
    const isWrite = batch.ops.length > 0;
    const compares: Compare[] = [
      { key: this.#layout.format, target: "mod", is: "equal", value: this.#follower.formatRevision },
      ...batch.compares,
    ];
    const success: Op[] = isWrite
      ? nested([
          ...batch.ops,
          { type: "put", key: this.#layout.head, value: "" },
          { type: "put", key: this.#seqKey, value: id },
        ])
      : [];
    if (isWrite) compares.push({ key: this.#seqKey, target: "mod", is: "equal", value: this.#seqRevision });
    const fenceKeys = [...new Set(batch.outcomes.flatMap(({ waiting }) => waiting.fence?.key ?? []))];
    const failure = [this.#layout.head, this.#seqKey, this.#layout.format, ...fenceKeys].map(
      (key): Op => ({ type: "range", key }),
    );
    let result: TxnResult;
    for (;;) {
      try {
        result = await this.#client.txn({ compares, success, failure });
        break;
      } catch (error) {
        if (!isPassing(error) || performance.now() >= deadline) throw error;
        count(this.events, "retry");
        await sleep(RETRY_MS);
      }
    }
    if (result.succeeded) {
      if (isWrite) this.#seqRevision = result.header.revision;
      return { revision: result.header.revision, isConflict: false, fences: new Map() };
    }
    const fences = new Map(fenceKeys.map((key, i) => [key, result.ranges[i + 3]?.[0]]));
    const [head, seq, format] = result.ranges.map(([kv]) => kv);
    const wasSeq = this.#seqRevision;
    this.#seqRevision = seq?.modRevision ?? 0;
    if (isWrite && seq && seq.modRevision > wasSeq && seq.value.toString() === id)
      return { revision: seq.modRevision, isConflict: false, fences };
    return { revision: Math.max(head?.modRevision ?? 0, format?.modRevision ?? 0), isConflict: true, fences };
  }

  #settle({ waiting, view, result, refusal, hasRefused }: Outcome, etcdRevision: number): void {
    const revision = etcdRevision > 0 ? this.#follower.toIndex(etcdRevision) : this.revision;
    if (hasRefused) return waiting.reject(refusal);
    if (etcdRevision === 0 || !view.hasUsedNext) return waiting.resolve({ result, revision });
    try {
      waiting.resolve({ result: waiting.command(view.replayAs(revision)).result, revision });
    } catch (error) {
      waiting.reject(error);
    }
  }

  /** Somebody else's commit came first: in front of the queue again, with a pause that grows so that not all meet again. */
  async #requeue(outcomes: readonly Outcome[]): Promise<void> {
    count(this.events, "conflict");
    const again: Waiting[] = [];
    for (const { waiting } of outcomes) {
      waiting.conflicts++;
      if (performance.now() < waiting.deadline) again.push(waiting);
      else
        waiting.reject(
          new UnavailableError(`the write met ${waiting.conflicts} others and was given up: nothing of it was written`),
        );
    }
    this.#queue.unshift(...again);
    const conflicts = Math.max(0, ...again.map((w) => w.conflicts));
    if (conflicts > 2) await sleep(Math.random() * Math.min(conflicts, 20));
  }

  async #askHead(): Promise<void> {
    const asked = performance.now();
    const { header, kvs } = await this.#retrying(() => this.#client.range({ key: this.#layout.head }));
    const head = kvs[0]?.modRevision ?? 0;
    const stalled = setTimeout(() => this.#follower.isStalled(), STALL_MS);
    try {
      await this.#follower.reached(head, HOLD_MS);
    } finally {
      clearTimeout(stalled);
    }
    if (this.#follower.headRevision === head) this.#follower.isCurrentAt(header.revision);
    this.#currentAt = Math.max(this.#currentAt, asked);
  }

  #keepContact(): void {
    this.#contactTimer = setTimeout(() => {
      this.catchUp()
        .catch(() => {})
        .finally(() => {
          if (!this.#isClosed) this.#keepContact();
        })
        .catch(() => {});
    }, CONTACT_EVERY_MS);
    this.#contactTimer.unref();
  }

  async #retrying<T>(call: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + HOLD_MS;
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (!isPassing(error) || performance.now() >= deadline || this.#isClosed)
          throw unreachable(this.#client, error);
        count(this.events, "retry");
        await sleep(RETRY_MS);
      }
    }
  }
}

const newEvents = (): Map<StoreEvent, number> =>
  new Map([
    ["conflict", 0],
    ["reload", 0],
    ["retry", 0],
  ]);

const count = (events: Map<StoreEvent, number>, event: StoreEvent): void =>
  void events.set(event, (events.get(event) ?? 0) + 1);

/** What came of a transaction; `fences` are the keys of its fences as they are, where it did not take place. */
interface Sent {
  revision: number;
  isConflict: boolean;
  fences: ReadonlyMap<string, KeyValue | undefined>;
}

/** Tells a command whose fence has fallen, which running it again would not mend. */
function isFenced({ fence, reject }: Waiting, fences: Sent["fences"]): boolean {
  if (!fence) return false;
  const kv = fences.get(fence.key);
  const holds = (fence.target === "create" ? kv?.createRevision : kv?.modRevision) ?? 0;
  if (holds === fence.value) return false;
  reject(new FencedError());
  return true;
}

const isPassing = (error: unknown): boolean => error instanceof GrpcError && error.isPassing;

// Consul's words for a write without a quorum, and what is behind it.
function unreachable(client: EtcdClient, cause: unknown): UnavailableError {
  if (cause instanceof GrpcError && !cause.isPassing)
    return new UnavailableError(`etcd at ${client.endpoints.join(", ")} refuses`, { cause, status: 500 });
  return new UnavailableError(`No cluster leader: etcd at ${client.endpoints.join(", ")} does not answer`, {
    cause,
    status: 500,
  });
}

function* inParts(ops: readonly Op[]): Generator<Op[]> {
  let part: Op[] = [];
  let bytes = 0;
  for (const op of ops) {
    const size = op.type === "put" ? op.key.length + op.value.length : 0;
    if (part.length > 0 && (part.length >= RESTORE_OPS || bytes + size > RESTORE_BYTES)) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(op);
    bytes += size;
  }
  if (part.length > 0) yield part;
}
