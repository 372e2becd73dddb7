/** How close a certificate is to its end, in stages that are told: nothing expires in silence. */
import { backdatedMs, CLOCK_SKEW_MS } from "./leaf.ts";

export interface Validity {
  /** Milliseconds since the epoch. */
  notBefore: number;
  notAfter: number;
}

/** Days before the end. Where a certificate lives for less than 300 days they shrink in proportion: the first is a tenth of its life. */
const STAGES_DAYS = [30, 14, 7, 1];
const FULL_LIFE_DAYS = 300;
const DAY_MS = 86_400_000;

/** The stage from which on whoever needs the certificate says that it is not ready. */
export const URGENT_STAGE = 3;
export const EXPIRED_STAGE = STAGES_DAYS.length + 1;

/** 0 while there is time, 1 to 4 from 30, 14, 7 and 1 days before the end on, 5 when it has expired. */
export function expiryStage(validity: Validity, now: number): number {
  if (now >= validity.notAfter) return EXPIRED_STAGE;
  return STAGES_DAYS.filter((days) => now >= validity.notAfter - scaled(days, validity)).length;
}

/** When the next stage begins; undefined where there is none. */
export function nextStageAt(validity: Validity, now: number): number | undefined {
  const starts = [...STAGES_DAYS.map((days) => validity.notAfter - scaled(days, validity)), validity.notAfter];
  return starts.find((at) => at > now);
}

const RENEW_FROM = 0.6;
const RENEW_TO = 0.75; // Consul goes to 0.9; so a CA that is away for a fifth of a life, and then has to start, ends no leaf (ROT-05)
const RENEW_STEPS = 64;
const MIN_RENEWAL_MS = 1_000; // whatever a CA's answer says, it is not asked in a loop

/**
 * How long to wait from `now` with the renewal: to a random point between 60 % and 75 % of the life, so that those that were
 * made together are not renewed together. The points are few: thousands of timers share their lengths.
 */
export function renewalDelayMs({ notBefore, notAfter }: Validity, now: number, random = Math.random): number {
  const share = RENEW_FROM + (Math.floor(random() * RENEW_STEPS) / RENEW_STEPS) * (RENEW_TO - RENEW_FROM);
  return Math.max(MIN_RENEWAL_MS, notBefore + (notAfter - notBefore) * share - now);
}

/**
 * The same for one that was signed a moment ago, counted from then: the clock of whoever holds it may be apart from the CA's, and a
 * renewal that comes too late by as much would come after the end.
 */
export function freshRenewalDelayMs(validity: Validity, { skewMs = CLOCK_SKEW_MS, random = Math.random } = {}): number {
  const signedAt = validity.notBefore + backdatedMs(validity.notAfter - validity.notBefore, skewMs);
  return renewalDelayMs(validity, signedAt, random);
}

/** Days left, with one decimal; negative once it has expired. */
export function daysLeft({ notAfter }: Pick<Validity, "notAfter">, now: number): number {
  return Math.floor(((notAfter - now) / DAY_MS) * 10) / 10;
}

function scaled(days: number, { notBefore, notAfter }: Validity): number {
  return days * DAY_MS * Math.min(1, (notAfter - notBefore) / (FULL_LIFE_DAYS * DAY_MS));
}
