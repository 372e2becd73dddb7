/**
 * A restore: everything is written beside what there is, under a generation of its own, and then changed over to in one step. Memory
 * follows as with every other server's restore.
 */
import { randomBytes } from "node:crypto";
import type { CommandResult, StoredRecord, Write } from "../record.ts";
import { nested } from "./batch.ts";
import type { EtcdClient } from "./client.ts";
import type { Follower } from "./follower.ts";
import { encodeRecord, type Format, FORMAT_VERSION, type Layout } from "./layout.ts";
import { type Op, prefixEnd } from "./messages.ts";
import { HOLD_MS } from "./retry.ts";

const PART_BYTES = 512 * 1024;
const PART_OPS = 100;

export interface RestoreOptions {
  client: EtcdClient;
  layout: Layout;
  follower: Follower;
  retrying: <T>(call: () => Promise<T>) => Promise<T>;
}

/** `also` are written in place of what the snapshot has of them; all indexes go on above `index`. */
export async function restore(
  { client, layout, follower, retrying }: RestoreOptions,
  { records, index, also }: { records: readonly StoredRecord[]; index: number; also: readonly Write[] },
): Promise<CommandResult<void>> {
  const generation = randomBytes(6).toString("hex");
  const toPut = (write: Write, next: number): Op => ({
    ...{ type: "put", key: layout.record(generation, write.table, write.key) },
    value: encodeRecord(write, undefined, next),
  });
  const replaced = new Set(also.map(({ table, key }) => `${table}\0${key}`));
  const kept = records.filter(({ table, key }) => !replaced.has(`${table}\0${key}`));
  // No index is that of "this commit": all of them are written out.
  for (const ops of inParts(kept.map((record) => toPut(record, -1))))
    await retrying(() => client.txn({ compares: [], success: ops }));
  const old = follower.format;
  const base = Math.max(old.base, index + 1 - follower.etcdRevision);
  const format: Format = { version: FORMAT_VERSION, generation, base };
  const tables = new Set([...kept, ...also, ...follower.records.all()].map(({ table }) => table));
  const { header } = await retrying(() =>
    client.txn({
      compares: [],
      success: nested([
        ...also.filter(({ value }) => value !== undefined).map((write) => toPut(write, -1)),
        { type: "put", key: layout.format, value: JSON.stringify(format) },
        { type: "put", key: layout.head, value: `restore/${generation}` },
        ...[...tables].flatMap((table): Op[] => [
          { type: "put", key: layout.modified(table), value: "" },
          { type: "put", key: layout.deleted(table), value: "" },
        ]),
      ]),
    }),
  );
  await follower.reached(header.revision, HOLD_MS);
  const gone = layout.records(old.generation);
  await retrying(() => client.txn({ compares: [], success: [{ type: "delete", key: gone, end: prefixEnd(gone) }] }));
  return { result: undefined, revision: follower.toIndex(header.revision) };
}

function* inParts(ops: readonly Op[]): Generator<Op[]> {
  let part: Op[] = [];
  let bytes = 0;
  for (const op of ops) {
    const size = op.type === "put" ? op.key.length + op.value.length : 0;
    if (part.length > 0 && (part.length >= PART_OPS || bytes + size > PART_BYTES)) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(op);
    bytes += size;
  }
  if (part.length > 0) yield part;
}
