/**
 * What two Heddle proxies say to each other inside TLS, agreed by ALPN "heddle/3": frames of many streams, each of them one
 * connection of an application. The caller's proxy opens streams; who may, the far one decides for each.
 *
 *     uint8 type, uint24 length, uint32 stream, then `length` bytes
 *
 *     open     caller → service   a new stream; its number is higher than any before
 *     accept   service → caller   the service is reached: from here on data flows both ways
 *     data                        bytes of the application
 *     fin                         this direction has ended
 *     reset                       the stream is over: nothing, or a reason { code, source, destination, rule, reason } in JSON
 *     window                      uint32: how many more bytes may be sent
 *     ping, pong                  8 bytes that come back
 *     leave                       stream 0: no new streams on this tunnel; with a reason, why the whole tunnel is refused
 */
export const ALPN = "heddle/3";
/** The same without long frames, which proxies of before would take for nonsense: a mesh is upgraded proxy by proxy. */
export const USUAL_ALPN = "heddle/2";
/** In the order in which they are wanted. */
export const ALPNS: readonly string[] = [ALPN, USUAL_ALPN];

export const FRAME = {
  open: 1,
  accept: 2,
  data: 3,
  fin: 4,
  reset: 5,
  window: 6,
  ping: 7,
  pong: 8,
  leave: 9,
} as const;

export type FrameType = (typeof FRAME)[keyof typeof FRAME];

export const HEADER_BYTES = 8;
/** What TLS seals, and hands over, at once. */
export const RECORD_BYTES = 16_384;
/** The longest data frame of a stream with little credit; with its header it fills four TLS records. */
export const USUAL_DATA_BYTES = 4 * RECORD_BYTES - HEADER_BYTES;
/** The longest data frame: of a stream that has the credit for all of it. */
export const MAX_DATA_BYTES = 32 * RECORD_BYTES - HEADER_BYTES;
const MAX_CONTROL_BYTES = 4_096;

/** Writes a header at `at`; the caller made room. */
export function writeHeader(target: Buffer, at: number, type: FrameType, stream: number, length: number): void {
  target[at] = type;
  target[at + 1] = length >>> 16;
  target[at + 2] = length >>> 8;
  target[at + 3] = length;
  target[at + 4] = stream >>> 24;
  target[at + 5] = stream >>> 16;
  target[at + 6] = stream >>> 8;
  target[at + 7] = stream;
}

export interface FrameHandler {
  /** A piece of a data frame, `chunk` from `start` to `end`; `isLast` where the frame ends with it. */
  onData(stream: number, chunk: Buffer, start: number, end: number, isLast: boolean): string | undefined;
  /** Any other frame, whole. Both return what is wrong with it, if anything is. */
  onControl(type: Exclude<FrameType, typeof FRAME.data>, stream: number, payload: Buffer): string | undefined;
}

const EMPTY = Buffer.alloc(0);

/** Reads frames that come in any pieces. */
export class FrameReader {
  readonly #handler: FrameHandler;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerLength = 0;
  #type: FrameType = FRAME.data;
  #stream = 0;
  #left = 0; // bytes of the frame's payload that are still to come
  #payload: Buffer[] = [];

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** Reads `chunk` from `start` to `stop`. Returns why this is no stream of frames; the reader is then of no more use. */
  push(chunk: Buffer, start: number, stop: number): string | undefined {
    let at = start;
    while (at < stop) {
      let wrong: string | undefined;
      if (this.#left === 0) {
        while (this.#headerLength < HEADER_BYTES && at < stop)
          this.#header[this.#headerLength++] = chunk[at++] as number;
        if (this.#headerLength < HEADER_BYTES) return undefined;
        this.#headerLength = 0;
        wrong = this.#begin();
      } else {
        const end = Math.min(stop, at + this.#left);
        this.#left -= end - at;
        wrong =
          this.#type === FRAME.data
            ? this.#handler.onData(this.#stream, chunk, at, end, this.#left === 0)
            : this.#keep(chunk, at, end);
        at = end;
      }
      if (wrong !== undefined) return wrong;
    }
    return undefined;
  }

  #begin(): string | undefined {
    const type = this.#header[0] as FrameType;
    const length = this.#header.readUIntBE(1, 3);
    if (type < FRAME.open || type > FRAME.leave) return `a frame of unknown type ${type}`;
    const max = type === FRAME.data ? MAX_DATA_BYTES : MAX_CONTROL_BYTES;
    if (length > max) return `a frame of type ${type} of ${length} bytes`;
    this.#type = type;
    this.#stream = this.#header.readUInt32BE(4);
    this.#left = length;
    return length === 0 && type !== FRAME.data ? this.#handler.onControl(type, this.#stream, EMPTY) : undefined;
  }

  #keep(chunk: Buffer, start: number, end: number): string | undefined {
    this.#payload.push(Buffer.from(chunk.subarray(start, end)));
    if (this.#left > 0 || this.#type === FRAME.data) return undefined;
    const payload = this.#payload.length === 1 ? (this.#payload[0] as Buffer) : Buffer.concat(this.#payload);
    this.#payload = [];
    return this.#handler.onControl(this.#type, this.#stream, payload);
  }
}
