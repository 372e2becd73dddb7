/** Protocol Buffers' wire format, as far as etcd's, SPIFFE's and health's messages need it (protobuf.dev/programming-guides/encoding). */

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;
const FIRST_CAPACITY = 256;

/** Writes one message. Fields with their default value are left out, as proto3 does. */
export class MessageWriter {
  #buffer = Buffer.allocUnsafe(FIRST_CAPACITY);
  #length = 0;

  /** An integer that is not negative: up to 2^53 as a number, up to 2^64 as a bigint. */
  int(field: number, value: bigint | number | boolean | undefined): this {
    if (!value) return this;
    this.#varint(field * 8 + VARINT);
    if (typeof value === "bigint") this.#bigVarint(value);
    else this.#varint(Number(value));
    return this;
  }

  /** A zero that has to be there, as in a `oneof`. */
  zero(field: number): this {
    this.#varint(field * 8 + VARINT);
    this.#varint(0);
    return this;
  }

  bytes(field: number, value: Buffer | string | undefined): this {
    if (value === undefined || value.length === 0) return this;
    const length = typeof value === "string" ? Buffer.byteLength(value) : value.length;
    this.#varint(field * 8 + BYTES);
    this.#varint(length);
    this.#reserve(length);
    if (typeof value === "string") this.#buffer.write(value, this.#length);
    else value.copy(this.#buffer, this.#length);
    this.#length += length;
    return this;
  }

  /** A message inside this one, there even where it is empty. */
  message(field: number, inner: MessageWriter): this {
    const bytes = inner.finish();
    this.#varint(field * 8 + BYTES);
    this.#varint(bytes.length);
    this.#reserve(bytes.length);
    bytes.copy(this.#buffer, this.#length);
    this.#length += bytes.length;
    return this;
  }

  get length(): number {
    return this.#length;
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #varint(value: number): void {
    this.#reserve(10);
    let left = value;
    for (; left >= 0x80; left = Math.floor(left / 0x80)) this.#buffer[this.#length++] = (left % 0x80) | 0x80;
    this.#buffer[this.#length++] = left;
  }

  #bigVarint(value: bigint): void {
    this.#reserve(10);
    let left = BigInt.asUintN(64, value);
    for (; left >= 0x80n; left >>= 7n) this.#buffer[this.#length++] = Number(left & 0x7fn) | 0x80;
    this.#buffer[this.#length++] = Number(left);
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + more));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

/** Reads one message field by field. Throws RangeError where it is cut short. */
export class MessageReader {
  readonly #buffer: Buffer;
  #at = 0;
  #wire = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  /** The number of the next field, or 0 at the end; then call what reads its kind, or `skip`. */
  next(): number {
    if (this.#at >= this.#buffer.length) return 0;
    const tag = this.int();
    this.#wire = tag & 7;
    return tag >>> 3;
  }

  /** An integer; what is past 2^53 loses its lowest bits: see `big`. */
  int(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  big(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
  }

  /** The bytes of a field; they share memory with the message. */
  bytes(): Buffer {
    const length = this.int();
    return this.#take(length);
  }

  text(): string {
    return this.bytes().toString("utf8");
  }

  skip(): void {
    if (this.#wire === VARINT) this.big();
    else if (this.#wire === BYTES) this.bytes();
    else if (this.#wire === FIXED64) this.#take(8);
    else if (this.#wire === FIXED32) this.#take(4);
    else throw new RangeError(`unknown wire type ${this.#wire} in a message`);
  }

  #byte(): number {
    const byte = this.#buffer[this.#at++];
    if (byte === undefined) throw new RangeError("a message is cut short");
    return byte;
  }

  #take(length: number): Buffer {
    if (this.#at + length > this.#buffer.length) throw new RangeError("a message is cut short");
    return this.#buffer.subarray(this.#at, (this.#at += length));
  }
}
