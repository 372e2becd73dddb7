/** gRPC's messages on a stream of HTTP/2 (grpc.io, PROTOCOL-HTTP2 "Length-Prefixed-Message"): a byte of flags, four of length, the message. */

export const FRAME_HEAD_BYTES = 5;

/** A message in its frame, not compressed. */
export function toFrame(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  message.copy(frame, FRAME_HEAD_BYTES);
  return frame;
}

/** Takes a stream's chunks and tells each message that is whole; one of more than `maxBytes` is told once, and nothing after it. */
export function createFrameReader(
  maxBytes: number,
  onMessage: (message: Buffer) => void,
  onTooLong: () => void,
): (chunk: Buffer) => void {
  let parts: Buffer[] = [];
  let length = 0;
  let isOver = false;
  return (chunk) => {
    if (isOver) return;
    parts.push(chunk);
    length += chunk.length;
    while (length >= FRAME_HEAD_BYTES) {
      if ((parts[0] as Buffer).length < FRAME_HEAD_BYTES) parts = [Buffer.concat(parts)];
      const size = (parts[0] as Buffer).readUInt32BE(1);
      if (size > maxBytes) {
        isOver = true;
        return onTooLong();
      }
      if (length < FRAME_HEAD_BYTES + size) return;
      const all = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
      onMessage(all.subarray(FRAME_HEAD_BYTES, FRAME_HEAD_BYTES + size));
      const rest = all.subarray(FRAME_HEAD_BYTES + size);
      parts = rest.length > 0 ? [rest] : [];
      length = rest.length;
    }
  };
}
