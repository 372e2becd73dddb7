/**
 * Writes an answer: header, the question's own bytes, then whole records only, as many as fit. Owners are compressed to
 * pointers (RFC 1035 §4.1.4); TC is set when a record of the answer had to stay out, never for additional ones (RFC 2181 §9).
 */
import { FLAG, HEADER_BYTES, MAX_MESSAGE_BYTES, RCODE, TYPE } from "./constants.ts";
import type { Query } from "./query.ts";
import { type Rr, typeOf } from "./record.ts";

const OPT_BYTES = 11;
const POINTER = 0xc000;
const MAX_POINTER = 0x3fff;

export interface Answer {
  rcode: number;
  isAuthoritative: boolean;
  /** The answer section; with `isShuffled` drawn at random, which reorders this array in place. */
  records: Rr[];
  isShuffled: boolean;
  /** The most records of the section (a_record_limit); leaving out the others is no truncation. */
  maxRecords: number;
  /** Whether udp_answer_limit holds: for services and queries. */
  isUdpLimited: boolean;
  authority: Rr[];
  additional: Rr[];
  /** Sets RA whatever the configuration says. */
  isRecursive?: boolean;
  /** Valid for the client's subnet only: prepared queries may sort by distance. */
  isSubnetScoped?: boolean;
}

export interface ReplyOptions {
  maxBytes: number;
  /** The most records of a `isUdpLimited` answer here; Infinity where there is no such limit. */
  maxRecords: number;
  hasRecursion: boolean;
  isCompressed: boolean;
  /** False is Consul's default: what does not fit is left out without a word. */
  announcesTruncation: boolean;
  random: () => number;
}

export interface Reply {
  bytes: Buffer;
  isTruncated: boolean;
}

// Replies are written one at a time and copied out: a buffer of the right size each, instead of the largest possible.
const scratch = Buffer.allocUnsafe(MAX_MESSAGE_BYTES);

export function writeReply(query: Query, answer: Answer, options: ReplyOptions): Reply {
  const { questionEnd, edns } = query;
  query.packet.copy(scratch, HEADER_BYTES, HEADER_BYTES, questionEnd);
  const optBytes = edns ? OPT_BYTES + (edns.subnet ? 4 + edns.subnet.length : 0) : 0;
  const w = new Writer(query, options);
  w.limit = options.maxBytes - optBytes;
  for (const rr of answer.authority) w.limit -= w.sizeOf(rr);

  const { records } = answer;
  const wanted = Math.min(records.length, answer.maxRecords);
  const allowed = answer.isUdpLimited ? Math.min(wanted, options.maxRecords) : wanted;
  // Additional records never cost the answer one of its own: room is kept for them only where it is cut short anyway.
  const keepsRoom = allowed < records.length || !w.fits(records);
  let count = 0;
  let reserved = 0;
  for (; count < allowed; count++) {
    if (answer.isShuffled) draw(records, count, options.random);
    const rr = records[count] as Rr;
    const extra = keepsRoom ? w.sizeOfAddresses(rr) : 0;
    // The first record goes even without its additional ones: some answer is better than none.
    if (!w.put(rr, count === 0 ? 0 : reserved + extra)) break;
    reserved += extra;
  }
  const isTruncated = count < wanted;
  w.limit += answer.authority.reduce((sum, rr) => sum + w.sizeOf(rr), 0);
  for (const rr of answer.authority) w.put(rr);
  const additional = w.putExtras(records, count, answer.additional);
  const end = edns ? writeOpt(w.at, query, answer) : w.at;

  let flags = FLAG.QR | (query.packet.readUInt16BE(2) & (FLAG.RD | FLAG.CD)) | (answer.rcode & 15);
  if (answer.isAuthoritative) flags |= FLAG.AA;
  if (isTruncated && options.announcesTruncation) flags |= FLAG.TC;
  if (options.hasRecursion || answer.isRecursive) flags |= FLAG.RA;
  scratch.writeUInt16BE(query.id, 0);
  scratch.writeUInt16BE(flags, 2);
  scratch.writeUInt16BE(1, 4);
  scratch.writeUInt16BE(count, 6);
  scratch.writeUInt16BE(answer.authority.length, 8);
  scratch.writeUInt16BE(additional + (edns ? 1 : 0), 10);
  return { bytes: Buffer.from(scratch.subarray(0, end)), isTruncated };
}

/** A bare header that refuses: for packets whose question cannot be read. */
export function writeRefusal(packet: Buffer, rcode: number): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt16BE(packet.readUInt16BE(0), 0);
  const echoed = packet.readUInt16BE(2) & (0x7800 | FLAG.RD | FLAG.CD);
  bytes.writeUInt16BE(FLAG.QR | echoed | rcode, 2);
  return bytes;
}

