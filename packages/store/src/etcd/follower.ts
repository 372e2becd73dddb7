/**
 * Follows one store in etcd: loads its records as of one revision, then every commit in order. A watch that breaks goes on
 * behind the last commit; where etcd has forgotten that, or has another history than the one that was followed (its data was
 * restored to an older revision), everything is read again and the difference is one commit.
 */
import { backoffMs, describeError, type Logger, UnavailableError } from "@heddle/daemon";
import { GrpcError } from "@heddle/grpc";
import type { Change } from "../record.ts";
import { isSame, Records } from "../records.ts";
import type { EtcdClient, EtcdWatch } from "./client.ts";
import { decodeRecord, type EtcdRecord, type Format, type Layout } from "./layout.ts";
import { type Head, type Loaded, loadStore, NO_MARKS, raiseIndexes, toHead } from "./load.ts";
import { prefixEnd, type WatchEvent, type WatchResult } from "./messages.ts";
import type { SeenCommit } from "./seen.ts";
import type { TableMarks } from "./tracked-view.ts";

const RETRY_BASE_MS = 20;
const RETRY_MAX_MS = 1_000;

export interface FollowerOptions {
  client: EtcdClient;
  layout: Layout;
  /** The index of a store without a commit is at least this. */
  emptyRevision: number;
  log: Logger;
  /** Called when everything had to be read again. */
  onReload?: () => void;
}

