/** What tcpdump saw on loopback: the bytes of each connection, and the TLS records in them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "vitest";
import { type Program, start } from "./process.ts";

const GLOBAL_HEADER = 24;
const PACKET_HEADER = 16;
const ETHERNET_HEADER = 14;
const RECORD_HEADER = 5;
const IPV4 = 0x0800;

/** One direction of one connection. */
export interface Stream {
  from: number;
  to: number;
  bytes: Buffer;
}

export interface Capture {
  /** Ends the capture and returns the streams that carried bytes. */
  streams: () => Promise<Stream[]>;
}

/** Captures these TCP ports of loopback; skips the test where the kernel does not let us. */
export async function capture(ctx: TestContext, dir: string, ports: number[]): Promise<Capture> {
  const file = join(dir, "capture.pcap");
  const filter = ports.map((port) => `tcp port ${port}`).join(" or ");
  const tcpdump: Program = start("tcpdump", [
    "-i",
    "lo",
    "--immediate-mode",
    "-U",
    "-s",
    "0",
    "-Z",
    "root",
    "-w",
    file,
    filter,
  ]);
  await tcpdump.printed(/listening on|ermi(?:ssion|tted)/);
  if (/ermi(?:ssion|tted)/.test(tcpdump.err)) {
    const reason = `skipped '${ctx.task.name}': tcpdump may not capture here (it needs root or CAP_NET_RAW): ${tcpdump.err.trim()}`;
    process.stdout.write(`${reason}\n`);
    ctx.skip(reason);
  }
  return {
    async streams() {
      await tcpdump.stop("SIGINT");
      return readStreams(readFileSync(file));
    },
  };
}

/** Puts the segments of a pcap file (IPv4 on loopback) back into streams, by sequence number. */
export function readStreams(pcap: Buffer): Stream[] {
  const segments = new Map<string, Map<number, Buffer>>();
  for (let at = GLOBAL_HEADER; at + PACKET_HEADER <= pcap.length; ) {
    const length = pcap.readUInt32LE(at + 8);
    const frame = pcap.subarray(at + PACKET_HEADER, at + PACKET_HEADER + length);
    at += PACKET_HEADER + length;
    if (frame.length < length || frame.readUInt16BE(12) !== IPV4) continue;
    const ip = frame.subarray(ETHERNET_HEADER);
    const tcp = ip.subarray((ip.readUInt8(0) & 15) * 4, ip.readUInt16BE(2));
    const payload = tcp.subarray((tcp.readUInt8(12) >> 4) * 4);
    if (payload.length === 0) continue;
    const key = `${tcp.readUInt16BE(0)}>${tcp.readUInt16BE(2)}`;
    segments.set(key, (segments.get(key) ?? new Map<number, Buffer>()).set(tcp.readUInt32BE(4), payload));
  }
  return [...segments].map(([key, parts]) => {
    const [from, to] = key.split(">").map(Number) as [number, number];
    const inOrder = [...parts].toSorted(([a], [b]) => (a - b) << 0); // sequence numbers wrap at 2^32
    return { from, to, bytes: Buffer.concat(inOrder.map(([, payload]) => payload)) };
  });
}

/** The content types of the TLS records that the bytes consist of. Throws where they are anything else (RFC 8446 §5.1). */
export function tlsRecords(bytes: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const header = bytes.subarray(at, at + RECORD_HEADER);
    const [type, major] = header;
    if (header.length < RECORD_HEADER || type === undefined || type < 20 || type > 23 || major !== 3)
      throw new Error(`no TLS record at byte ${at}: ${header.toString("hex")}`);
    at += RECORD_HEADER + header.readUInt16BE(3);
    if (at > bytes.length) throw new Error(`the last TLS record is cut off by ${at - bytes.length} bytes`);
    types.push(type);
  }
  return types;
}
