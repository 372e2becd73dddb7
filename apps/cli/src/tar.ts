/** A folder as a .tar.gz file (POSIX ustar), as the system's tar reads it. */
import { createWriteStream, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";

const BLOCK = 512;

/** Only the owner may read the archive. A name within the folder has at most 100 bytes. */
export async function writeTarGz(folder: string, file: string): Promise<void> {
  await pipeline(Readable.from(entries(folder)), createGzip(), createWriteStream(file, { mode: 0o600, flags: "wx" }));
}

function* entries(folder: string): Generator<Buffer> {
  yield* walk(folder, basename(folder));
  yield Buffer.alloc(2 * BLOCK);
}

function* walk(path: string, name: string): Generator<Buffer> {
  const { mtimeMs } = statSync(path);
  yield header(`${name}/`, { size: 0, mtimeMs, isFolder: true });
  for (const entry of readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const [inner, innerName] = [join(path, entry.name), `${name}/${entry.name}`];
    if (entry.isDirectory()) yield* walk(inner, innerName);
    else if (entry.isFile()) {
      const data = readFileSync(inner);
      yield header(innerName, { size: data.length, mtimeMs: statSync(inner).mtimeMs, isFolder: false });
      yield data;
      yield Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK);
    }
  }
}

interface Facts {
  size: number;
  mtimeMs: number;
  isFolder: boolean;
}

function header(name: string, { size, mtimeMs, isFolder }: Facts): Buffer {
  const block = Buffer.alloc(BLOCK);
  const put = (text: string, at: number) => block.write(text, at, "utf8");
  const octal = (value: number, width: number) => value.toString(8).padStart(width - 1, "0");
  if (Buffer.byteLength(name) > 100) throw new RangeError(`a name of an archive has at most 100 bytes: ${name}`);
  put(name, 0);
  put(octal(isFolder ? 0o700 : 0o600, 8), 100);
  put(octal(0, 8), 108);
  put(octal(0, 8), 116);
  put(octal(size, 12), 124);
  put(octal(Math.floor(mtimeMs / 1000), 12), 136);
  put(" ".repeat(8), 148); // what the checksum counts in its own place
  put(isFolder ? "5" : "0", 156);
  put("ustar\u000000", 257);
  put(
    `${octal(
      block.reduce((sum, byte) => sum + byte, 0),
      7,
    )}\u0000 `,
    148,
  );
  return block;
}
