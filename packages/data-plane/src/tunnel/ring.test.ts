import { expect, test } from "vitest";
import { MAX_DATA_BYTES, RECORD_BYTES, USUAL_DATA_BYTES } from "./frames.ts";
import { BulkMemory } from "./memory.ts";
import { ReadRing } from "./ring.ts";

const PLENTY = 10 * MAX_DATA_BYTES;

test("what is held stays where it is, and the next read goes behind it", () => {
  const ring = new ReadRing(new BulkMemory(PLENTY));
  const { bytes } = ring;
  ring.reads.bytes.write("held");
  ring.advance(4, 1);
  ring.reads.bytes.write(" and more");
  expect(bytes.toString("utf8", 0, 13)).toBe("held and more");
  ring.advance(0, 1);
  expect(ring.reads.bytes).toBe(bytes);
});

test("what a socket has not taken is not written over", () => {
  const ring = new ReadRing(new BulkMemory(PLENTY));
  const { bytes } = ring;
  ring.keep();
  ring.advance(0, 1);
  expect(ring.bytes).not.toBe(bytes);
  expect(ring.reads.bytes).toBe(ring.bytes);
});

test("a usual frame fits wherever it begins; a long one makes it larger, until there was none for a while", () => {
  const memory = new BulkMemory(PLENTY);
  const ring = new ReadRing(memory);
  const usual = ring.bytes.length;
  expect(ring.isFull(USUAL_DATA_BYTES - RECORD_BYTES)).toBe(false);
  ring.foundLongFrame();
  ring.advance(0, 1);
  expect(ring.isFull(MAX_DATA_BYTES - RECORD_BYTES)).toBe(false);
  expect(memory.left).toBe(PLENTY - ring.bytes.length);
  ring.rest();
  ring.advance(0, 1);
  expect(ring.bytes.length).toBe(usual);
  expect(memory.left).toBe(PLENTY);
});

test("it stays small for many streams, without memory, and once it is closed", () => {
  for (const [bytes, streams, isClosed] of [
    [PLENTY, 100, false],
    [1_000, 1, false],
    [PLENTY, 1, true],
  ] as const) {
    const memory = new BulkMemory(bytes);
    const ring = new ReadRing(memory);
    const usual = ring.bytes.length;
    if (isClosed) ring.close();
    ring.foundLongFrame();
    ring.advance(0, streams);
    expect([ring.bytes.length, memory.left]).toEqual([usual, bytes]);
  }
});
