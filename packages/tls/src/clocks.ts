/** What a certificate's dates say about clocks: which way they are apart, and by how much. */
import type { Validity } from "./expiry.ts";

/**
 * What is wrong with a certificate at `now` (milliseconds since the epoch), to be put behind its name: "is not valid before …".
 * Undefined where it is valid.
 */
export function dateProblem({ notBefore, notAfter }: Validity, now: number): string | undefined {
  if (now < notBefore)
    return `is not valid before ${iso(notBefore)}, ${formatSpan(notBefore - now)} from now by the clock here: that one is behind, or the CA's is ahead`;
  if (now > notAfter) return `expired at ${iso(notAfter)}, ${formatSpan(now - notAfter)} ago by the clock here`;
  return undefined;
}

/** A length of time as people say it: "62 s", "9 min", "5 h", "3 days"; the unit that has two digits, rounded down. */
export function formatSpan(ms: number): string {
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}

const iso = (at: number): string => new Date(at).toISOString();
