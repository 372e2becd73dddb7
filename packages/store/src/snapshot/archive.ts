/** Reads a snapshot's archive, Heddle's or Consul's, as it comes in, and checks it against its own sums. */
import { createHash, type Hash } from "node:crypto";
import { pipeline, type Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { InvalidArgumentError } from "@heddle/daemon";
import { BLOCK, parseTarHeader } from "./tar.ts";

export interface SnapshotMeta {
  ID: string;
  Size: number;
  Index: number;
  Term: number;
  Version: number;
}

const SMALL_FILE_BYTES = 1024 * 1024; // meta.json and SHA256SUMS
const MAX_STATE_BYTES = 2 * 1024 ** 3;

const FILES = new Set(["meta.json", "state.bin", "SHA256SUMS"]);

/**
 * Reads a compressed archive to its end. `onState` is given the bytes of state.bin, before they are known to be right.
 * Throws InvalidArgumentError where the archive is cut short, is not one or does not match its sums.
 */
export async function readArchive(source: Readable, onState: (chunk: Buffer) => void): Promise<SnapshotMeta> {
  const files = new Map<string, { hash: Hash; small: Buffer[] }>();
  let meta: SnapshotMeta | undefined;
  try {
    for await (const { name, chunk } of tarFiles(gunzip(source))) {
      if (!FILES.has(name)) throw new TypeError(`unexpected file ${JSON.stringify(name.slice(0, 100))} in snapshot`);
      let file = files.get(name);
      if (!file) files.set(name, (file = { hash: createHash("sha256"), small: [] }));
      file.hash.update(chunk);
      if (name === "state.bin") onState(chunk);
      else file.small.push(chunk);
    }
    for (const name of FILES) if (!files.has(name)) throw new TypeError(`it holds no ${name}`);
    const text = (name: string) => Buffer.concat(files.get(name)?.small ?? []).toString("utf8");
    checkSums(text("SHA256SUMS"), files);
    meta = parseMeta(text("meta.json"));
  } catch (cause) {
    if (cause instanceof InvalidArgumentError) throw cause;
    throw new InvalidArgumentError(`failed to read snapshot file: ${(cause as Error).message}`, { status: 500, cause });
  }
  return meta;
}

function checkSums(sums: string, files: Map<string, { hash: Hash }>): void {
  for (const name of ["meta.json", "state.bin"]) {
    const line = sums.split("\n").find((l) => l.endsWith(` ${name}`));
    if (!line) throw new TypeError(`list of hashes has no ${name}`);
    if (line.slice(0, 64) !== files.get(name)?.hash.digest("hex"))
      throw new TypeError(`hash check failed for "${name}"`);
  }
}

function parseMeta(text: string): SnapshotMeta {
  const meta = JSON.parse(text) as Partial<SnapshotMeta> | null;
  const count = (value: unknown): number =>
    Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : 0;
  return {
    ID: typeof meta?.ID === "string" ? meta.ID : "",
    Size: count(meta?.Size),
    Index: count(meta?.Index),
    Term: count(meta?.Term),
    Version: count(meta?.Version),
  };
}

async function* gunzip(source: Readable): AsyncGenerator<Buffer, void, void> {
  const plain = createGunzip();
  pipeline(source, plain, () => {}); // errors come out of the loop below
  let isEmpty = true;
  try {
    for await (const chunk of plain as AsyncIterable<Buffer>) {
      isEmpty = false;
      yield chunk;
    }
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === "Z_DATA_ERROR" && isEmpty ? "gzip: invalid header" : message;
    throw new InvalidArgumentError(`failed to decompress snapshot: ${why}`, { status: 500, cause });
  }
  if (isEmpty) throw new InvalidArgumentError("failed to decompress snapshot: EOF", { status: 500 });
}

async function* tarFiles(source: AsyncIterable<Buffer>): AsyncGenerator<{ name: string; chunk: Buffer }, void, void> {
  let rest: Buffer = Buffer.alloc(0);
  let file: { name: string; left: number; padding: number } | undefined;
  let isOver = false;
  for await (const part of source) {
    if (isOver) continue;
    rest = rest.length === 0 ? part : Buffer.concat([rest, part]);
    while (!isOver) {
      if (!file) {
        if (rest.length < BLOCK) break;
        const header = parseTarHeader(rest.subarray(0, BLOCK));
        rest = rest.subarray(BLOCK);
        if (!header) {
          isOver = true;
          break;
        }
        const limit = header.name === "state.bin" ? MAX_STATE_BYTES : SMALL_FILE_BYTES;
        if (header.size > limit)
          throw new TypeError(`${header.name} is ${header.size} bytes long: the limit is ${limit}`);
        file = { name: header.name, left: header.size, padding: (BLOCK - (header.size % BLOCK)) % BLOCK };
        yield { name: file.name, chunk: Buffer.alloc(0) };
      }
      const chunk = rest.subarray(0, file.left);
      if (chunk.length > 0) yield { name: file.name, chunk };
      file.left -= chunk.length;
      rest = rest.subarray(chunk.length);
      if (file.left > 0 || rest.length < file.padding) break;
      rest = rest.subarray(file.padding);
      file = undefined;
    }
  }
  if (!isOver) throw new TypeError("unexpected EOF");
}
