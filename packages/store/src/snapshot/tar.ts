/** The little of tar (POSIX ustar) that a snapshot needs: plain files, written and read as a stream. */
export const BLOCK = 512;
const NAME_BYTES = 100;

/** The header of a plain file. */
export function tarHeader(name: string, size: number, mtimeMs: number): Buffer {
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, "0")}\0`;
  header.write(name, 0, NAME_BYTES);
  header.write(octal(0o600, 7), 100);
  header.write(octal(0, 7), 108);
  header.write(octal(0, 7), 116);
  header.write(octal(size, 11), 124);
  header.write(octal(Math.floor(mtimeMs / 1000), 11), 136);
  header.write(" ".repeat(8), 148);
  header.write("0", 156);
  header.write("ustar\u000000", 257);
  header.write(
    `${octal(
      header.reduce((sum, byte) => sum + byte, 0),
      6,
    )} `,
    148,
  );
  return header;
}

/** The bytes that fill a file's last block. */
export const tarPadding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
/** The end of an archive. */
export const tarEnd = (): Buffer => Buffer.alloc(2 * BLOCK);

/** Name and size of a file by its header; undefined at the end of the archive. Throws where it is no header. */
export function parseTarHeader(block: Buffer): { name: string; size: number } | undefined {
  if (block.every((byte) => byte === 0)) return undefined;
  const field = (from: number, length: number) => {
    const text = block.toString("latin1", from, from + length);
    return text.split("\0")[0] as string;
  };
  const given = parseInt(field(148, 8), 8);
  const sum = block.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 0x20 : byte), 0);
  if (given !== sum) throw new TypeError("invalid tar header");
  const type = field(156, 1);
  if (type !== "0" && type !== "") throw new TypeError(`unexpected file type ${JSON.stringify(type)}`);
  const size = field(124, 12).trim();
  if (!/^[0-7]{1,11}$/.test(size)) throw new TypeError("invalid size in tar header");
  return { name: field(0, NAME_BYTES), size: parseInt(size, 8) };
}
