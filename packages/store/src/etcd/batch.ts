/** What has queued up becomes one transaction: as many commands as fit and do not depend on each other. */
import { TooLargeError } from "@heddle/daemon";
import type { Command, View, Write } from "../record.ts";
import { encodeRecord, type Layout } from "./layout.ts";
import type { Compare, Op } from "./messages.ts";
import { type Memory, ReadsUnderWay, TrackedView } from "./tracked-view.ts";

/** etcd's own --max-request-bytes is 1.5 MiB; a part is kept back for what stands around the values. */
const MAX_BYTES = 1_400 * 1024;
/** Commands are not put together past this; one alone may be larger. */
const BATCH_BYTES = 512 * 1024;
/**
 * etcd's --max-txn-ops is for the compares of a transaction, and for its operations. A transaction within it may have as many as
 * the outer one has left, counted by the larger of the two: three levels of a third each hold 74,000 operations.
 */
const MAX_TXN_OPS = 128;
const OPS_PER_LEVEL = 42;
/** What stands around the commands' own: their generation, the newest commit, this server's last one. */
const OWN_OPS = 2;
/** Commands are put together as long as all of it is one level. */
const BATCH_OPS = 100;
const OP_OVERHEAD_BYTES = 32;

export interface BatchMemory extends Memory {
  /** The index that the next commit is taken to get. */
  readonly next: number;
  /** etcd's revision of the newest commit in memory. */
  readonly headRevision: number;
}

/** A command that waits for its commit. */
export interface Waiting {
  command: Command<unknown>;
  /** A condition of its own beside what it reads; see Leadership. */
  fence: Compare | undefined;
  resolve: (done: { result: unknown; revision: number }) => void;
  reject: (error: unknown) => void;
  /** When it is given up, in milliseconds of the monotonic clock. */
  deadline: number;
  /** How often somebody else's commit came first. */
  conflicts: number;
}

/** What one command came to. */
export interface Outcome {
  waiting: Waiting;
  view: TrackedView;
  /** Undefined where it refused: `refusal` then says how. */
  result: unknown;
  refusal: unknown;
  hasRefused: boolean;
}

export interface Batch {
  outcomes: Outcome[];
  compares: Compare[];
  /** None where nothing is written: the transaction then only asks whether the reads are true. */
  ops: Op[];
}

/** Takes commands off the front of `queue`; those that refuse without having read anything are told at once. */
export function takeBatch(queue: Waiting[], memory: BatchMemory, layout: Layout): Batch {
  const written = new Map<string, Set<string>>();
  const compares = new Map<string, Compare>();
  const ops: Op[] = [];
  const outcomes: Outcome[] = [];
  const touched = { modified: new Set<string>(), deleted: new Set<string>() };
  let bytes = 0;
  const isUnderWay = (table: string, key: string, isPrefix: boolean) => {
    const keys = written.get(table);
    if (!keys) return false;
    return isPrefix ? [...keys].some((k) => k.startsWith(key)) : keys.has(key);
  };
  while (queue.length > 0) {
    const waiting = queue[0] as Waiting;
    const view = new TrackedView(memory, memory.next, isUnderWay, layout);
    let writes: Write[] = [];
    let encoded: Op[] = [];
    let outcome: Outcome;
    try {
      const done = waiting.command(view);
      writes = lastOf(done.writes);
      encoded = encodeWrites(writes, view, memory, layout);
      outcome = { waiting, view, result: done.result, refusal: undefined, hasRefused: false };
    } catch (error) {
      if (error instanceof ReadsUnderWay) break;
      outcome = { waiting, view, result: undefined, refusal: error, hasRefused: true };
    }
    const guards = view.guards();
    if (waiting.fence) guards.push(waiting.fence);
    const more = encoded.reduce((sum, op) => sum + sizeOf(op), 0);
    const isFull = bytes + more > BATCH_BYTES || ops.length + encoded.length > BATCH_OPS;
    if (outcomes.length > 0 && (isFull || compares.size + guards.length > MAX_TXN_OPS - OWN_OPS)) break;
    queue.shift();
    if (more > MAX_BYTES) {
      waiting.reject(new TooLargeError(tooLarge(encoded.length, more)));
      continue;
    }
    if (outcome.hasRefused && !view.hasRead) {
      waiting.reject(outcome.refusal);
      continue;
    }
    outcomes.push(outcome);
    bytes += more;
    ops.push(...encoded);
    for (const guard of guards) compares.set(`${guard.key}\0${String(guard.end)}`, guard);
    for (const { table, key, value } of writes) {
      let keys = written.get(table);
      if (!keys) written.set(table, (keys = new Set()));
      keys.add(key);
      touched.modified.add(table);
      if (value === undefined) touched.deleted.add(table);
    }
  }
  for (const table of touched.modified) ops.push({ type: "put", key: layout.modified(table), value: "" });
  for (const table of touched.deleted) ops.push({ type: "put", key: layout.deleted(table), value: "" });
  return { outcomes, compares: reduce([...compares.values()], ops.length, { memory, layout }), ops };
}

/** Ops in transactions within the transaction where they are too many for one. All are one revision of etcd. */
export function nested(ops: readonly Op[]): Op[] {
  let level = [...ops];
  if (level.length <= MAX_TXN_OPS) return level;
  while (level.length > OPS_PER_LEVEL) {
    const groups: Op[] = [];
    for (let at = 0; at < level.length; at += OPS_PER_LEVEL)
      groups.push({ type: "txn", ops: level.slice(at, at + OPS_PER_LEVEL) });
    level = groups;
  }
  return level;
}

// More conditions than etcd takes: that nobody has committed anything is the one that holds them all.
function reduce(
  compares: Compare[],
  ops: number,
  { memory, layout }: { memory: BatchMemory; layout: Layout },
): Compare[] {
  const room = ops + OWN_OPS > MAX_TXN_OPS ? OPS_PER_LEVEL : MAX_TXN_OPS;
  if (compares.length <= room - OWN_OPS) return compares;
  const own = compares.filter(({ key }) => !key.startsWith(layout.prefix));
  return [...own, { key: layout.head, target: "mod", is: "equal", value: memory.headRevision }];
}

/** Of several writes of one record the last counts. */
function lastOf(writes: readonly Write[]): Write[] {
  const last = new Map(writes.map((write) => [`${write.table}\0${write.key}`, write]));
  return [...last.values()];
}

function encodeWrites(writes: readonly Write[], view: View, memory: Memory & { next: number }, layout: Layout): Op[] {
  return writes.flatMap((write): Op[] => {
    // A read like the command's own: what was there decides the createIndex.
    const before = view.get(write.table, write.key);
    const key = layout.record(memory.generation, write.table, write.key);
    if (write.value !== undefined) return [{ type: "put", key, value: encodeRecord(write, before, memory.next) }];
    return before ? [{ type: "delete", key }] : [];
  });
}

function sizeOf(op: Op): number {
  if (op.type === "put") return op.key.length + op.value.length + OP_OVERHEAD_BYTES;
  return op.type === "delete" ? op.key.length + OP_OVERHEAD_BYTES : 0;
}

const tooLarge = (count: number, bytes: number): string =>
  `the write is of ${count} records and ${bytes} bytes: etcd takes ${MAX_BYTES} bytes in one transaction; write less at once`;
