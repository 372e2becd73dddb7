import { decode, encode, type RecordType } from "dns-packet";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { positive } from "../answers/zone.ts";
import { RCODE, TYPE } from "./constants.ts";
import { readName, toWireName } from "./name.ts";
import { clientAddress, parseQuery, type Query, udpLimit } from "./query.ts";
import { addressRecord, nameRecord, type Rr, srvRecord, textRecord, toAddressBytes } from "./record.ts";
import { type Answer, type ReplyOptions, writeRefusal, writeReply } from "./reply.ts";

const OPTIONS: ReplyOptions = {
  maxBytes: 65_535,
  maxRecords: Number.POSITIVE_INFINITY,
  hasRecursion: false,
  isCompressed: true,
  announcesTruncation: true,
  random: Math.random,
};
const ask = (name: string, type: RecordType = "A", extra: Parameters<typeof encode>[0] = {}): Query => {
  const parsed = parseQuery(encode({ type: "query", id: 7, flags: 0x0100, questions: [{ type, name }], ...extra }));
  if (parsed === undefined || "refuse" in parsed) throw new Error("not a query");
  return parsed;
};
const wire = (name: string): Buffer => toWireName(name) as Buffer;
const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,20}$/);
const hostname = fc.array(label, { minLength: 1, maxLength: 6 }).map((labels) => labels.join("."));

describe("names", () => {
  test("what is written is read, in lower case", () => {
    fc.assert(
      fc.property(hostname, (name) => {
        expect(readName(wire(name), 0)).toEqual({ text: name.toLowerCase(), end: name.length + 2 });
      }),
    );
  });

  test.each([
    ["", "root"],
    ["a.", "trailing dot"],
    ["x".repeat(63), "longest label"],
    ["grüße.node.consul", "UTF-8"],
  ])("'%s' has a wire form (%s)", (name) => {
    expect(toWireName(name)).toBeInstanceOf(Buffer);
  });

  test.each([["a..b"], [".a"], ["x".repeat(64)], [`${"x".repeat(60)}.`.repeat(5)]])("'%s' has none", (name) => {
    expect(toWireName(name)).toBeUndefined();
  });

  test.each([
    ["a pointer", [0xc0, 12]],
    ["a label cut short", [5, 97]],
    ["no end", [1, 97]],
    ["a reserved label type", [0x40, 0]],
    ["more than 255 bytes", Array.from({ length: 5 }, () => [60, ...Array<number>(60).fill(97)]).flat()],
  ])("%s is refused", (_what, bytes) => {
    expect(readName(Buffer.from(bytes), 0)).toBeUndefined();
  });
});

describe("queries", () => {
  test("no bytes whatever make the parser throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        const packet = Buffer.from(bytes);
        const parsed = parseQuery(packet);
        if (parsed !== undefined && !("refuse" in parsed)) writeReply(parsed, positive([]), OPTIONS);
        else if (parsed !== undefined) expect(writeRefusal(packet, parsed.refuse)).toHaveLength(12);
      }),
      { numRuns: 5_000 },
    );
  });

  test("a good question with bytes changed is answered or refused, never more", () => {
    const good = encode({ type: "query", id: 1, questions: [{ type: "A", name: "web.service.consul" }] });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 5 }), (edits) => {
        const packet = Buffer.from(good);
        for (const [at, value] of edits) packet[at] = value;
        const parsed = parseQuery(packet);
        if (parsed !== undefined && !("refuse" in parsed))
          expect(() => decode(writeReply(parsed, positive([]), OPTIONS).bytes)).not.toThrow();
      }),
      { numRuns: 5_000 },
    );
  });

  const packetWith = (edit: (packet: Buffer) => void) => {
    const packet = encode({ type: "query", id: 1, questions: [{ type: "A", name: "a.consul" }] });
    edit(packet);
    return parseQuery(packet);
  };
  test.each([
    ["an answer", (p: Buffer) => p.writeUInt16BE(0x8000, 2), undefined],
    ["an update", (p: Buffer) => p.writeUInt16BE(5 << 11, 2), RCODE.NOTIMP],
    ["no question", (p: Buffer) => p.writeUInt16BE(0, 4), RCODE.FORMERR],
    ["two questions", (p: Buffer) => p.writeUInt16BE(2, 4), RCODE.FORMERR],
    ["an answer section", (p: Buffer) => p.writeUInt16BE(1, 6), RCODE.FORMERR],
    ["an additional record that is not there", (p: Buffer) => p.writeUInt16BE(1, 10), RCODE.FORMERR],
    ["9 additional records", (p: Buffer) => p.writeUInt16BE(9, 10), RCODE.FORMERR],
  ])("%s", (_what, edit, rcode) => {
    expect(packetWith(edit)).toEqual(rcode === undefined ? undefined : expect.objectContaining({ refuse: rcode }));
  });

  test.each([
    [undefined, 512],
    [0, 512],
    [511, 512],
    [1232, 1232],
    [65_535, 4096],
  ])("EDNS size %s allows %i bytes", (udpSize, limit) => {
    expect(udpLimit(udpSize === undefined ? undefined : { udpSize, version: 0, subnet: undefined }, 4096)).toBe(limit);
  });
});

