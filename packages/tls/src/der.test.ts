import { randomBytes } from "node:crypto";
import * as fc from "fast-check";
import { IdentityError } from "@heddle/spiffe";
import { describe, expect, it } from "vitest";
import {
  der,
  DerReader,
  integer,
  namedBits,
  oid,
  readBoolean,
  readDer,
  readNamedBits,
  readOid,
  readTime,
  sequence,
  TAG,
  time,
} from "./der.ts";

const one = (bytes: Buffer) => new DerReader(bytes).next();
const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

describe("DER", () => {
  it("reads back the lengths that it writes", () => {
    for (const length of [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000]) {
      const content = randomBytes(length);
      expect(one(der(TAG.octetString, content)).content.equals(content)).toBe(true);
    }
  });

  it("reads back object identifiers", () => {
    const arcs = fc.tuple(fc.nat(2), fc.nat(39), fc.array(fc.nat(2 ** 31 - 1), { maxLength: 8 }));
    fc.assert(
      fc.property(arcs, ([a, b, rest]) => {
        const text = [a, b, ...rest].join(".");
        expect(readOid(one(oid(text)))).toBe(text);
      }),
    );
  });

  it("reads back named bits and times", () => {
    fc.assert(
      fc.property(fc.nat(0x1ff), (mask) => {
        expect(readNamedBits(one(namedBits(mask)))).toBe(mask);
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: Date.UTC(1950, 0) / 1000, max: Date.UTC(9999, 0) / 1000 }), (seconds) => {
        expect(readTime(one(time(seconds * 1000)))).toBe(seconds * 1000);
      }),
    );
  });

  it("writes integers positive and minimal", () => {
    expect(integer(hex("00 00 80")).toString("hex")).toBe("02020080");
    expect(integer(hex("00 7f")).toString("hex")).toBe("02017f");
    expect(integer(hex("00")).toString("hex")).toBe("020100");
  });

  it.each([
    ["nothing", ""],
    ["a tag alone", "30"],
    ["less than its length says", "30 02 00"],
    ["an indefinite length", "30 80 00 00"],
    ["a long form for a short length", "30 81 01 00"],
    ["a length with a leading zero", "30 82 00 80"],
    ["a length of 5 bytes", "30 85 01 00 00 00 00"],
    ["a length beyond its end", "30 84 ff ff ff ff"],
    ["a tag above 30", "3f 81 01 00"],
    ["bytes after its end", "30 00 00"],
  ])("is refused: %s", (_name, text) => {
    expect(() => readDer(hex(text), TAG.sequence)).toThrow(IdentityError);
  });

  it.each([
    ["an empty identifier", () => readOid(one(hex("06 00")))],
    ["an identifier that ends early", () => readOid(one(hex("06 01 80")))],
    ["an identifier with padding", () => readOid(one(hex("06 03 2a 80 01")))],
    ["a boolean of 1", () => readBoolean(one(hex("01 01 01")))],
    ["a boolean of two bytes", () => readBoolean(one(hex("01 02 ff ff")))],
    ["31 February", () => readTime(one(der(TAG.utcTime, Buffer.from("260231000000Z"))))],
    ["a time without seconds", () => readTime(one(der(TAG.utcTime, Buffer.from("2602010000Z"))))],
    ["a time with an offset", () => readTime(one(der(TAG.utcTime, Buffer.from("260201000000+0100"))))],
    ["too many bits", () => readNamedBits(one(hex("03 05 00 01 02 03 04")))],
    ["no bits", () => readNamedBits(one(hex("03 00")))],
  ])("is refused: %s", (_name, read) => {
    expect(read).toThrow(IdentityError);
  });

  it("is refused, never misread, when it is noise", () => {
    for (let i = 0; i < 5_000; i++) {
      try {
        const reader = readDer(Buffer.concat([sequence().subarray(0, 1), randomBytes(i % 40)]), TAG.sequence);
        while (!reader.done) reader.next();
      } catch (error) {
        expect(error).toBeInstanceOf(IdentityError);
      }
    }
  });
});
