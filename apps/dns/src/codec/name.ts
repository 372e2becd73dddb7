/** Names on the wire: labels with their lengths (RFC 1035 §3.1). */

const MAX_NAME_BYTES = 255;
const MAX_LABEL_BYTES = 63;

/** The wire form of "n1.node.consul" (a trailing dot is fine); undefined where no such name can exist. */
export function toWireName(text: string): Buffer | undefined {
  const bare = text.endsWith(".") ? text.slice(0, -1) : text;
  if (bare === "") return Buffer.from([0]);
  const parts: Buffer[] = [];
  let size = 1;
  for (const label of bare.split(".")) {
    const bytes = Buffer.from(label, "utf8");
    size += bytes.length + 1;
    if (bytes.length === 0 || bytes.length > MAX_LABEL_BYTES || size > MAX_NAME_BYTES) return undefined;
    parts.push(Buffer.from([bytes.length]), bytes);
  }
  parts.push(Buffer.from([0]));
  return Buffer.concat(parts, size);
}

// One question at a time is read, so one scratch buffer serves them all.
const scratch = Buffer.allocUnsafe(MAX_NAME_BYTES + 1);

/**
 * Reads an uncompressed name: its text in lower case without the last dot ("" is the root) and where it ends. Undefined for
 * anything malformed; a pointer is that too, for nothing comes before the name of a question.
 */
export function readName(packet: Buffer, start: number): { text: string; end: number } | undefined {
  let at = start;
  let size = 0;
  let isAscii = true;
  for (;;) {
    const length = packet[at];
    if (length === undefined || length > MAX_LABEL_BYTES) return undefined;
    at++;
    if (length === 0) break;
    if (at + length > packet.length || size + length + 2 > MAX_NAME_BYTES) return undefined;
    for (const end = at + length; at < end; at++) {
      const byte = packet[at] as number;
      if (byte > 127) isAscii = false;
      scratch[size++] = byte >= 65 && byte <= 90 ? byte + 32 : byte;
    }
    scratch[size++] = 46;
  }
  if (size === 0) return { text: "", end: at };
  return {
    text: isAscii ? scratch.toString("latin1", 0, size - 1) : scratch.toString("utf8", 0, size - 1).toLowerCase(),
    end: at,
  };
}
