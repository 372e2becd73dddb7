/**
 * How a store lies in etcd's keys. Under one root, a name for each store ("catalog", "ca"):
 *
 *     <root>/<name>/format                  version, generation, and what is added to etcd's revisions
 *     <root>/<name>/head                    put by every commit: its revision is that of the newest one
 *     <root>/<name>/seq/<server>            put by every commit of one server: tells whether a commit that got no answer took place
 *     <root>/<name>/modified/<table>        put by every commit that changes the table
 *     <root>/<name>/deleted/<table>         put by every commit that deletes from it
 *     <root>/<name>/r/<generation>/<table>/<key>   the records
 *
 * A record's indexes are the revisions of its key, unless they are written beside its value.
 */
import { UnavailableError } from "@heddle/daemon";
import type { StoredRecord, Write } from "../record.ts";
import type { KeyValue } from "./messages.ts";

export const FORMAT_VERSION = 1;

/** Where the records are and how etcd's revisions become indexes. */
export interface Format {
  version: number;
  /** Changes with each restore, which writes all records anew and then changes over in one step. */
  generation: string;
  /** An index is etcd's revision and this. */
  base: number;
}

/** A record with the revision of its key, which commits are guarded by. */
export interface EtcdRecord<V = unknown> extends StoredRecord<V> {
  readonly modRevision: number;
}

/** Where one store's keys are. `root` and `name` have no slash at their ends. */
export class Layout {
  readonly prefix: string;
  readonly format: string;
  readonly head: string;

  constructor(root: string, name: string) {
    this.prefix = `${root}/${name}/`;
    this.format = `${this.prefix}format`;
    this.head = `${this.prefix}head`;
  }

  seq(server: string): string {
    return `${this.prefix}seq/${server}`;
  }

  modified(table: string): string {
    return `${this.prefix}modified/${table}`;
  }

  deleted(table: string): string {
    return `${this.prefix}deleted/${table}`;
  }

  records(generation: string): string {
    return `${this.prefix}r/${generation}/`;
  }

  record(generation: string, table: string, key: string): string {
    return `${this.prefix}r/${generation}/${table}/${key}`;
  }

  /** What a key of the store stands for; undefined for one of an older or coming generation. */
  parse(key: string, generation: string): Parsed | undefined {
    const name = key.slice(this.prefix.length);
    if (name.startsWith(`r/${generation}/`)) {
      const rest = name.slice(generation.length + 3);
      const slash = rest.indexOf("/");
      return { type: "record", table: rest.slice(0, slash), key: rest.slice(slash + 1) };
    }
    if (name === "head") return { type: "head" };
    if (name === "format") return { type: "format" };
    if (name.startsWith("modified/")) return { type: "modified", table: name.slice("modified/".length) };
    if (name.startsWith("deleted/")) return { type: "deleted", table: name.slice("deleted/".length) };
    return undefined;
  }
}

export type Parsed =
  | { type: "deleted" | "modified"; table: string }
  | { type: "format" }
  | { type: "head" }
  | { type: "record"; table: string; key: string };

interface Envelope {
  v: unknown;
  /** createIndex; that of this very write where it is not said. */
  c?: number;
  /** modifyIndex; that of this very write where it is not said. */
  m?: number;
}

/** `next` is the index that the commit was taken to get: a record that says so was made by it. */
export function encodeRecord(write: Write, before: StoredRecord | undefined, next: number): string {
  const created = write.createIndex ?? before?.createIndex;
  const envelope: Envelope = { v: write.value };
  if (created !== undefined && created !== next) envelope.c = created;
  if (write.modifyIndex !== undefined && write.modifyIndex !== next) envelope.m = write.modifyIndex;
  return JSON.stringify(envelope);
}

/** Throws UnavailableError, naming the key, where somebody else has written what is no record. */
export function decodeRecord(kv: KeyValue, table: string, key: string, base: number): EtcdRecord {
  const { v, c, m } = parseEnvelope(kv);
  const own = kv.modRevision + base;
  return { table, key, value: v, createIndex: c ?? own, modifyIndex: m ?? own, modRevision: kv.modRevision };
}

function parseEnvelope(kv: KeyValue): Envelope {
  try {
    return JSON.parse(kv.value.toString("utf8")) as Envelope;
  } catch (cause) {
    throw new UnavailableError(
      `the record ${kv.key} in etcd cannot be read, and nothing behind it until it is mended or deleted there`,
      { cause },
    );
  }
}

/** Throws UnavailableError where a newer heddle has written it. */
export function decodeFormat(kv: KeyValue): Format {
  const format = JSON.parse(kv.value.toString("utf8")) as Format;
  if (format.version > FORMAT_VERSION)
    throw new UnavailableError(
      `the data in etcd under ${kv.key} is of a newer version (format ${format.version}, this heddle knows ${FORMAT_VERSION}): start the newer heddle, or give another prefix`,
    );
  return format;
}
