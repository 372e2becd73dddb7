/**
 * A blocking query as an async iterator, by the rules that Consul asks of clients: an index that goes back means start
 * again, an index is never below 1, and a loop that answers at once is slowed down.
 */
import { backoffMs, formatDuration, sleep } from "@heddle/daemon";
import type { ApiClient, ApiResponse, Query } from "./client.ts";

const DEFAULT_WAIT_MS = 5 * 60_000; // Consul's own default
const ANSWER_SLACK_MS = 15_000; // past `wait` and its sixteenth of jitter, a silent agent counts as gone
const RETRY_BASE_MS = 100;
const DEFAULT_RETRY_MAX_MS = 5_000;
const BURST = 5; // answers that may follow each other at once; then one each REFILL_MS
const REFILL_MS = 200;
const POLL_MS = 10_000; // where an answer carries neither index nor hash there is nothing to wait on

export interface WatchFailure {
  error: unknown;
  /** 1 for the first failure in a row. */
  attempt: number;
  retryMs: number;
}

export interface WatchOptions {
  signal: AbortSignal;
  query?: Query;
  /** Statuses besides 2xx that are answers, not errors: `[404]`. */
  allow?: readonly number[];
  /** Waits on X-Consul-ContentHash instead of X-Consul-Index: `/v1/agent/service/:id` knows no index. */
  hash?: boolean;
  waitMs?: number;
  /** Asks again after this long where the server does not wait for a change: its answer then has index 1, or none. */
  pollMs?: number;
  /** The longest pause between attempts while the agent is away. Default 5 s. */
  retryMaxMs?: number;
  onError?: (failure: WatchFailure) => void;
  /** Called after every answer, changed or not. */
  onAnswer?: () => void;
}

export async function* watch<T>(
  client: ApiClient,
  path: string,
  options: WatchOptions,
): AsyncGenerator<ApiResponse<T>, void, void> {
  const { signal, hash: byHash = false, waitMs = DEFAULT_WAIT_MS } = options;
  const wait = formatDuration(waitMs);
  const timeoutMs = waitMs + waitMs / 16 + ANSWER_SLACK_MS;
  const takeTurn = createLimiter();
  let seen = ""; // the index or hash of the last answer; empty asks for an answer at once
  let attempt = 0;
  while (!signal.aborted) {
    let answer: ApiResponse<T>;
    try {
      await takeTurn(signal);
      const position = seen === "" ? {} : { [byHash ? "hash" : "index"]: seen, wait };
      answer = await client.get<T>(path, {
        query: { ...options.query, ...position },
        allow: options.allow ?? [],
        timeoutMs,
        signal,
      });
    } catch (error) {
      if (signal.aborted) return;
      // An agent that comes back may have started its indexes again: asking with the old one could wait for long.
      seen = "";
      const retryMs = backoffMs(attempt++, RETRY_BASE_MS, options.retryMaxMs ?? DEFAULT_RETRY_MAX_MS);
      options.onError?.({ error, attempt, retryMs });
      await sleep(retryMs, signal).catch(() => {});
      continue;
    }
    attempt = 0;
    options.onAnswer?.();
    const position = byHash ? String(answer.headers["x-consul-contenthash"] ?? "") : nextIndex(seen, answer);
    const isChanged = seen === "" || position !== seen;
    const cannotWait = position === "1" && options.pollMs !== undefined;
    seen = cannotWait ? "" : position;
    if (isChanged) yield answer;
    if (cannotWait || (position === "" && !("x-consul-index" in answer.headers)))
      await sleep(options.pollMs ?? POLL_MS, signal).catch(() => {});
  }
}

function nextIndex(seen: string, answer: ApiResponse): string {
  if (answer.headers["x-consul-index"] === undefined) return "";
  if (answer.index < Number(seen)) return "";
  return String(Math.max(1, answer.index));
}

/** A token bucket: BURST answers at once, then one each REFILL_MS. */
function createLimiter(): (signal: AbortSignal) => Promise<void> {
  let tokens = BURST;
  let at = performance.now();
  return async (signal) => {
    const now = performance.now();
    tokens = Math.min(BURST, tokens + (now - at) / REFILL_MS);
    at = now;
    tokens -= 1;
    if (tokens < 0) await sleep(-tokens * REFILL_MS, signal);
  };
}