test.each([
  ["no EDNS", undefined, undefined],
  ["no subnet", [], undefined],
  ["IPv4", [0, 1, 32, 0, 10, 0, 0, 2], "10.0.0.2"],
  ["a part of one", [0, 1, 24, 0, 10, 0, 9], "10.0.9.0"],
  ["IPv6", [0, 2, 32, 0, 0x20, 0x01, 0x0d, 0xb8], "2001:db8::"],
  ["one that says nothing", [0, 1, 0, 0], undefined],
  ["a family that nobody knows", [0, 9, 8, 0, 1], undefined],
  ["more bytes than there are", [0, 1, 32, 0, 1, 2, 3, 4, 5, 6], "1.2.3.4"],
  ["one cut short", [0, 1, 8], undefined],
])("the client's address of %s", (_what, subnet, address) => {
  const edns = subnet && { udpSize: 1232, version: 0, subnet: subnet.length > 0 ? Buffer.from(subnet) : undefined };
  expect(clientAddress(edns)).toBe(address);
});

describe("addresses", () => {
  test.each([
    ["10.0.0.1", "0a000001"],
    ["2001:db8::1", "20010db8000000000000000000000001"],
    ["::", "0".repeat(32)],
    ["::ffff:10.0.0.1", "0a000001"],
    ["64:ff9b::10.0.0.1", "0064ff9b00000000000000000a000001"],
    ["fe80::1%eth0", undefined],
    ["10.0.0", undefined],
    ["www.example.com", undefined],
    ["", undefined],
  ])("'%s' is %s", (text, hex) => {
    expect(toAddressBytes(text)?.toString("hex")).toBe(hex);
  });

  test("any IPv6 text reads as the bytes that Node's URL parser sees", () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const hex = toAddressBytes(text)?.toString("hex") ?? "";
        const full = hex.length === 8 ? `00000000000000000000ffff${hex}` : hex;
        const again = new URL(`http://[${full.replace(/(.{4})(?=.)/g, "$1:")}]/`).hostname;
        expect(again).toBe(new URL(`http://[${text}]/`).hostname);
      }),
    );
  });
});

describe("replies", () => {
  const records = fc.array(
    fc.oneof(
      fc.ipV4().map((ip): Rr => addressRecord(undefined, 5, toAddressBytes(ip) as Buffer)),
      fc.tuple(hostname, fc.ipV4(), fc.nat(65_535)).map(([name, ip, port]): Rr => {
        const target = wire(name);
        const extras = [addressRecord(target, 5, toAddressBytes(ip) as Buffer), textRecord(target, 5, "zone=a")];
        return { ...srvRecord(undefined, 5, { priority: 1, weight: 2, port, target }), extras };
      }),
      fc.string({ maxLength: 700, unit: "grapheme" }).map((text): Rr => textRecord(undefined, 5, text)),
      hostname.map((name): Rr => nameRecord(undefined, TYPE.CNAME, 5, wire(name))),
    ),
    { maxLength: 60 },
  );

  test("decode as written, fit their limit, hold whole records and say when some are missing", () => {
    fc.assert(
      fc.property(
        hostname,
        records,
        fc.integer({ min: 512, max: 4096 }),
        fc.boolean(),
        (name, list, maxBytes, isCompressed) => {
          const answer: Answer = positive([...list], { isShuffled: true });
          const { bytes, isTruncated } = writeReply(ask(name), answer, { ...OPTIONS, maxBytes, isCompressed });
          expect(bytes.length).toBeLessThanOrEqual(maxBytes);
          const decoded = decode(bytes);
          expect(decoded.flag_tc).toBe(isTruncated);
          expect(decoded.answers?.length === list.length).toBe(!isTruncated);
          expect(decoded.questions).toMatchObject([{ name, type: "A" }]);
          for (const rr of decoded.answers ?? []) expect(rr.name).toBe(name);
          const targets = (decoded.answers ?? []).flatMap((rr) => (rr.type === "SRV" ? [rr.data.target] : []));
          for (const rr of decoded.additionals ?? []) expect(targets).toContain(rr.name);
        },
      ),
      { numRuns: 500 },
    );
  });

  test("compression keeps the owner's bytes to two and never touches an SRV target (RFC 2782)", () => {
    const target = wire("n1.node.dc1.consul");
    const srv = {
      ...srvRecord(undefined, 0, { priority: 1, weight: 1, port: 80, target }),
      extras: [addressRecord(target, 0, Buffer.from([10, 0, 0, 1]))],
    };
    const { bytes } = writeReply(ask("web.service.consul", "SRV"), positive([srv]), OPTIONS);
    const question = 12 + wire("web.service.consul").length + 4;
    expect(bytes).toHaveLength(question + (2 + 10 + 6 + target.length) + (2 + 10 + 4));
    expect(decode(bytes).additionals).toMatchObject([{ name: "n1.node.dc1.consul", data: "10.0.0.1" }]);
  });

  test("pointers end where 14 bits do", () => {
    const list = Array.from({ length: 600 }, (_, i): Rr => {
      const target = wire(`node-number-${i}.node.dc1.consul`);
      return {
        ...srvRecord(undefined, 0, { priority: 1, weight: 1, port: i, target }),
        extras: [addressRecord(target, 0, Buffer.from([10, 0, i >> 8, i & 255]))],
      };
    });
    const { bytes, isTruncated } = writeReply(ask("web.service.consul", "SRV"), positive(list), OPTIONS);
    const decoded = decode(bytes);
    expect(isTruncated).toBe(false);
    expect(decoded.answers).toHaveLength(600);
    for (const rr of decoded.additionals ?? []) {
      if (rr.type !== "A") continue;
      const [, , high = 0, low = 0] = rr.data.split(".").map(Number);
      expect(rr.name).toBe(`node-number-${high * 256 + low}.node.dc1.consul`);
    }
  });
});
