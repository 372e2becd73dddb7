/** The vocabulary of the store: records, writes, commands and commits (docs/architecture.md, "State"). */

import type { Cluster, Fence, ServerInfo } from "./cluster.ts";

/** One stored fact. Indexes are store revisions: when it was created, when it last changed. */
export interface StoredRecord<V = unknown> {
  readonly table: string;
  readonly key: string;
  readonly value: V;
  readonly createIndex: number;
  readonly modifyIndex: number;
}

/** One change: `value` undefined deletes the record. Indexes are the commit's unless they are given (a restore's are). */
export interface Write {
  table: string;
  key: string;
  value?: unknown;
  createIndex?: number;
  modifyIndex?: number;
}

/** What one record was before a commit and is after it; at least one of the two is there. */
export interface Change {
  readonly table: string;
  readonly key: string;
  readonly before: StoredRecord | undefined;
  readonly after: StoredRecord | undefined;
}

/** Changes that became durable in one atomic step; `revision` is what `X-Consul-Index` shows. */
export interface Commit {
  readonly revision: number;
  readonly changes: readonly Change[];
}

/** What a command may read: the records as they will be once every commit under way is durable. */
export interface View {
  /** The revision that a command run on this view will commit as. */
  readonly next: number;
  get<V = unknown>(table: string, key: string): StoredRecord<V> | undefined;
  /** Records whose key starts with `prefix`, in key order. */
  list<V = unknown>(table: string, prefix?: string): StoredRecord<V>[];
}

/**
 * A write request as a pure function of a view: it returns the writes and the result, or throws its refusal. It may be run
 * again, so it must not change anything itself.
 */
export type Command<R> = (view: View) => { writes: Write[]; result: R };

export interface CommandResult<R> {
  result: R;
  /** The revision of the command's commit, or the current one where it wrote nothing. */
  revision: number;
}

/** How fresh a store's memory is. */
export interface Contact {
  /** Since memory was known to hold every commit there was; 0 where nobody else commits. */
  lastContactMs: number;
  /** False where no commit can be made just now. */
  knowsLeader: boolean;
}

export interface RunOptions {
  /** Of the store's cluster: the commit is refused with FencedError where this does not hold any more. */
  fence?: Fence | undefined;
}

/** Every record in memory, changed only by applying durable commits in revision order; the caller closes it. */
export interface Store extends View, AsyncDisposable {
  /** Equal for as long as indexes go on: of this life of a process that is alone, of the mesh where servers share it. */
  readonly instance: string;
  /** True where nothing had ever been written when the store was opened. */
  readonly wasEmpty: boolean;
  /** The revision of the last commit that is in memory. */
  readonly revision: number;
  count(table: string): number;
  /** Called with each commit once it is durable and in memory. */
  subscribe(listener: (commit: Commit) => void): () => void;
  /** Runs a command; resolves when its commit is durable and in memory. Rejects with the command's own refusal. */
  run<R>(command: Command<R>, options?: RunOptions): Promise<CommandResult<R>>;
  /** Every durable record as of now: commits that follow leave the list as it is. */
  snapshot(): { revision: number; records: StoredRecord[] };
  /**
   * Makes the records all there are, in one commit; they keep their indexes, and what is the same already is not touched.
   * The revision never falls: it goes past `index`, the one that they are of. The writes of `also` are part of the commit.
   */
  restore(records: readonly StoredRecord[], index: number, also?: readonly Write[]): Promise<CommandResult<void>>;
  /** Resolves when memory holds every commit, anybody's, that was durable when this was called. */
  catchUp(): Promise<void>;
  contact(): Contact;
  /** The server has started: commands that etcd does not take fail after some seconds, and no longer wait for it as the start does. */
  hasStarted(): void;
  /** Makes this server one of those that share the store, until the store is closed. */
  join(self: ServerInfo): Promise<Cluster>;
  /** How often it happened that…, by a name for metrics: "conflict", "retry". */
  readonly events: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

/** Where a local store's commits become durable. SQLite and memory differ in one file each. */
export interface Backend {
  /** Calls `each` for every record and resolves to the last revision. */
  load(each: (record: StoredRecord) => void): Promise<number>;
  /**
   * Makes commits durable, in order, all or none; resolves when they are. Absent where nothing is kept. Throws
   * UnavailableError when there is no room; nothing of the batch is then kept.
   */
  append?(commits: readonly Commit[]): Promise<void>;
  close(): Promise<void>;
}
