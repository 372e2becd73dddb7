/** Reads a snapshot of Heddle's into records. Nothing of it is used before all of it was read and its sums are right. */
import type { Readable } from "node:stream";
import { InvalidArgumentError } from "@heddle/daemon";
import type { StoredRecord } from "../record.ts";
import { readArchive, type SnapshotMeta } from "./archive.ts";
import { FORMAT, FORMAT_VERSION } from "./write.ts";

const MAX_LINE_BYTES = 128 * 1024 * 1024; // the largest value there can be, as base64

export interface Snapshot {
  meta: SnapshotMeta;
  index: number;
  datacenter: string;
  records: StoredRecord[];
}

interface Head {
  index: number;
  datacenter: string;
  records: number;
}

/** Throws InvalidArgumentError where it is not a whole snapshot of a version that is known here. */
export async function readSnapshot(source: Readable): Promise<Snapshot> {
  let head: Head | undefined;
  const records: StoredRecord[] = [];
  const lines = lineReader((line) => {
    if (head) records.push(parseRecord(line, head));
    else head = parseHead(line);
  });
  const meta = await readArchive(source, (chunk) => lines.push(chunk));
  lines.end();
  if (!head || records.length !== head.records)
    throw problem(`state.bin holds ${records.length} records instead of ${head?.records ?? "some"}`);
  return { meta, index: head.index, datacenter: head.datacenter, records };
}

const problem = (text: string, cause?: unknown): InvalidArgumentError =>
  new InvalidArgumentError(`failed to read snapshot file: ${text}`, { status: 500, cause });

function lineReader(onLine: (line: string) => void) {
  let parts: Buffer[] = [];
  let length = 0;
  const take = (part: Buffer) => {
    length += part.length;
    if (length > MAX_LINE_BYTES) throw problem(`a line of state.bin is longer than ${MAX_LINE_BYTES} bytes`);
    parts.push(part);
  };
  return {
    push(chunk: Buffer) {
      let from = 0;
      for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
        take(chunk.subarray(from, at));
        onLine(Buffer.concat(parts).toString("utf8"));
        parts = [];
        length = 0;
        from = at + 1;
      }
      if (from < chunk.length) take(chunk.subarray(from));
    },
    end() {
      if (length > 0) throw problem("state.bin ends in the middle of a line");
    },
  };
}

function parseHead(line: string): Head {
  let head: Record<string, unknown> = {};
  try {
    head = JSON.parse(line) as Record<string, unknown>;
  } catch {
    // Consul's own state is no JSON.
  }
  if (head?.["format"] !== FORMAT)
    throw problem("its state is not Heddle's: snapshots of Consul can be inspected, but not restored here");
  const { version, index, datacenter, records } = head;
  if (version !== FORMAT_VERSION)
    throw problem(`it is of format version ${String(version)}, this heddle knows ${FORMAT_VERSION}`);
  if (!isIndex(index) || typeof datacenter !== "string" || !Number.isSafeInteger(records))
    throw problem("the first line of state.bin is not complete");
  return { index, datacenter, records: records as number };
}

const isIndex = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;

function parseRecord(line: string, { index }: Head): StoredRecord {
  let record: Partial<StoredRecord>;
  try {
    record = JSON.parse(line) as Partial<StoredRecord>;
  } catch (cause) {
    throw problem("a record of state.bin is not JSON", cause);
  }
  const { table, key, value, createIndex, modifyIndex } = record ?? {};
  const isComplete =
    typeof table === "string" && typeof key === "string" && typeof value === "object" && value !== null;
  if (!isComplete || !isIndex(createIndex) || !isIndex(modifyIndex) || createIndex > modifyIndex || modifyIndex > index)
    throw problem(`record ${String(table)} ${JSON.stringify(key)} of state.bin is not complete`);
  return { table, key, value, createIndex, modifyIndex };
}
