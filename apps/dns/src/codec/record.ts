/** Resource records as ready bytes: built once for a snapshot of the catalog, copied into each answer. */
import { isIP } from "node:net";
import { CLASS_IN, TYPE } from "./constants.ts";

const MAX_TEXT_BYTES = 255; // one character string of a TXT record (RFC 1035 §3.3)
const MAX_TTL_SECONDS = 0x7fffffff; // RFC 2181 §8

export interface Rr {
  /** Wire name; undefined stands for the name of the question, in the question's own spelling. */
  owner: Buffer | undefined;
  /** Everything after the owner: type, class, TTL, length, data. */
  body: Buffer;
  /** The name that the data ends in, where records of `extras` are owned by it, so that theirs is a pointer. */
  target?: Buffer;
  /** Additional records that belong to this one: the addresses of its target. */
  extras?: Rr[];
}

function record(owner: Buffer | undefined, type: number, ttlSeconds: number, data: Buffer): Rr {
  const body = Buffer.allocUnsafe(10 + data.length);
  body.writeUInt16BE(type, 0);
  body.writeUInt16BE(CLASS_IN, 2);
  body.writeUInt32BE(Math.min(Math.max(0, Math.floor(ttlSeconds)), MAX_TTL_SECONDS), 4);
  body.writeUInt16BE(data.length, 8);
  data.copy(body, 10);
  return { owner, body };
}

export const typeOf = (rr: Rr): number => rr.body.readUInt16BE(0);

/** A or AAAA, by the length of the address. */
export function addressRecord(owner: Buffer | undefined, ttlSeconds: number, address: Buffer): Rr {
  return record(owner, address.length === 4 ? TYPE.A : TYPE.AAAA, ttlSeconds, address);
}

/** CNAME, NS or PTR. */
export function nameRecord(
  owner: Buffer | undefined,
  type: typeof TYPE.CNAME | typeof TYPE.NS | typeof TYPE.PTR,
  ttlSeconds: number,
  target: Buffer,
): Rr {
  return { ...record(owner, type, ttlSeconds, target), target };
}

export interface SrvData {
  priority: number;
  weight: number;
  port: number;
  /** Written in full: RFC 2782 forbids compressing it. */
  target: Buffer;
}

export function srvRecord(owner: Buffer | undefined, ttlSeconds: number, data: SrvData): Rr {
  const bytes = Buffer.allocUnsafe(6 + data.target.length);
  bytes.writeUInt16BE(data.priority & 0xffff, 0);
  bytes.writeUInt16BE(data.weight & 0xffff, 2);
  bytes.writeUInt16BE(data.port & 0xffff, 4);
  data.target.copy(bytes, 6);
  return { ...record(owner, TYPE.SRV, ttlSeconds, bytes), target: data.target };
}

/** TXT; text longer than 255 bytes becomes several strings of the one record. */
export function textRecord(owner: Buffer | undefined, ttlSeconds: number, text: string): Rr {
  const bytes = Buffer.from(text, "utf8");
  const parts: Buffer[] = [];
  for (let at = 0; at === 0 || at < bytes.length; at += MAX_TEXT_BYTES) {
    const part = bytes.subarray(at, at + MAX_TEXT_BYTES);
    parts.push(Buffer.from([part.length]), part);
  }
  return record(owner, TYPE.TXT, ttlSeconds, Buffer.concat(parts));
}

export interface SoaData {
  mname: Buffer;
  rname: Buffer;
  serial: number;
  refresh: number;
  retry: number;
  expire: number;
  minTtl: number;
}

export function soaRecord(owner: Buffer, ttlSeconds: number, soa: SoaData): Rr {
  const numbers = Buffer.allocUnsafe(20);
  [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minTtl].forEach((n, i) => numbers.writeUInt32BE(n >>> 0, i * 4));
  return record(owner, TYPE.SOA, ttlSeconds, Buffer.concat([soa.mname, soa.rname, numbers]));
}

/** The 4 or 16 bytes of an IP address (an IPv4-mapped one has 4, as in Go); undefined for anything else. */
export function toAddressBytes(text: string): Buffer | undefined {
  const version = isIP(text);
  if (version === 4) return Buffer.from(text.split(".").map(Number));
  if (version !== 6 || text.includes("%")) return undefined;
  const [head = "", tail] = text.split("::");
  const front = toGroups(head);
  const back = tail === undefined ? [] : toGroups(tail);
  const groups = [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back];
  const bytes = Buffer.from(groups.flatMap((g) => [g >> 8, g & 255]));
  const isMapped = groups.slice(0, 5).every((g) => g === 0) && groups[5] === 0xffff;
  return isMapped ? bytes.subarray(12) : bytes;
}

function toGroups(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((part) => {
    if (!part.includes(".")) return [Number.parseInt(part, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = part.split(".").map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}
