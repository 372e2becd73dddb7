import { array, assert, integer, property, uint8Array } from "fast-check";
import { expect, test } from "vitest";
import { TailBuffer } from "./output.ts";

test("keeps exactly the last bytes of whatever is pushed", () => {
  assert(
    property(integer({ min: 1, max: 50 }), array(uint8Array({ maxLength: 40 })), (max, chunks) => {
      const tail = new TailBuffer(max);
      for (const chunk of chunks) tail.push(Buffer.from(chunk));
      const all = Buffer.concat(chunks);
      expect(tail.bytes()).toEqual(all.subarray(Math.max(0, all.length - max)));
      expect(tail.total).toBe(all.length);
    }),
  );
});

test("says how much was cut", () => {
  const tail = new TailBuffer(10);
  tail.push(Buffer.from("abcdefghijklmno"));
  expect(tail.captured()).toBe("Captured 10 of 15 bytes\n...\nfghijklmno");
});
