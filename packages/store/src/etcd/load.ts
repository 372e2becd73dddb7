/** Reads one store out of etcd, all of it as of one revision; makes it where there is none yet. */
import { UnavailableError } from "@heddle/daemon";
import type { EtcdClient } from "./client.ts";
import { decodeFormat, decodeRecord, type EtcdRecord, type Format, FORMAT_VERSION, type Layout } from "./layout.ts";
import { type KeyValue, prefixEnd } from "./messages.ts";
import type { TableMarks } from "./tracked-view.ts";

const PAGE_KEYS = 5_000; // some MiB
export const NO_MARKS: TableMarks = { modified: 0, deleted: 0 };

/** The newest commit: etcd's revision of it, 0 where there is none, and the text that no other commit has. */
export interface Head {
  revision: number;
  text: string;
}

export interface Loaded {
  /** The revisions of the key that says the format: of its last change, and of its making. */
  formatRevision: number;
  founded: number;
  format: Format;
  records: EtcdRecord[];
  marks: Map<string, TableMarks>;
  head: Head;
  /** etcd's revision that all of this is of. */
  revision: number;
}

export interface LoadOptions {
  client: EtcdClient;
  layout: Layout;
  /** The index of a store without a commit is at least this. */
  emptyRevision: number;
}

export async function loadStore({ client, layout, emptyRevision }: LoadOptions): Promise<Loaded> {
  const made = await loadFormat({ client, layout, emptyRevision });
  const all: KeyValue[] = [];
  const end = prefixEnd(layout.prefix);
  let revision = 0;
  for (let key = layout.prefix; ; ) {
    const page = await client.range({ key, end, limit: PAGE_KEYS, revision });
    revision ||= page.header.revision;
    for (const kv of page.kvs) all.push(kv);
    if (!page.more) break;
    key = `${page.kvs.at(-1)?.key ?? ""}\0`;
  }
  // As of the same revision as the records: a restore may have come in between.
  const kv = all.find(({ key }) => key === layout.format) ?? made;
  const format = decodeFormat(kv);
  const loaded: Loaded = {
    ...{ format, formatRevision: kv.modRevision, founded: kv.createRevision, revision },
    ...{ records: [], marks: new Map(), head: { revision: 0, text: "" } },
  };
  for (const one of all) take(one, loaded, layout);
  return loaded;
}

function take(kv: KeyValue, { format, records, marks, head }: Loaded, layout: Layout): void {
  const parsed = layout.parse(kv.key, format.generation);
  if (!parsed || parsed.type === "format") return;
  if (parsed.type === "record") records.push(decodeRecord(kv, parsed.table, parsed.key, format.base));
  else if (parsed.type === "head") Object.assign(head, toHead(kv));
  else marks.set(parsed.table, { ...(marks.get(parsed.table) ?? NO_MARKS), [parsed.type]: kv.modRevision });
}

export const toHead = (kv: KeyValue): Head => ({ revision: kv.modRevision, text: kv.value.toString("utf8") });

/**
 * Has the indexes of a store that was read begin above `index`, which have been given out for what etcd has lost. Whoever comes first
 * does it; false where somebody else has.
 */
export async function raiseIndexes({ client, layout }: LoadOptions, loaded: Loaded, index: number): Promise<boolean> {
  const format: Format = { ...loaded.format, base: index + 1 - loaded.head.revision };
  const { succeeded } = await client.txn({
    compares: [{ key: layout.format, target: "mod", is: "equal", value: loaded.formatRevision }],
    success: [{ type: "put", key: layout.format, value: JSON.stringify(format) }],
  });
  return succeeded;
}

/** Whoever comes first makes it. */
async function loadFormat({ client, layout, emptyRevision }: LoadOptions): Promise<KeyValue> {
  const first: Format = { version: FORMAT_VERSION, generation: "0", base: emptyRevision };
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
  decodeFormat(kv); // a newer one is refused before anything is read
  return kv;
}
