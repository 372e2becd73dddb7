/**
 * The store of one process: it alone commits. Commands run against memory plus the commits still under way, so a
 * compare-and-set is exact while the disk is awaited once for many.
 */
import { randomUUID } from "node:crypto";
import { aloneCluster, type Cluster, type ServerInfo } from "./cluster.ts";
import { isSame, Records } from "./records.ts";
import type { Backend, Change, Command, CommandResult, Commit, Contact } from "./record.ts";
import type { Store, StoredRecord, View, Write } from "./record.ts";

const ALWAYS_FRESH: Contact = { lastContactMs: 0, knowsLeader: true };
const NO_EVENTS: ReadonlyMap<string, number> = new Map();

interface Pending {
  commit: Commit;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export class LocalStore implements Store {
  readonly #backend: Backend;
  readonly instance = randomUUID();
  readonly events = NO_EVENTS;
  readonly #records = new Records();
  /** What the commits under way will leave: the newest record, or undefined where they delete it. */
  readonly #overlay = new Map<string, Map<string, { revision: number; record: StoredRecord | undefined }>>();
  readonly #queue: Pending[] = [];
  #revision = 0;
  #wasEmpty = true;
  #next = 1;
  #lastPending: Promise<void> | undefined;
  #flushing = false;
  #closed = false;

  private constructor(backend: Backend) {
    this.#backend = backend;
  }

  /**
   * Reads everything from `backend` into memory. The caller closes the store, which closes the backend. An empty store is at
   * `emptyRevision`, at least 1: answers from before the first commit must differ from those after.
   */
  static async open(backend: Backend, emptyRevision = 1): Promise<LocalStore> {
    const store = new LocalStore(backend);
    const revision = await backend.load((record) => store.#records.load(record));
    store.#wasEmpty = revision === 0;
    store.#revision = Math.max(emptyRevision, revision);
    store.#next = store.#revision + 1;
    return store;
  }

  get wasEmpty(): boolean {
    return this.#wasEmpty;
  }

  get revision(): number {
    return this.#revision;
  }

  get next(): number {
    return this.#next;
  }

  get<V = unknown>(table: string, key: string): StoredRecord<V> | undefined {
    return this.#records.get<V>(table, key);
  }

  list<V = unknown>(table: string, prefix = ""): StoredRecord<V>[] {
    return this.#records.list<V>(table, prefix);
  }

  count(table: string): number {
    return this.#records.count(table);
  }

  subscribe(listener: (commit: Commit) => void): () => void {
    return this.#records.subscribe(listener);
  }

  async run<R>(command: Command<R>): Promise<CommandResult<R>> {
    if (this.#closed) throw new Error("the store is closed");
    const { writes, result } = command(this.#flushing ? this.#pendingView : this);
    if (writes.length === 0) {
      // It may have read what is not durable yet: the answer waits for that.
      if (this.#flushing) await this.#lastPending;
      return { result, revision: this.#revision };
    }
    const commit = this.#toCommit(writes);
    if (this.#backend.append === undefined) this.#apply(commit);
    else await this.#enqueue(commit);
    return { result, revision: commit.revision };
  }

  snapshot(): { revision: number; records: StoredRecord[] } {
    return { revision: this.#revision, records: this.#records.all() };
  }

  async restore(
    records: readonly StoredRecord[],
    index: number,
    also: readonly Write[] = [],
  ): Promise<CommandResult<void>> {
    this.#next = Math.max(this.#next, index + 1);
    return this.run((view) => {
      const kept = new Set(records.map(({ table, key }) => `${table}\0${key}`));
      const tables = new Set([...this.#records.tables(), ...this.#overlay.keys()]);
      const gone = [...tables].flatMap((table) => view.list(table).filter((r) => !kept.has(`${table}\0${r.key}`)));
      const writes = records.filter((record) => !isSame(view.get(record.table, record.key), record));
      const removals = gone.map(({ table, key }): Write => ({ table, key }));
      return { writes: [...removals, ...writes, ...also], result: undefined };
    });
  }

  catchUp(): Promise<void> {
    return Promise.resolve();
  }

  join(self: ServerInfo): Promise<Cluster> {
    return Promise.resolve(aloneCluster(self));
  }

  contact(): Contact {
    return ALWAYS_FRESH;
  }

  hasStarted(): void {} // it waits for nobody

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#lastPending?.catch(() => {});
    await this.#backend.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #pendingView: View = createPendingView(this, (table) => this.#overlay.get(table));

  #toCommit(writes: Write[]): Commit {
    const revision = this.#next++;
    const changes = new Map<string, Change>();
    for (const { table, key, value, createIndex, modifyIndex } of writes) {
      const id = `${table}\0${key}`;
      const before = changes.has(id) ? changes.get(id)?.before : this.#pendingView.get(table, key);
      const after =
        value === undefined
          ? undefined
          : {
              table,
              key,
              value,
              createIndex: createIndex ?? before?.createIndex ?? revision,
              modifyIndex: modifyIndex ?? revision,
            };
      if (before || after) changes.set(id, { table, key, before, after });
      else changes.delete(id); // made and taken away by the same command
    }
    return { revision, changes: [...changes.values()] };
  }

  #enqueue(commit: Commit): Promise<void> {
    for (const { table, key, after } of commit.changes)
      this.#overlayOf(table).set(key, { revision: commit.revision, record: after });
    const done = new Promise<void>((resolve, reject) => this.#queue.push({ commit, resolve, reject }));
    this.#lastPending = done;
    done.catch(() => {});
    if (!this.#flushing) void this.#flush();
    return done;
  }

  /** Appends what has queued up, batch after batch, until nothing is left. */
  async #flush(): Promise<void> {
    this.#flushing = true;
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0);
      try {
        await this.#backend.append?.(batch.map((p) => p.commit));
      } catch (error) {
        // Whatever stands behind the failed batch may have been decided on it: all of it is refused.
        const refused = [...batch, ...this.#queue.splice(0)];
        this.#overlay.clear();
        this.#next = this.#revision + 1;
        for (const p of refused) p.reject(error);
        continue;
      }
      for (const { commit, resolve } of batch) {
        this.#settle(commit);
        this.#apply(commit);
        resolve();
      }
    }
    this.#flushing = false;
  }

  #settle(commit: Commit): void {
    for (const { table, key } of commit.changes) {
      const pending = this.#overlay.get(table);
      if (pending?.get(key)?.revision === commit.revision) pending.delete(key);
    }
  }

  #apply(commit: Commit): void {
    this.#revision = commit.revision;
    this.#records.apply(commit);
  }

  #overlayOf(table: string) {
    let pending = this.#overlay.get(table);
    if (!pending) this.#overlay.set(table, (pending = new Map()));
    return pending;
  }
}

type Overlay = ReadonlyMap<string, { record: StoredRecord | undefined }>;

/** The records as the commits under way will leave them. */
function createPendingView(store: View, overlayOf: (table: string) => Overlay | undefined): View {
  return {
    get next() {
      return store.next;
    },
    get<V>(table: string, key: string) {
      const pending = overlayOf(table)?.get(key);
      return pending ? (pending.record as StoredRecord<V> | undefined) : store.get<V>(table, key);
    },
    list<V>(table: string, prefix = "") {
      const pending = overlayOf(table);
      const stored = store.list<V>(table, prefix);
      if (!pending || pending.size === 0) return stored;
      const merged = stored.filter((r) => !pending.has(r.key));
      for (const [key, { record }] of pending)
        if (record && key.startsWith(prefix)) merged.push(record as StoredRecord<V>);
      return merged.sort((a, b) => (a.key < b.key ? -1 : 1));
    },
  };
}
