import * as fc from "fast-check";
import { expect, test } from "vitest";
import { acceptPreface, cutFrame, type Preface, PrefaceReader, readCut, refusePreface } from "./preface.ts";
import { type Refusal, REFUSAL_CODES } from "./refusal.ts";

const text = fc.string({ unit: "grapheme", maxLength: 100 });
const anyRefusal: fc.Arbitrary<Refusal> = fc.record({
  code: fc.constantFrom(...REFUSAL_CODES),
  source: text,
  destination: text,
  rule: fc.option(
    text.filter((t) => t !== ""),
    { nil: undefined },
  ),
  reason: text.filter((t) => t !== ""),
});

/** Feeds bytes in the given pieces; the answer to the last of them. */
function readInPieces(bytes: Buffer, sizes: number[]): Preface {
  const reader = new PrefaceReader();
  let last: Preface = { type: "incomplete" };
  for (let at = 0, i = 0; at < bytes.length && last.type === "incomplete"; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    last = reader.push(bytes.subarray(at, at + size));
    at += size;
  }
  return last;
}

const pieces = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 });

test("a refusal arrives as it was sent, in whatever pieces", () => {
  fc.assert(
    fc.property(anyRefusal, pieces, (refusal, sizes) => {
      expect(readInPieces(refusePreface(refusal), sizes)).toEqual({ type: "refused", refusal });
    }),
  );
});

test("an accepting preface gives the mark, and the application's first bytes unchanged", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), (body) => {
      const { bytes, mark } = acceptPreface();
      expect(new PrefaceReader().push(Buffer.concat([bytes, body]))).toEqual({
        type: "accepted",
        mark,
        rest: Buffer.from(body),
      });
    }),
  );
});

test("a cut is read by its mark alone", () => {
  fc.assert(
    fc.property(anyRefusal, fc.uint8Array({ maxLength: 200 }), (refusal, other) => {
      const { mark } = acceptPreface();
      expect(readCut(mark, cutFrame(mark, refusal))).toEqual(refusal);
      expect(readCut(mark, Buffer.from(other))).toBeUndefined();
    }),
  );
});

test("garbage is invalid or incomplete, never an exception", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5_000 }), pieces, (bytes, sizes) => {
      const { mark } = acceptPreface();
      readInPieces(Buffer.from(bytes), sizes);
      readCut(mark, Buffer.concat([mark, Buffer.from(bytes)]));
    }),
  );
  expect(new PrefaceReader().push(Buffer.from([7]))).toEqual({ type: "invalid", why: "unknown status byte 7" });
  expect(new PrefaceReader().push(Buffer.from([1, 0xff, 0xff]))).toEqual({
    type: "invalid",
    why: "a reason of 65535 bytes",
  });
});
