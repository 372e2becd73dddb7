import * as fc from "fast-check";
import { expect, test } from "vitest";
import { USUAL_DATA_BYTES } from "./frames.ts";
import { BulkMemory } from "./memory.ts";
import { INITIAL_WINDOW, OVERDRAFT, ReceiveWindow } from "./window.ts";

interface Read {
  bytes: number;
  wasBehind: boolean;
}

/** A sender that sends whenever it may, to a reader that takes what it wants, so often; the most that was held. */
function run(reads: Read[], everyMs = 0): number {
  const window = new ReceiveWindow();
  let credit = INITIAL_WINDOW;
  let most = 0;
  let isKept = true;
  for (const [i, { bytes, wasBehind }] of reads.entries()) {
    while (credit > 0) {
      isKept &&= window.received(USUAL_DATA_BYTES);
      credit -= USUAL_DATA_BYTES;
    }
    most = Math.max(most, window.held);
    credit += window.taken(Math.min(bytes, window.held), wasBehind, i * everyMs);
  }
  expect(isKept).toBe(true);
  return most;
}

test("a sender that keeps to its credit is never said to have sent too much, whatever the reader does", () => {
  const read = fc.record({ bytes: fc.integer({ min: 0, max: 2_000_000 }), wasBehind: fc.boolean() });
  fc.assert(fc.property(fc.array(read, { maxLength: 400 }), (reads) => void run(reads)));
});

test("at most 128 KiB are held for a reader that takes little", () => {
  const reads = Array.from({ length: 2_000 }, () => ({ bytes: 1_000, wasBehind: false }));
  expect(run(reads)).toBeLessThanOrEqual(128 * 1024);
});

test("the window grows for a reader that takes megabytes, and shrinks for one that is behind", () => {
  const fast = Array.from({ length: 3_000 }, () => ({ bytes: 10_000_000, wasBehind: false }));
  expect(run(fast)).toBeGreaterThan(512 * 1024);
  const slow = Array.from({ length: 50 }, () => ({ bytes: 10_000_000, wasBehind: true }));
  const window = [...fast, ...slow, { bytes: 0, wasBehind: false }];
  expect(run(window)).toBeLessThan(5 * 1024 * 1024);
});

test("what kernels swallow at once is no sign of a reader; megabytes over seconds are", () => {
  const all = (bytes: number) => Array.from({ length: bytes / 65_536 }, () => ({ bytes: 65_536, wasBehind: false }));
  const stopped = { bytes: 0, wasBehind: false };
  expect(run([...all(6 * 1024 * 1024), stopped])).toBeLessThanOrEqual(128 * 1024);
  expect(run([...all(6 * 1024 * 1024), stopped], 60)).toBeGreaterThan(256 * 1024);
});

test("more than was granted is noticed", () => {
  const window = new ReceiveWindow();
  expect(window.received(INITIAL_WINDOW)).toBe(true);
  expect(window.received(OVERDRAFT)).toBe(true);
  expect(window.received(1)).toBe(false);
});

test("fast streams share what there is, and return it: when they end, and as a window that shrank is used up", () => {
  const memory = new BulkMemory(10_000_000);
  const read = 8_000_000;
  const grow = () => {
    const window = new ReceiveWindow(memory);
    for (let i = 0; i < 3; i++) {
      window.received(read);
      window.taken(read, false, i);
    }
    return window;
  };
  const [first, second, third] = [grow(), grow(), grow()];
  const large = 4 * 1024 * 1024 - INITIAL_WINDOW;
  expect(memory.left).toBe(10_000_000 - 2 * large - (512 * 1024 - INITIAL_WINDOW)); // the third had to do with less
  third.close();
  first.close();
  first.close();
  expect(memory.left).toBe(10_000_000 - large);
  second.taken(0, true, 4); // behind: what it may still send is granted
  expect(memory.left).toBe(10_000_000 - large);
  second.received(2 * 1024 * 1024);
  second.taken(2 * 1024 * 1024, false, 5);
  expect(memory.left).toBe(10_000_000 - (2 * 1024 * 1024 - INITIAL_WINDOW));
  second.close();
  expect(memory.left).toBe(10_000_000);
});
