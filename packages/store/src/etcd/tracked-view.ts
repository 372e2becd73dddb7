/**
 * A view that remembers what a command reads: the reads become the compares of its transaction, and the command can be run
 * again on exactly the same reads once its commit's index is known.
 */
import type { StoredRecord, View } from "../record.ts";
import type { Layout } from "./layout.ts";
import type { EtcdRecord } from "./layout.ts";
import { type Compare, prefixEnd } from "./messages.ts";

/** Lists up to this long are guarded record by record range; longer ones by their table, which costs etcd one key to look at. */
const MAX_GUARDED_RANGE = 64;

/** What is known of a table: etcd's revisions of its last change and its last deletion, 0 where there was none. */
export interface TableMarks {
  modified: number;
  deleted: number;
}

export interface Memory {
  /** The revision of etcd that memory is of. */
  readonly etcdRevision: number;
  readonly generation: string;
  get(table: string, key: string): EtcdRecord | undefined;
  list(table: string, prefix: string): EtcdRecord[];
  marks(table: string): TableMarks;
}

/** Thrown out of a command that reads what a command before it in the same transaction writes: it has to wait for the next. */
export class ReadsUnderWay extends Error {}

export class TrackedView implements View {
  readonly #memory: Memory;
  readonly #isUnderWay: (table: string, key: string, isPrefix: boolean) => boolean;
  readonly #gets = new Map<string, StoredRecord | undefined>();
  readonly #lists = new Map<string, StoredRecord[]>();
  readonly #guards: (() => Compare[])[] = [];
  #next: number;
  #hasUsedNext = false;

  constructor(
    memory: Memory,
    next: number,
    isUnderWay: (table: string, key: string, isPrefix: boolean) => boolean,
    layout: Layout,
  ) {
    this.#memory = memory;
    this.#next = next;
    this.#isUnderWay = isUnderWay;
    this.#layout = layout;
  }

  readonly #layout: Layout;

  get next(): number {
    this.#hasUsedNext = true;
    return this.#next;
  }

  /** Whether what the command came to may depend on the index of its commit. */
  get hasUsedNext(): boolean {
    return this.#hasUsedNext;
  }

  get hasRead(): boolean {
    return this.#guards.length > 0;
  }

  /** The index is another one than it was taken to be: from here on the same reads are answered with it. */
  replayAs(next: number): this {
    this.#next = next;
    return this;
  }

  get<V = unknown>(table: string, key: string): StoredRecord<V> | undefined {
    const id = `${table}\0${key}`;
    if (this.#gets.has(id)) return this.#gets.get(id) as StoredRecord<V> | undefined;
    if (this.#isUnderWay(table, key, false)) throw new ReadsUnderWay();
    const record = this.#memory.get(table, key);
    this.#gets.set(id, record);
    const guarded = this.#layout.record(this.#memory.generation, table, key);
    const value = record?.modRevision ?? 0;
    this.#guards.push(() => [{ key: guarded, target: "mod", is: "equal", value }]);
    return record as StoredRecord<V> | undefined;
  }

  list<V = unknown>(table: string, prefix = ""): StoredRecord<V>[] {
    const id = `${table}\0${prefix}`;
    const seen = this.#lists.get(id);
    if (seen) return seen as StoredRecord<V>[];
    if (this.#isUnderWay(table, prefix, true)) throw new ReadsUnderWay();
    const records = this.#memory.list(table, prefix);
    this.#lists.set(id, records);
    const { etcdRevision, generation } = this.#memory;
    const { modified, deleted } = this.#memory.marks(table);
    this.#guards.push(() =>
      prefix === "" || records.length > MAX_GUARDED_RANGE
        ? [{ key: this.#layout.modified(table), target: "mod", is: "equal", value: modified }]
        : this.#rangeGuard(this.#layout.record(generation, table, prefix), table, { etcdRevision, deleted }),
    );
    return records as StoredRecord<V>[];
  }

  /** What must hold for the reads to be true still. */
  guards(): Compare[] {
    return this.#guards.flatMap((guard) => guard());
  }

  // Nothing in the range is newer than memory; what was deleted from it would not be seen there.
  #rangeGuard(
    key: string,
    table: string,
    { etcdRevision, deleted }: { etcdRevision: number; deleted: number },
  ): Compare[] {
    return [
      { key, end: prefixEnd(key), target: "mod", is: "less", value: etcdRevision + 1 },
      { key: this.#layout.deleted(table), target: "mod", is: "equal", value: deleted },
    ];
  }
}
