/**
 * Follows one store in etcd: loads its records as of one revision, then every commit in order. A watch that breaks goes on
 * behind the last commit; where etcd has forgotten that, everything is read again and the difference is one commit.
 */
import { backoffMs, describeError, type Logger, UnavailableError } from "@heddle/daemon";
import type { Change, Commit } from "../record.ts";
import { isSame, Records } from "../records.ts";
import type { EtcdClient, EtcdWatch } from "./client.ts";
import { decodeFormat, decodeRecord, type EtcdRecord, type Format, type Layout } from "./layout.ts";
import { type KeyValue, prefixEnd, type WatchEvent, type WatchResult } from "./messages.ts";
import type { TableMarks } from "./tracked-view.ts";

const PAGE_KEYS = 5_000; // some MiB
const RETRY_BASE_MS = 20;
const RETRY_MAX_MS = 1_000;
const NO_MARKS: TableMarks = { modified: 0, deleted: 0 };

export interface FollowerOptions {
  client: EtcdClient;
  layout: Layout;
  /** The index of a store without a commit is at least this. */
  emptyRevision: number;
  log: Logger;
  /** Called when everything had to be read again. */
  onReload?: () => void;
}

interface Loaded {
  /** The revisions of the key that says the format: of its last change, and of its making. */
  formatRevision: number;
  founded: number;
  format: Format;
  records: EtcdRecord[];
  marks: Map<string, TableMarks>;
  headRevision: number;
  revision: number;
}

export class Follower {
  readonly records = new Records();
  readonly #options: FollowerOptions;
  #format: Format = { version: 0, generation: "", base: 0 };
  #formatRevision = 0;
  #founded = 0;
  #marks = new Map<string, TableMarks>();
  #etcdRevision = 0;
  #headRevision = 0;
  #watch: EtcdWatch | undefined;
  #waiting: { revision: number; resolve: () => void; reject: (error: Error) => void }[] = [];
  #retry: NodeJS.Timeout | undefined;
  #failures = 0;
  #isClosed = false;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** Reads everything, making the store where there is none yet, and begins to follow. */
  async start(): Promise<void> {
    const loaded = await this.#load();
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
    return this.#headRevision;
  }

