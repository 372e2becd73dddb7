/**
 * A view with writes of its own on top: what a command that has several steps reads, so that each step sees those before it.
 * Nothing is changed underneath; `writes` is what all steps together come to.
 */
import type { StoredRecord, View, Write } from "./record.ts";

export class Draft implements View {
  readonly #view: View;
  readonly #written = new Map<string, Map<string, StoredRecord | undefined>>();

  constructor(view: View) {
    this.#view = view;
  }

  get next(): number {
    return this.#view.next;
  }

  get<V = unknown>(table: string, key: string): StoredRecord<V> | undefined {
    const written = this.#written.get(table);
    return written?.has(key) ? (written.get(key) as StoredRecord<V> | undefined) : this.#view.get<V>(table, key);
  }

  list<V = unknown>(table: string, prefix = ""): StoredRecord<V>[] {
    const stored = this.#view.list<V>(table, prefix);
    const written = this.#written.get(table);
    if (!written) return stored;
    const merged = stored.filter((r) => !written.has(r.key));
    for (const [key, record] of written) {
      if (record && key.startsWith(prefix)) merged.push(record as StoredRecord<V>);
    }
    return merged.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** Puts the writes of one step on top. */
  apply(writes: readonly Write[]): void {
    for (const { table, key, value } of writes) {
      const before = this.get(table, key);
      let written = this.#written.get(table);
      if (!written) this.#written.set(table, (written = new Map()));
      written.set(
        key,
        value === undefined
          ? undefined
          : { table, key, value, createIndex: before?.createIndex ?? this.next, modifyIndex: this.next },
      );
    }
  }

  /** Each record once, as the last step left it. */
  writes(): Write[] {
    return [...this.#written].flatMap(([table, records]) =>
      [...records].map(([key, record]) =>
        record ? { table, key, value: record.value, createIndex: record.createIndex } : { table, key },
      ),
    );
  }
}
