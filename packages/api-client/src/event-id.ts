/**
 * Ids of user events. Consul's client takes an event's index from its id (one half XOR the other) and compares it with
 * X-Consul-Index to know which events it has seen, so the halves of ours differ by a number that grows with each event.
 */
import { randomBytes } from "node:crypto";

const HALF = 64n;
const LOW_HALF = (1n << HALF) - 1n;
/** The index of a list without events; the first event has the next one. */
export const NO_EVENT_INDEX = 1;

/** A version 4 UUID whose index is `index`. */
export function createEventId(index: number): string {
  const high = randomBytes(8);
  high[0] = ((high[0] as number) & 0x3f) | 0x80; // its other half carries the variant there
  high[6] = ((high[6] as number) & 0x0f) | 0x40; // the version
  const first = high.readBigUInt64BE();
  const hex = ((first << HALF) | (first ^ BigInt(index))).toString(16).padStart(32, "0");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Undefined for an id that is none of ours. */
export function eventIndex(id: string): number | undefined {
  const hex = id.replaceAll("-", "");
  if (!/^[\da-f]{32}$/.test(hex)) return undefined;
  const value = BigInt(`0x${hex}`);
  const index = (value >> HALF) ^ (value & LOW_HALF);
  return index <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(index) : undefined;
}
