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

/**
 * What stays as it is however often it is asked; 5, 11 and 16 are not found, out of range and unauthenticated. "Unknown" is not
 * among them: a member of etcd without a leader says it ("raft proposal dropped").
 */
const LASTING: ReadonlySet<number> = new Set([
  ...[GRPC.invalidArgument, GRPC.permissionDenied, GRPC.resourceExhausted, GRPC.unimplemented],
  ...[5, 11, 16],
]);
const BUSY = /too many requests/; // resource exhausted, too, but not for long

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
    this.isPassing = !LASTING.has(grpcCode) || BUSY.test(message);
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
