import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Refusal, REFUSAL_CODES } from "../refusal.ts";
import { FRAME, FrameReader, type FrameType, HEADER_BYTES, MAX_DATA_BYTES, writeHeader } from "./frames.ts";
import { encodeReason, parseReason } from "./reason.ts";

interface Frame {
  type: FrameType;
  stream: number;
  payload: Uint8Array;
}

function encode({ type, stream, payload }: Frame): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  writeHeader(header, 0, type, stream, payload.length);
  return Buffer.concat([header, payload]);
}

/** Feeds bytes in the given pieces; data of one frame is put together again. */
function readInPieces(bytes: Buffer, sizes: number[]) {
  const frames: Frame[] = [];
  const reader = new FrameReader({
    onData(stream, chunk, start, end) {
      frames.push({ type: FRAME.data, stream, payload: Buffer.from(chunk.subarray(start, end)) });
      return undefined;
    },
    onControl(type, stream, payload) {
      frames.push({ type, stream, payload });
      return undefined;
    },
  });
  let wrong: string | undefined;
  for (let at = 0, i = 0; at < bytes.length && wrong === undefined; i++) {
    const piece = bytes.subarray(at, at + (sizes[i % sizes.length] ?? 1));
    wrong = reader.push(bytes, at, at + piece.length);
    at += piece.length;
  }
  return { frames, wrong };
}

const pieces = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 });
const anyFrame: fc.Arbitrary<Frame> = fc.record({
  type: fc.constantFrom(...Object.values(FRAME)),
  stream: fc.integer({ min: 0, max: 0xffff_ffff }),
  payload: fc.uint8Array({ maxLength: 300 }),
});

/** Consecutive pieces of one stream's data count as one. */
function joined(frames: Frame[]): Frame[] {
  const out: Frame[] = [];
  for (const frame of frames) {
    const last = out.at(-1);
    if (frame.type === FRAME.data && frame.payload.length === 0) continue;
    if (last?.type === FRAME.data && frame.type === FRAME.data && last.stream === frame.stream)
      last.payload = Buffer.concat([last.payload, frame.payload]);
    else out.push({ ...frame, payload: Buffer.from(frame.payload) });
  }
  return out;
}

test("frames arrive as they were sent, in whatever pieces", () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 20 }), pieces, (frames, sizes) => {
      const { frames: read, wrong } = readInPieces(Buffer.concat(frames.map(encode)), sizes);
      expect(wrong).toBeUndefined();
      expect(joined(read)).toEqual(joined(frames));
    }),
  );
});

test("garbage is said to be so, never an exception", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 5_000 }),
      pieces,
      (bytes, sizes) => void readInPieces(Buffer.from(bytes), sizes),
    ),
  );
  const header = (type: number, length: number) => {
    const bytes = Buffer.alloc(HEADER_BYTES);
    writeHeader(bytes, 0, type as FrameType, 1, length);
    return readInPieces(bytes, [HEADER_BYTES]).wrong;
  };
  expect(header(0, 0)).toBe("a frame of unknown type 0");
  expect(header(77, 0)).toBe("a frame of unknown type 77");
  expect(header(FRAME.data, MAX_DATA_BYTES + 1)).toBe(`a frame of type 3 of ${MAX_DATA_BYTES + 1} bytes`);
  expect(header(FRAME.reset, 4_097)).toBe("a frame of type 5 of 4097 bytes");
  expect(header(FRAME.data, MAX_DATA_BYTES)).toBeUndefined();
});

test("a reason arrives as it was sent; what cannot be read is still a refusal", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 100 });
  const some = text.filter((t) => t !== "");
  const refusal: fc.Arbitrary<Refusal> = fc.record({
    code: fc.constantFrom(...REFUSAL_CODES),
    source: text,
    destination: text,
    rule: fc.option(some, { nil: undefined }),
    reason: some,
  });
  fc.assert(
    fc.property(refusal, (given) => {
      expect(parseReason(encodeReason(given))).toEqual(given);
    }),
  );
  const unreadable = { code: "protocol", source: "", destination: "", rule: undefined, reason: "no reason given" };
  for (const json of ["", "{", "null", "[]", '{"code":"__proto__","reason":7}'])
    expect(parseReason(Buffer.from(json))).toEqual(unreadable);
});
