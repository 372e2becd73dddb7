/**
 * What two Heddle proxies say to each other inside TLS, agreed by ALPN "heddle/1", so that a refusal names its reason on
 * both ends. Only the server speaks; the client may send the application's bytes without waiting.
 *
 *     accepted   0x00, then a mark of 16 random bytes, then the application's bytes
 *     refused    0x01, uint16 length, that many bytes of JSON { code, source, destination, rule, reason }
 *     cut        (later, as a TLS record of its own) the mark, uint16 length, JSON as above
 *
 * The mark is known to the two proxies alone and compared at the start of a record, so no application can forge a cut.
 */
import { randomBytes } from "node:crypto";
import { type Refusal, REFUSAL_CODES, type RefusalCode } from "./refusal.ts";

export const ALPN = "heddle/1";

const ACCEPTED = 0;
const REFUSED = 1;
const MARK_BYTES = 16;
const MAX_JSON_BYTES = 4_096;
const MAX_TEXT = 512;

/** The accepting preface, and the mark in it. */
export function acceptPreface(): { bytes: Buffer; mark: Buffer } {
  const bytes = Buffer.allocUnsafe(1 + MARK_BYTES);
  const mark = randomBytes(MARK_BYTES);
  bytes[0] = ACCEPTED;
  mark.copy(bytes, 1);
  return { bytes, mark };
}

export function refusePreface(refusal: Refusal): Buffer {
  return Buffer.concat([Buffer.of(REFUSED), reasonFrame(refusal)]);
}

/** What ends an accepted connection early. Must be written as one record. */
export function cutFrame(mark: Buffer, refusal: Refusal): Buffer {
  return Buffer.concat([mark, reasonFrame(refusal)]);
}

export type Preface =
  | { type: "incomplete" }
  | { type: "accepted"; mark: Buffer; rest: Buffer }
  | { type: "refused"; refusal: Refusal }
  | { type: "invalid"; why: string };

/** Reads the server's first bytes, which may come in any pieces. */
export class PrefaceReader {
  #seen: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Preface {
    const bytes = this.#seen.length === 0 ? chunk : Buffer.concat([this.#seen, chunk]);
    this.#seen = bytes;
    if (bytes.length === 0) return { type: "incomplete" };
    if (bytes[0] === ACCEPTED) {
      if (bytes.length < 1 + MARK_BYTES) return { type: "incomplete" };
      // Copied: a view would keep the whole chunk in memory as long as the connection lives.
      const mark = Buffer.from(bytes.subarray(1, 1 + MARK_BYTES));
      return { type: "accepted", mark, rest: bytes.subarray(1 + MARK_BYTES) };
    }
    if (bytes[0] !== REFUSED) return { type: "invalid", why: `unknown status byte ${bytes[0]}` };
    if (bytes.length < 3) return { type: "incomplete" };
    const length = bytes.readUInt16BE(1);
    if (length > MAX_JSON_BYTES) return { type: "invalid", why: `a reason of ${length} bytes` };
    if (bytes.length < 3 + length) return { type: "incomplete" };
    return { type: "refused", refusal: parseReason(bytes.subarray(3, 3 + length)) };
  }
}

/** The reason of a cut, where this record is one. */
export function readCut(mark: Buffer, record: Buffer): Refusal | undefined {
  if (record.length < MARK_BYTES + 2 || record[0] !== mark[0]) return undefined;
  if (record.compare(mark, 0, MARK_BYTES, 0, MARK_BYTES) !== 0) return undefined;
  const length = record.readUInt16BE(MARK_BYTES);
  return parseReason(record.subarray(MARK_BYTES + 2, MARK_BYTES + 2 + length));
}

function reasonFrame(refusal: Refusal): Buffer {
  const { code, source, destination, rule, reason } = refusal;
  const short = (text: string | undefined) => text?.slice(0, MAX_TEXT);
  const json = Buffer.from(
    JSON.stringify({
      code,
      source: short(source),
      destination: short(destination),
      rule: short(rule),
      reason: short(reason),
    }),
  );
  const frame = Buffer.allocUnsafe(2 + json.length);
  frame.writeUInt16BE(json.length);
  json.copy(frame, 2);
  return frame;
}

// The far proxy is authenticated but not trusted with our logs: every field is checked and bounded.
function parseReason(json: Buffer): Refusal {
  let given: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(json.toString("utf8"));
    if (typeof parsed === "object" && parsed !== null) given = parsed as Record<string, unknown>;
  } catch {
    // an unreadable reason is still a refusal
  }
  const text = (key: string) => (typeof given[key] === "string" ? given[key].slice(0, MAX_TEXT) : "");
  const code = REFUSAL_CODES.find((c) => c === given.code) ?? ("protocol" satisfies RefusalCode);
  return {
    code,
    source: text("source"),
    destination: text("destination"),
    rule: text("rule") || undefined,
    reason: text("reason") || "no reason given",
  };
}
