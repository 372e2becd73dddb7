/** Records in memory, table by table, and who is told of commits. What every store holds, whatever is underneath. */
import type { Commit, StoredRecord } from "./record.ts";
import { Table } from "./table.ts";

export class Records {
  readonly #tables = new Map<string, Table>();
  readonly #listeners = new Set<(commit: Commit) => void>();

  get<V = unknown>(table: string, key: string): StoredRecord<V> | undefined {
    return this.#tables.get(table)?.get(key) as StoredRecord<V> | undefined;
  }

  list<V = unknown>(table: string, prefix = ""): StoredRecord<V>[] {
    return (this.#tables.get(table)?.list(prefix) ?? []) as StoredRecord<V>[];
  }

  count(table: string): number {
    return this.#tables.get(table)?.size ?? 0;
  }

  tables(): Iterable<string> {
    return this.#tables.keys();
  }

  all(): StoredRecord[] {
    return [...this.#tables.values()].flatMap((table) => table.list(""));
  }

  /** Adds a record that nobody is told of, while a store is opened. */
  load(record: StoredRecord): void {
    this.#table(record.table).load(record);
  }

  /** Puts a record in the place of an equal one. */
  replace(record: StoredRecord): void {
    this.#table(record.table).set(record);
  }

  apply(commit: Commit): void {
    for (const { table, key, after } of commit.changes) {
      if (after) this.#table(table).set(after);
      else this.#table(table).delete(key);
    }
    for (const listener of this.#listeners) listener(commit);
  }

  subscribe(listener: (commit: Commit) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #table(name: string): Table {
    let table = this.#tables.get(name);
    if (!table) this.#tables.set(name, (table = new Table()));
    return table;
  }
}

/** Whether two versions of a record would be told apart by nobody. */
export function isSame(before: StoredRecord | undefined, record: StoredRecord): boolean {
  if (before?.modifyIndex !== record.modifyIndex || before.createIndex !== record.createIndex) return false;
  return JSON.stringify(before.value) === JSON.stringify(record.value);
}
