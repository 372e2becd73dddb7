/** The end of a TLS connection that was to be a tunnel, and whose peer is none that may have one. */
import type { RefusedLeg } from "../mesh-tls.ts";
import type { Refusal } from "../refusal.ts";
import { FRAME, HEADER_BYTES, writeHeader } from "./frames.ts";
import { encodeReason } from "./reason.ts";

/** What was said last gets so long to go out. */
export const LAST_WORDS_MS = 1_000;

/** Tells the caller's proxy why there will be no tunnel, and ends the connection. */
export function refuseTunnel(leg: RefusedLeg, refusal: Refusal): void {
  const reason = encodeReason(refusal);
  const header = Buffer.alloc(HEADER_BYTES);
  writeHeader(header, 0, FRAME.leave, 0, reason.length);
  // Closing with unread bytes makes the kernel send a reset, which would overtake the reason: read, and drop, for a while.
  leg.stream.end(Buffer.concat([header, reason]));
  leg.stream.resume();
  setTimeout(() => leg.reset(), LAST_WORDS_MS).unref();
}
