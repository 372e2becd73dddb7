/** Reads a query by hand: one question, at most one OPT, nothing else worth keeping. Never throws, allocates little. */
import { CLASS_ANY, CLASS_IN, FLAG, HEADER_BYTES, MIN_UDP_BYTES, RCODE, TYPE } from "./constants.ts";
import { formatAddress } from "./address.ts";
import { readName } from "./name.ts";

const OPTION_CLIENT_SUBNET = 8;
const MAX_ADDITIONAL = 4; // OPT, TSIG and a spare; more is nobody's query

export interface Question {
  /** Lower case, without the last dot. */
  name: string;
  type: number;
}

export interface Edns {
  /** As the client wrote it; below 512 it counts as 512. */
  udpSize: number;
  version: number;
  /** The client subnet option's data (RFC 7871), echoed in the answer. */
  subnet: Buffer | undefined;
}

export interface Query {
  packet: Buffer;
  id: number;
  /** Class IN or ANY; others (CHAOS) are nobody's here. */
  isInternet: boolean;
  question: Question;
  /** Where the question's section ends; it is echoed byte for byte, which keeps the case of the name. */
  questionEnd: number;
  edns: Edns | undefined;
}

/** A query, a code to refuse it with, or undefined where silence is the answer. */
export type ParsedQuery = Query | { refuse: number; packet: Buffer } | undefined;

export function parseQuery(packet: Buffer): ParsedQuery {
  if (packet.length < HEADER_BYTES) return undefined;
  const flags = packet.readUInt16BE(2);
  // An answer is never answered: two servers would keep each other busy for ever.
  if (flags & FLAG.QR) return undefined;
  if ((flags >> 11) & 15) return { refuse: RCODE.NOTIMP, packet };
  const additional = packet.readUInt16BE(10);
  if (packet.readUInt16BE(4) !== 1 || packet.readUInt32BE(6) !== 0 || additional > MAX_ADDITIONAL)
    return { refuse: RCODE.FORMERR, packet };
  const name = readName(packet, HEADER_BYTES);
  if (name === undefined || name.end + 4 > packet.length) return { refuse: RCODE.FORMERR, packet };
  const type = packet.readUInt16BE(name.end);
  const classOf = packet.readUInt16BE(name.end + 2);
  const questionEnd = name.end + 4;
  const edns = additional === 0 ? undefined : readAdditional(packet, questionEnd, additional);
  if (edns === null) return { refuse: RCODE.FORMERR, packet };
  return {
    packet,
    id: packet.readUInt16BE(0),
    isInternet: classOf === CLASS_IN || classOf === CLASS_ANY,
    question: { name: name.text, type },
    questionEnd,
    edns,
  };
}

/** How many bytes a UDP answer to this client may have. */
export function udpLimit(edns: Edns | undefined, max: number): number {
  return edns === undefined ? MIN_UDP_BYTES : Math.min(max, Math.max(MIN_UDP_BYTES, edns.udpSize));
}

/** The client's own address as its resolver tells it, as much of it as it tells; undefined where it does not. */
export function clientAddress(edns: Edns | undefined): string | undefined {
  const subnet = edns?.subnet;
  if (subnet === undefined || subnet.length < 4) return undefined;
  const family = subnet.readUInt16BE(0);
  if (subnet[2] === 0 || (family !== 1 && family !== 2)) return undefined;
  const bytes = Buffer.alloc(family === 1 ? 4 : 16);
  subnet.copy(bytes, 0, 4);
  return formatAddress(bytes.toString("hex"));
}

// The OPT record of the additional section; null where the section is malformed.
function readAdditional(packet: Buffer, start: number, count: number): Edns | undefined | null {
  let at = start;
  let edns: Edns | undefined;
  for (let i = 0; i < count; i++) {
    const isRoot = packet[at] === 0;
    const name = readName(packet, at);
    if (name === undefined || name.end + 10 > packet.length) return null;
    const type = packet.readUInt16BE(name.end);
    const dataAt = name.end + 10;
    const end = dataAt + packet.readUInt16BE(name.end + 8);
    if (end > packet.length) return null;
    if (type === TYPE.OPT) {
      if (edns !== undefined || !isRoot) return null;
      edns = {
        udpSize: packet.readUInt16BE(name.end + 2),
        version: packet[name.end + 5] as number,
        subnet: undefined,
      };
      for (let option = dataAt; option < end; ) {
        if (option + 4 > end) return null;
        const optionEnd = option + 4 + packet.readUInt16BE(option + 2);
        if (optionEnd > end) return null;
        if (packet.readUInt16BE(option) === OPTION_CLIENT_SUBNET) edns.subnet = packet.subarray(option + 4, optionEnd);
        option = optionEnd;
      }
    }
    at = end;
  }
  return edns;
}
