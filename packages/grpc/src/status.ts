/** How a call ended: gRPC's codes, and its message as it stands in a header. */

/** The codes that are told apart here, by the names of gRPC. */
export const GRPC = {
  ok: 0,
  canceled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  permissionDenied: 7,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

const PASSING: ReadonlySet<number> = new Set([GRPC.canceled, GRPC.deadlineExceeded, GRPC.unavailable]);

/** A call that failed: the server's words, or why it did not come to them. A server's method throws it to say its status. */
export class GrpcError extends Error {
  readonly grpcCode: number;
  /** Whether the same call may do better in a moment, or elsewhere. */
  readonly isPassing: boolean;
  /** False where the call certainly did nothing: it was never sent. */
  readonly wasSent: boolean;
  constructor(grpcCode: number, message: string, { wasSent = true } = {}) {
    super(message);
    this.name = "GrpcError";
    this.grpcCode = grpcCode;
    this.isPassing = PASSING.has(grpcCode);
    this.wasSent = wasSent;
  }
}

/** grpc-message is percent-encoded (PROTOCOL-HTTP2 "Percent-Encoded"). */
export function encodeStatusMessage(text: string): string {
  return text.replace(/[^\x20-\x24\x26-\x7e]/gu, (c) => encodeURIComponent(c));
}

/** What does not decode is shown as it came. */
export function decodeStatusMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