  /** The index of the newest commit in memory. */
  get revision(): number {
    return this.toIndex(this.#headRevision);
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
    this.#etcdRevision = Math.max(this.#etcdRevision, revision);
  }

  /** The watch tells nothing although there is something to tell. */
  isStalled(): void {
    this.#watch?.fail("the watch has stalled");
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
    this.#watch = client.watch(
      { key: layout.prefix, end: prefixEnd(layout.prefix), startRevision: this.#etcdRevision + 1 },
      {
        onResult: (result) => this.#take(result),
        onEnd: (error) => {
          log.warn("the watch on etcd has ended, going on behind the last commit", {
            store: layout.prefix,
            revision: this.#etcdRevision,
            error: describeError(error),
          });
          this.#again(() => this.#follow());
        },
      },
    );
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
    let isCommit = false;
    for (const { type, kv } of events) {
      const parsed = layout.parse(kv.key, this.#format.generation);
      if (parsed?.type === "format") {
        this.#watch?.cancel();
        void this.#reload();
        return false;
      }
      if (!parsed) continue;
      if (parsed.type === "head") isCommit = true;
      else if (parsed.type === "record") {
        const { table, key } = parsed;
        const before = this.records.get(table, key);
        const after = type === "put" ? decodeRecord(kv, table, key, this.#format.base) : undefined;
        if (before || after) changes.push({ table, key, before, after });
      } else this.#mark(parsed.table, parsed.type, revision);
    }
    this.#etcdRevision = revision;
    if (isCommit) this.#headRevision = revision;
    if (changes.length > 0) this.records.apply({ revision: this.toIndex(revision), changes });
    this.#wake();
    return true;
  }

  #mark(table: string, what: keyof TableMarks, revision: number): void {
    this.#marks.set(table, { ...this.marks(table), [what]: revision });
  }

  #wake(): void {
    const reached = this.#waiting.filter((w) => w.revision <= this.#etcdRevision);
    if (reached.length === 0) return;
    this.#waiting = this.#waiting.filter((w) => w.revision > this.#etcdRevision);
    for (const { resolve } of reached) resolve();
  }

  /** Everything anew; what is not as it was is one commit. */
  async #reload(): Promise<void> {
    try {
      const loaded = await this.#load();
      if (this.#isClosed) return;
      const changes = this.#difference(loaded.records);
      const isOther = loaded.format.generation !== this.#format.generation;
      this.#adopt(loaded);
      if (changes.length > 0) this.records.apply(this.#toCommit(changes));
      this.#options.log.info("read everything again from etcd", {
        store: this.#options.layout.prefix,
        changes: changes.length,
        revision: this.#etcdRevision,
        because: isOther ? "a restore" : "the watch could not go on",
      });
      this.#options.onReload?.();
      this.#wake();
      this.#follow();
    } catch (error) {
      this.#options.log.warn("cannot read from etcd, trying again", {
        store: this.#options.layout.prefix,
        error: describeError(error),
      });
      this.#again(() => void this.#reload());
    }
  }

  #toCommit(changes: Change[]): Commit {
    return { revision: this.revision, changes };
  }

  #difference(records: readonly EtcdRecord[]): Change[] {
    const changes: Change[] = [];
    const there = new Set<string>();
    for (const record of records) {
      const { table, key } = record;
      there.add(`${table}\0${key}`);
      const before = this.get(table, key);
      if (before?.modRevision === record.modRevision) continue;
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
    this.#headRevision = loaded.headRevision;
    this.#etcdRevision = loaded.revision;
    this.#failures = 0;
  }

  #again(go: () => void): void {
    if (this.#isClosed) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(go, backoffMs(this.#failures++, RETRY_BASE_MS, RETRY_MAX_MS));
  }

  async #load(): Promise<Loaded> {
    const { layout } = this.#options;
    const format = await this.#loadFormat();
    const all: KeyValue[] = [];
    const end = prefixEnd(layout.prefix);
    let revision = 0;
    for (let key = layout.prefix; ; ) {
      const page = await this.#options.client.range({ key, end, limit: PAGE_KEYS, revision });
      revision ||= page.header.revision;
      for (const kv of page.kvs) all.push(kv);
      if (!page.more) break;
      key = `${page.kvs.at(-1)?.key ?? ""}\0`;
    }
    const loaded = { records: [] as EtcdRecord[], marks: new Map<string, TableMarks>(), headRevision: 0, revision };
    // As of the same revision as the records: a restore may have come in between.
    const now = all.find((kv) => kv.key === layout.format);
    const { generation, base } = now ? decodeFormat(now) : format.value;
    for (const kv of all) {
      const parsed = layout.parse(kv.key, generation);
      if (!parsed || parsed.type === "format") continue;
      if (parsed.type === "record") loaded.records.push(decodeRecord(kv, parsed.table, parsed.key, base));
      else if (parsed.type === "head") loaded.headRevision = kv.modRevision;
      else
        loaded.marks.set(parsed.table, {
          ...(loaded.marks.get(parsed.table) ?? NO_MARKS),
          [parsed.type]: kv.modRevision,
        });
    }
    const value = now ? decodeFormat(now) : format.value;
    const { modRevision: formatRevision, createRevision: founded } = now ?? format;
    return { ...loaded, format: value, formatRevision, founded };
  }

  /** Whoever comes first makes it. */
  async #loadFormat(): Promise<{ value: Format; modRevision: number; createRevision: number }> {
    const { client, layout, emptyRevision } = this.#options;
    const first: Format = { version: 1, generation: "0", base: emptyRevision };
    const { ranges } = await client.txn({
      compares: [{ key: layout.format, target: "version", is: "equal", value: 0 }],
      success: [
        { type: "put", key: layout.format, value: JSON.stringify(first) },
        { type: "range", key: layout.format },
      ],
      failure: [{ type: "range", key: layout.format }],
    });
    const kv = ranges[0]?.[0];
    if (!kv) throw new UnavailableError(`etcd has no ${layout.format} right after it was made`);
    return { value: decodeFormat(kv), modRevision: kv.modRevision, createRevision: kv.createRevision };
  }
}
