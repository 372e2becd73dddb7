/** The query parameters that every read of the public API has in common (Consul's consistency modes and blocking queries). */
import { refusal } from "./api.ts";
import { parseDuration } from "./duration.ts";

const DEFAULT_WAIT_MS = 5 * 60_000;
const MAX_WAIT_MS = 10 * 60_000;
const MAX_UINT64 = 2n ** 64n - 1n;

export interface ReadParams {
  /** 0 asks for an answer at once. */
  index: number;
  waitMs: number;
  mode: "consistent" | "leader" | "stale";
  cached: boolean;
  /** With `max_stale`: how old the answer may be. */
  maxStaleMs?: number;
}

/** Consistency mode, index and wait of a request. Throws Consul's 400s. */
export function readParams(query: URLSearchParams): ReadParams {
  if (query.size === 0) return { index: 0, waitMs: DEFAULT_WAIT_MS, mode: "leader", cached: false };
  const stale = query.has("stale");
  const consistent = query.has("consistent");
  if (stale && consistent) throw refusal(400, "Cannot specify ?stale with ?consistent, conflicting semantics.");
  const cached = query.has("cached");
  if (cached && consistent) throw refusal(400, "Cannot specify ?cached with ?consistent, conflicting semantics.");
  const maxStale = query.get("max_stale");
  if (maxStale !== null && !isDuration(maxStale))
    throw refusal(400, `Invalid max_stale value ${JSON.stringify(maxStale)}`);
  const rawIndex = query.get("index");
  const rawWait = query.get("wait");
  if (rawWait !== null && rawWait !== "" && !isDuration(rawWait)) throw refusal(400, "Invalid wait time");
  if (rawIndex && (!/^\d{1,20}$/.test(rawIndex) || BigInt(rawIndex) > MAX_UINT64)) throw refusal(400, "Invalid index");
  const wait = rawWait ? parseDuration(rawWait) : 0;
  return {
    index: Number(rawIndex ?? 0),
    waitMs: wait <= 0 ? DEFAULT_WAIT_MS : Math.min(wait, MAX_WAIT_MS),
    mode: stale || maxStale !== null ? "stale" : consistent ? "consistent" : "leader",
    cached,
    ...(maxStale !== null && { maxStaleMs: parseDuration(maxStale) }),
  };
}

function isDuration(text: string): boolean {
  try {
    parseDuration(text);
    return true;
  } catch {
    return false;
  }
}
