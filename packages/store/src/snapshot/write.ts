/**
 * Writes a snapshot (docs/snapshot-format.md): a tar of meta.json, state.bin and SHA256SUMS, which Consul's own command
 * verifies, too. The records are written out as they are needed, twice: a tar says how long a file is before its bytes.
 */
import { createHash, randomUUID } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { StoredRecord } from "../record.ts";
import { tarEnd, tarHeader, tarPadding } from "./tar.ts";

export const FORMAT = "heddle-snapshot";
export const FORMAT_VERSION = 1;
// Between two chunks other requests have their turn.
const CHUNK_BYTES = 256 * 1024;

export interface SnapshotSource {
  /** The revision that the records are of. */
  index: number;
  datacenter: string;
  records: readonly StoredRecord[];
  now: number;
}

/** The bytes of the archive, before compression. */
export async function* writeSnapshot(source: SnapshotSource): AsyncGenerator<Buffer, void, void> {
  const { index, now } = source;
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of stateChunks(source)) {
    hash.update(chunk);
    size += chunk.length;
  }
  const meta = Buffer.from(`${JSON.stringify(metaOf(index, size, now))}\n`);
  const sums = Buffer.from(
    `${createHash("sha256").update(meta).digest("hex")}  meta.json\n${hash.digest("hex")}  state.bin\n`,
  );
  yield Buffer.concat([tarHeader("meta.json", meta.length, now), meta, tarPadding(meta.length)]);
  yield tarHeader("state.bin", size, now);
  yield* stateChunks(source);
  yield Buffer.concat([tarPadding(size), tarHeader("SHA256SUMS", sums.length, now), sums, tarPadding(sums.length)]);
  yield tarEnd();
}

// Consul's servers restore version 1 only, and refuse any other before they touch what they hold: ours would end them.
const ARCHIVE_VERSION = 1000 + FORMAT_VERSION;

// The fields that Consul's command reads. There is no Raft here: one term, and no servers.
const metaOf = (index: number, size: number, now: number) => ({
  Version: ARCHIVE_VERSION,
  ID: `1-${index}-${now}-${randomUUID().slice(0, 8)}`,
  Index: index,
  Term: 1,
  Peers: null,
  Configuration: { Servers: [] },
  ConfigurationIndex: 1,
  Size: size,
});

async function* stateChunks({ index, datacenter, records, now }: SnapshotSource): AsyncGenerator<Buffer, void, void> {
  const created = new Date(now).toISOString();
  const head = { format: FORMAT, version: FORMAT_VERSION, created, datacenter, index, records: records.length };
  let lines = [`${JSON.stringify(head)}\n`];
  let length = 0;
  for (const { table, key, value, createIndex, modifyIndex } of records) {
    const line = `${JSON.stringify({ table, key, value, createIndex, modifyIndex })}\n`;
    lines.push(line);
    length += line.length;
    if (length < CHUNK_BYTES) continue;
    yield Buffer.from(lines.join(""));
    lines = [];
    length = 0;
    await nextTurn();
  }
  if (lines.length > 0) yield Buffer.from(lines.join(""));
}