export class Follower {
  readonly records = new Records();
  readonly #options: FollowerOptions;
  #format: Format = { version: 0, generation: "", base: 0 };
  #formatRevision = 0;
  #founded = 0;
  #marks = new Map<string, TableMarks>();
  #etcdRevision = 0;
  #head: Head = { revision: 0, text: "" };
  #watch: EtcdWatch | undefined;
  #waiting: { revision: number; resolve: () => void; reject: (error: Error) => void }[] = [];
  #retry: NodeJS.Timeout | undefined;
  #failures = 0;
  #isReloading = false;
  /** The newest index that was given out for a history that etcd has lost. */
  #lostIndex: number | undefined;
  #isClosed = false;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** Reads everything, making the store where there is none yet, and begins to follow. `seen` is what an earlier life knew. */
  async start(seen?: SeenCommit): Promise<void> {
    if (seen && this.#lostIndex === undefined && !(await this.#isThere(seen))) this.#lose(seen);
    const loaded = await this.#loadAboveLost();
    for (const record of loaded.records) this.records.load(record);
    this.#adopt(loaded);
    this.#follow();
  }

  get format(): Format {
    return this.#format;
  }

  /** The revision of the key that says the format: a commit is one of this generation or none. */
  get formatRevision(): number {
    return this.#formatRevision;
  }

  /** etcd's revision at which the store was made: another one in its place has another. */
  get founded(): number {
    return this.#founded;
  }

  get generation(): string {
    return this.#format.generation;
  }

  /** etcd's revision that memory is of. */
  get etcdRevision(): number {
    return this.#etcdRevision;
  }

  /** etcd's revision of the newest commit in memory; 0 where there is none. */
  get headRevision(): number {
    return this.#head.revision;
  }

  /** The newest commit in memory; undefined where there is none, or where etcd has lost it. */
  get seen(): SeenCommit | undefined {
    if (this.#head.revision === 0 || this.#lostIndex !== undefined) return undefined;
    return { prefix: this.#options.layout.prefix, ...this.#head, index: this.revision };
  }

  /** The index of the newest commit in memory. */
  get revision(): number {
    return this.toIndex(this.#head.revision);
  }

  toIndex(etcdRevision: number): number {
    return Math.max(this.#options.emptyRevision, etcdRevision + this.#format.base);
  }

  marks(table: string): TableMarks {
    return this.#marks.get(table) ?? NO_MARKS;
  }

  get(table: string, key: string): EtcdRecord | undefined {
    return this.records.get(table, key) as EtcdRecord | undefined;
  }

  list(table: string, prefix: string): EtcdRecord[] {
    return this.records.list(table, prefix) as EtcdRecord[];
  }

  /** Resolves when memory is of this revision of etcd or a later one. Rejects with UnavailableError after `timeoutMs`. */
  reached(revision: number, timeoutMs: number): Promise<void> {
    if (this.#etcdRevision >= revision) return Promise.resolve();
    if (this.#isClosed) return Promise.reject(new UnavailableError("the store is closed"));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((w) => w !== waiter);
        reject(
          new UnavailableError(`No cluster leader: etcd is at revision ${revision}, this server has not heard of it`),
        );
      }, timeoutMs);
      const done = (end: () => void) => () => {
        clearTimeout(timer);
        end();
      };
      const waiter = { revision, resolve: done(resolve), reject: (e: Error) => done(() => reject(e))() };
      this.#waiting.push(waiter);
    });
  }

  /** etcd says that nothing of this store was committed up to `revision` past what memory has: a watch may go on from there. */
  isCurrentAt(revision: number): void {
    if (this.#lostIndex === undefined) this.#etcdRevision = Math.max(this.#etcdRevision, revision);
  }

  /** The watch tells nothing although there is something to tell. */
  isStalled(): void {
    this.#watch?.fail("the watch has stalled");
  }

  /** etcd is at a revision that is behind what it had told before: its data is that of another day. */
  hasGoneBack(): void {
    if (this.#isClosed || this.#lostIndex !== undefined) return;
    this.#lose();
    this.#watch?.cancel();
    void this.#reload();
  }

  close(): void {
    this.#isClosed = true;
    this.#watch?.cancel();
    clearTimeout(this.#retry);
    for (const { reject } of this.#waiting.splice(0)) reject(new UnavailableError("the store is closed"));
  }

  #follow(): void {
    if (this.#isClosed) return;
    const { client, layout, log } = this.#options;
    this.#watch?.cancel();
    this.#watch = client.watch(
      { key: layout.prefix, end: prefixEnd(layout.prefix), startRevision: this.#etcdRevision + 1 },
      {
        onResult: (result) => {
          try {
            this.#take(result);
          } catch (error) {
            // Somebody else has written there, or a newer heddle: what is there now may be read, what came in between never.
            log.error("cannot take a commit over, reading everything again", { error: describeError(error) });
            this.#watch?.cancel();
            this.#again(() => void this.#reload());
          }
        },
        onEnd: (error) => {
          log.warn("the watch on etcd has ended, going on behind the last commit", {
            store: layout.prefix,
            revision: this.#etcdRevision,
            error: describeError(error),
          });
          this.#again(() => void this.#goOn());
        },
      },
    );
  }

  /** Memory counts for nothing until it is read again, under indexes above those that were given out. */
  #lose({ revision, index } = { revision: this.#etcdRevision, index: this.revision }): void {
    this.#options.log.error("etcd's data was restored or replaced: what it told before is not there any more", {
      store: this.#options.layout.prefix,
      revision,
      index,
    });
    this.#lostIndex = index;
    this.#etcdRevision = 0;
  }

  /** Whether etcd's newest commit at a revision is still that one; true where etcd has forgotten what was then. */
  async #isThere({ revision, text }: Head, at = revision): Promise<boolean> {
    try {
      const { kvs } = await this.#options.client.range({ key: this.#options.layout.head, revision: at });
      const then = kvs[0] ? toHead(kvs[0]) : { revision: 0, text: "" };
      return then.revision === revision && then.text === text;
    } catch (error) {
      if (isOfTheFuture(error)) return false;
      if (isForgotten(error)) return true;
      throw error;
    }
  }

  /** Follows again, once it is certain that etcd's history is still the one that was followed. */
  async #goOn(): Promise<void> {
    if (this.#isReloading) return; // it follows when it is done
    try {
      // Where etcd has forgotten, the watch is told the same, and what to do about it.
      if (await this.#isThere(this.#head, this.#etcdRevision)) this.#follow();
      else this.hasGoneBack();
    } catch {
      this.#again(() => void this.#goOn());
    }
  }

  #take(result: WatchResult): void {
    if (result.canceled) {
      this.#watch?.cancel();
      this.#options.log.warn("etcd has ended the watch, reading everything again", {
        store: this.#options.layout.prefix,
        revision: this.#etcdRevision,
        compacted: result.compactRevision,
        reason: result.reason,
      });
      return this.#again(() => void this.#reload());
    }
    this.#failures = 0;
    for (let at = 0; at < result.events.length; ) {
      const revision = (result.events[at] as WatchEvent).kv.modRevision;
      let end = at;
      while (result.events[end]?.kv.modRevision === revision) end++;
      if (revision > this.#etcdRevision && !this.#apply(revision, result.events.slice(at, end))) return;
      at = end;
    }
  }

  /** Applies the events of one revision; false where everything has to be read again instead. */
  #apply(revision: number, events: readonly WatchEvent[]): boolean {
    const { layout } = this.#options;
    const changes: Change[] = [];
    let head: Head | undefined;
    for (const { type, kv } of events) {
      const parsed = layout.parse(kv.key, this.#format.generation);
      if (parsed?.type === "format") {
        this.#watch?.cancel();
        void this.#reload();
        return false;
      }
      if (!parsed) continue;
      if (parsed.type === "head") head = toHead(kv);
      else if (parsed.type === "record") {
        const { table, key } = parsed;
        const before = this.records.get(table, key);
        const after = type === "put" ? decodeRecord(kv, table, key, this.#format.base) : undefined;
        if (before || after) changes.push({ table, key, before, after });
      } else this.#marks.set(parsed.table, { ...this.marks(parsed.table), [parsed.type]: revision });
    }
    this.#etcdRevision = revision;
    if (head) this.#head = head;
    if (changes.length > 0) this.records.apply({ revision: this.toIndex(revision), changes });
    this.#wake();
    return true;
  }

  #wake(): void {
    const reached = this.#waiting.filter((w) => w.revision <= this.#etcdRevision);
    if (reached.length === 0) return;
    this.#waiting = this.#waiting.filter((w) => w.revision > this.#etcdRevision);
    for (const { resolve } of reached) resolve();
  }

  /** Everything anew; what is not as it was is one commit. */
  async #reload(): Promise<void> {
    if (this.#isReloading) return;
    this.#isReloading = true;
    const { layout, log, onReload } = this.#options;
    try {
      const loaded = await this.#loadAboveLost();
      if (this.#isClosed) return;
      const changes = this.#difference(loaded);
      const isOther = loaded.format.generation !== this.#format.generation;
      const because = this.#lostIndex !== undefined ? "etcd's data went back" : "the watch could not go on";
      this.#adopt(loaded);
      if (changes.length > 0) this.records.apply({ revision: this.revision, changes });
      log.info("read everything again from etcd", {
        store: layout.prefix,
        changes: changes.length,
        revision: this.#etcdRevision,
        because: isOther ? "a restore" : because,
      });
      onReload?.();
      this.#wake();
      this.#follow();
    } catch (error) {
      log.warn("cannot read from etcd, trying again", { store: layout.prefix, error: describeError(error) });
      this.#again(() => void this.#reload());
    } finally {
      this.#isReloading = false;
    }
  }

  /** Of what etcd has lost nobody may be told the same index again: where it has, all indexes go on above those. */
  async #loadAboveLost(): Promise<Loaded> {
    for (;;) {
      const loaded = await loadStore(this.#options);
      if (loaded.revision < this.#etcdRevision) this.#lose();
      const lost = this.#lostIndex;
      if (lost === undefined || loaded.head.revision + loaded.format.base > lost || this.#isClosed) return loaded;
      if (await raiseIndexes(this.#options, loaded, lost))
        this.#options.log.warn("indexes go on above those of what etcd has lost", { index: lost + 1 });
    }
  }

  #difference({ records, format }: Loaded): Change[] {
    const changes: Change[] = [];
    const there = new Set<string>();
    // The same revision is the same commit, unless it is one of another history.
    const isComparable = format.base === this.#format.base && this.#lostIndex === undefined;
    for (const record of records) {
      const { table, key } = record;
      there.add(`${table}\0${key}`);
      const before = this.get(table, key);
      if (isComparable && before?.modRevision === record.modRevision) continue;
      if (isSame(before, record)) this.records.replace(record);
      else changes.push({ table, key, before, after: record });
    }
    for (const before of this.records.all()) {
      const { table, key } = before;
      if (!there.has(`${table}\0${key}`)) changes.push({ table, key, before, after: undefined });
    }
    return changes;
  }

  #adopt(loaded: Loaded): void {
    this.#format = loaded.format;
    this.#formatRevision = loaded.formatRevision;
    this.#founded = loaded.founded;
    this.#marks = loaded.marks;
    this.#head = loaded.head;
    this.#etcdRevision = loaded.revision;
    this.#lostIndex = undefined;
    this.#failures = 0;
  }

  #again(go: () => void): void {
    if (this.#isClosed) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(go, backoffMs(this.#failures++, RETRY_BASE_MS, RETRY_MAX_MS));
  }
}

/** etcd's refusals of a read at a revision that it does not have yet, or not any more (etcdserver/api/v3rpc/rpctypes). */
const isOfTheFuture = (error: unknown): boolean => error instanceof GrpcError && /future revision/.test(error.message);
const isForgotten = (error: unknown): boolean => error instanceof GrpcError && /been compacted/.test(error.message);