// One step of Fisher-Yates: a uniform choice for place `i`, whatever order earlier answers left behind.
function draw(records: Rr[], i: number, random: () => number): void {
  const j = i + Math.floor(random() * (records.length - i));
  const rr = records[i] as Rr;
  records[i] = records[j] as Rr;
  records[j] = rr;
}

function writeOpt(start: number, query: Query, answer: Answer): number {
  const { edns } = query;
  const subnet = edns?.subnet;
  let at = start;
  scratch[at] = 0;
  scratch.writeUInt16BE(TYPE.OPT, at + 1);
  scratch.writeUInt16BE(edns?.udpSize ?? 0, at + 3);
  scratch.writeUInt32BE((answer.rcode >> 4) << 24, at + 5);
  scratch.writeUInt16BE(subnet ? 4 + subnet.length : 0, at + 9);
  at += OPT_BYTES;
  if (!subnet) return at;
  scratch.writeUInt16BE(8, at);
  scratch.writeUInt16BE(subnet.length, at + 2);
  subnet.copy(scratch, at + 4);
  // RFC 7871 §7.2.1: the scope says for which part of the subnet the answer holds; 0 is everybody.
  if (subnet.length >= 4)
    scratch[at + 7] = answer.isSubnetScoped && answer.rcode === RCODE.NOERROR ? (subnet[2] ?? 0) : 0;
  return at + 4 + subnet.length;
}

class Writer {
  at: number;
  limit = 0;
  readonly #questionEnd: number;
  readonly #questionName: number;
  readonly #isCompressed: boolean;
  readonly #names = new Map<Buffer, number>();

  constructor(query: Query, options: ReplyOptions) {
    this.at = query.questionEnd;
    this.#questionEnd = query.questionEnd - 4;
    this.#questionName = this.#questionEnd - HEADER_BYTES;
    this.#isCompressed = options.isCompressed;
  }

  sizeOf(rr: Rr): number {
    const owner = this.#isCompressed && this.#offsetOf(rr.owner) > 0 ? 2 : (rr.owner?.length ?? this.#questionName);
    return owner + rr.body.length;
  }

  /** Whether all of these fit, without their additional ones. */
  fits(records: Rr[]): boolean {
    let size = this.at;
    for (const rr of records) if ((size += this.sizeOf(rr)) > this.limit) return false;
    return true;
  }

  /** What the address records of `rr` will take once `rr` itself is written. */
  sizeOfAddresses(rr: Rr): number {
    if (rr.extras === undefined) return 0;
    const isNear = this.#isCompressed && this.at + rr.body.length < MAX_POINTER;
    let size = 0;
    for (const extra of rr.extras)
      if (typeOf(extra) !== TYPE.TXT) size += (isNear ? 2 : (extra.owner?.length ?? 0)) + extra.body.length;
    return size;
  }

  /** Writes one record if it and `spare` more bytes fit. */
  put(rr: Rr, spare = 0): boolean {
    const pointer = this.#isCompressed ? this.#offsetOf(rr.owner) : 0;
    const ownerBytes = pointer > 0 ? 2 : (rr.owner?.length ?? this.#questionName);
    const bodyAt = this.at + ownerBytes;
    if (bodyAt + rr.body.length + spare > this.limit) return false;
    if (pointer > 0) scratch.writeUInt16BE(POINTER | pointer, this.at);
    else if (rr.owner) rr.owner.copy(scratch, this.at);
    else scratch.copyWithin(this.at, HEADER_BYTES, this.#questionEnd);
    rr.body.copy(scratch, bodyAt);
    this.at = bodyAt + rr.body.length;
    if (rr.target) {
      const targetAt = this.at - rr.target.length;
      if (targetAt <= MAX_POINTER && !this.#names.has(rr.target)) this.#names.set(rr.target, targetAt);
    }
    return true;
  }

  /** Writes additional records as long as they fit, addresses first, each once; returns how many. */
  putExtras(records: Rr[], count: number, more: Rr[]): number {
    const written = new Set<Rr>();
    for (const wantsText of [false, true]) {
      for (let i = 0; i < count; i++) {
        for (const extra of records[i]?.extras ?? []) {
          if ((typeOf(extra) === TYPE.TXT) === wantsText && !written.has(extra) && this.put(extra)) written.add(extra);
        }
      }
    }
    for (const rr of more) if (this.put(rr)) written.add(rr);
    return written.size;
  }

  // Where the name stands already: as the question, as a record's target, or as the end of the question. 0: nowhere.
  #offsetOf(owner: Buffer | undefined): number {
    if (owner === undefined) return HEADER_BYTES;
    const known = this.#names.get(owner);
    if (known !== undefined) return known;
    const start = this.#questionEnd - owner.length;
    if (owner.length <= 1 || start < HEADER_BYTES) return 0;
    return scratch.compare(owner, 0, owner.length, start, this.#questionEnd) === 0 ? start : 0;
  }
}
