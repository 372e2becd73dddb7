/**
 * Commits commands: what has queued up becomes one transaction, guarded by what the commands read. Where somebody else's commit came
 * first, memory catches up and they are run again; where no answer came, the same transaction is sent again and takes place once.
 */
import { randomBytes } from "node:crypto";
import { HeddleError, type Logger, sleep, UnavailableError } from "@heddle/daemon";
import { FencedError } from "../errors.ts";
import type { Command, CommandResult } from "../record.ts";
import { type Batch, nested, type Outcome, takeBatch, type Waiting } from "./batch.ts";
import type { EtcdClient } from "./client.ts";
import type { StoreEvents } from "./events.ts";
import type { Follower } from "./follower.ts";
import type { Layout } from "./layout.ts";
import type { Compare, KeyValue, Op } from "./messages.ts";
import { atStart, HOLD_MS, unreachable, untilAnswered } from "./retry.ts";

export interface CommitterOptions {
  client: EtcdClient;
  layout: Layout;
  follower: Follower;
  events: StoreEvents;
  log: Logger;
  /** Where given, commands wait for an etcd that is away until it aborts or `hasStarted` is called. */
  waitUntil?: AbortSignal | undefined;
}

/** What came of a transaction; `fences` are the keys of its fences as they are, where it did not take place. */
interface Sent {
  revision: number;
  isConflict: boolean;
  fences: ReadonlyMap<string, KeyValue | undefined>;
}

export class Committer {
  readonly #options: CommitterOptions;
  readonly #queue: Waiting[] = [];
  /** This life of this server, in the names of its commits. */
  readonly #server = randomBytes(6).toString("hex");
  readonly #seqKey: string;
  #seqRevision = 0;
  #committed = 0;
  #isFlushing = false;
  readonly #started = new AbortController();
  readonly #patience: AbortSignal;

  constructor(options: CommitterOptions) {
    this.#options = options;
    if (!options.waitUntil) this.#started.abort();
    this.#patience = AbortSignal.any([this.#started.signal, ...(options.waitUntil ? [options.waitUntil] : [])]);
    this.#seqKey = options.layout.seq(this.#server);
  }

  run<R>(command: Command<R>, fence: Compare | undefined): Promise<CommandResult<R>> {
    const deadline = this.#isPatient ? Number.POSITIVE_INFINITY : performance.now() + HOLD_MS;
    return new Promise((resolve, reject) => {
      this.#queue.push({
        ...{ command, fence, reject, conflicts: 0, deadline },
        resolve: resolve as Waiting["resolve"],
      });
      if (!this.#isFlushing) void this.#flush();
    });
  }

  hasStarted(): void {
    this.#started.abort();
  }

  /** Refuses what has not been sent. */
  close(): void {
    this.#started.abort();
    for (const { reject } of this.#queue.splice(0)) reject(new UnavailableError("the store is closed"));
  }

  /** Takes what tells of this server's commits out of etcd. */
  async forget(): Promise<void> {
    await this.#options.client.txn({ compares: [], success: [{ type: "delete", key: this.#seqKey }] });
  }

  get #isPatient(): boolean {
    return !this.#patience.aborted;
  }

  /** Commits what has queued up, batch after batch, until nothing is left. */
  async #flush(): Promise<void> {
    const { follower, layout } = this.#options;
    this.#isFlushing = true;
    await Promise.resolve(); // what is run in the same turn goes together
    while (this.#queue.length > 0) {
      const { generation, etcdRevision, headRevision, revision } = follower;
      const memory = {
        ...{ generation, etcdRevision, headRevision, next: revision + 1 },
        get: (table: string, key: string) => follower.get(table, key),
        list: (table: string, prefix: string) => follower.list(table, prefix),
        marks: (table: string) => follower.marks(table),
      };
      const batch = takeBatch(this.#queue, memory, layout);
      if (batch.outcomes.length > 0) await this.#commit(batch);
    }
    this.#isFlushing = false;
  }

  async #commit(batch: Batch): Promise<void> {
    const { client, follower } = this.#options;
    const id = `${++this.#committed}`;
    const known = follower.etcdRevision;
    try {
      const { revision, isConflict, fences } = await this.#send(batch, id);
      if (!isConflict) {
        if (batch.ops.length > 0 && revision <= known) follower.hasGoneBack();
        if (batch.ops.length > 0) await this.#reached(revision);
        for (const outcome of batch.outcomes) this.#settle(outcome, batch.ops.length > 0 ? revision : 0);
        return;
      }
      await this.#reached(revision);
      await this.#requeue(batch.outcomes.filter(({ waiting }) => !isFenced(waiting, fences)));
    } catch (error) {
      const why = error instanceof HeddleError ? error : unreachable(client, error);
      for (const { waiting } of batch.outcomes) waiting.reject(why);
    }
  }

  async #reached(revision: number): Promise<void> {
    for (;;) {
      try {
        return await this.#options.follower.reached(revision, HOLD_MS);
      } catch (error) {
        if (!this.#isPatient) throw error;
      }
    }
  }

  /** Sends until there is an answer: the same transaction, which takes place once at most, however often it is sent. */
  async #send(batch: Batch, id: string): Promise<Sent> {
    const { client, events, follower, layout, log } = this.#options;
    const deadline = Math.min(...batch.outcomes.map(({ waiting }) => waiting.deadline));
    const isWrite = batch.ops.length > 0;
    const compares: Compare[] = [
      { key: layout.format, target: "mod", is: "equal", value: follower.formatRevision },
      ...batch.compares,
    ];
    const success: Op[] = isWrite
      ? nested([
          ...batch.ops,
          { type: "put", key: layout.head, value: `${this.#server}/${id}` },
          { type: "put", key: this.#seqKey, value: id },
        ])
      : [];
    if (isWrite) compares.push({ key: this.#seqKey, target: "mod", is: "equal", value: this.#seqRevision });
    const fenceKeys = [...new Set(batch.outcomes.flatMap(({ waiting }) => waiting.fence?.key ?? []))];
    const failure = [layout.head, this.#seqKey, layout.format, ...fenceKeys].map((key): Op => ({ type: "range", key }));
    const ask = () => client.txn({ compares, success, failure });
    const result = this.#isPatient
      ? await atStart(ask, { client, log, waitUntil: this.#patience })
      : await untilAnswered(ask, deadline, () => events.count("retry"));
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
    const { follower } = this.#options;
    const revision = etcdRevision > 0 ? follower.toIndex(etcdRevision) : follower.revision;
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
    this.#options.events.count("conflict");
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
