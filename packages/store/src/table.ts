/** One table in memory: a map, and its keys in order for prefix reads. */
import type { StoredRecord } from "./record.ts";

export class Table {
  readonly #records = new Map<string, StoredRecord>();
  #keys: string[] = [];
  #sorted = true;

  get size(): number {
    return this.#records.size;
  }

  get(key: string): StoredRecord | undefined {
    return this.#records.get(key);
  }

  set(record: StoredRecord): void {
    const { key } = record;
    if (!this.#records.has(key)) {
      const last = this.#keys.at(-1);
      if (last === undefined || last < key || !this.#sorted) this.#keys.push(key);
      else this.#keys.splice(lowerBound(this.#keys, key), 0, key);
    }
    this.#records.set(key, record);
  }

  /** Adds without keeping order, for loading; the first read sorts. */
  load(record: StoredRecord): void {
    this.#records.set(record.key, record);
    this.#keys.push(record.key);
    this.#sorted = false;
  }

  delete(key: string): void {
    if (!this.#records.delete(key)) return;
    this.#sort();
    this.#keys.splice(lowerBound(this.#keys, key), 1);
  }

  list(prefix: string): StoredRecord[] {
    this.#sort();
    const found: StoredRecord[] = [];
    for (let i = prefix === "" ? 0 : lowerBound(this.#keys, prefix); i < this.#keys.length; i++) {
      const key = this.#keys[i] as string;
      if (!key.startsWith(prefix)) break;
      found.push(this.#records.get(key) as StoredRecord);
    }
    return found;
  }

  #sort(): void {
    if (this.#sorted) return;
    this.#keys.sort((a, b) => (a < b ? -1 : 1));
    this.#sorted = true;
  }
}

/** The first position in a sorted list whose key is not below `key`. */
function lowerBound(keys: string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
