/**
 * Reads over HTTP: a handler names a question, and this writes its answer, at once or once its index has moved past the
 * caller's (`index`, `wait`; Consul's blocking queries).
 */
import { type ApiHandler, type ApiRequest, parseDuration, refusal } from "@heddle/daemon";
import type { Answer, Question } from "./answers.ts";
import type { CatalogState } from "./state.ts";

const DEFAULT_WAIT_MS = 5 * 60_000;
const MAX_WAIT_MS = 10 * 60_000;

/** How a question is asked of a request; throws to refuse. The same for HTTP and for the stream. */
export type Ask = (request: Pick<ApiRequest, "query" | "rest">) => Question;

export interface ReadOptions {
  /** Shown as X-Consul-Effective-Consistency, which Consul has on some endpoints only. */
  consistency?: boolean;
}

/** Consistency mode, index and wait of a request. Throws Consul's 400s. */
export function readParams(query: URLSearchParams): { index: number; waitMs: number; mode: "consistent" | "leader" | "stale"; cached: boolean } {
  if (query.size === 0) return { index: 0, waitMs: DEFAULT_WAIT_MS, mode: "leader", cached: false };
  const stale = query.has("stale");
  const consistent = query.has("consistent");
  if (stale && consistent) throw refusal(400, "Cannot specify ?stale with ?consistent, conflicting semantics.");
  const cached = query.has("cached");
  if (cached && consistent) throw refusal(400, "Cannot specify ?cached with ?consistent, conflicting semantics.");
  const maxStale = query.get("max_stale");
  if (maxStale !== null && !isDuration(maxStale)) throw refusal(400, `Invalid max_stale value ${JSON.stringify(maxStale)}`);
  const rawIndex = query.get("index");
  const rawWait = query.get("wait");
  if (rawWait !== null && rawWait !== "" && !isDuration(rawWait)) throw refusal(400, "Invalid wait time");
  if (rawIndex !== null && rawIndex !== "" && !/^\d{1,20}$/.test(rawIndex)) throw refusal(400, "Invalid index");
  const wait = rawWait ? parseDuration(rawWait) : 0;
  return {
    index: Number(rawIndex ?? 0),
    waitMs: wait <= 0 ? DEFAULT_WAIT_MS : Math.min(wait, MAX_WAIT_MS),
    mode: stale || maxStale !== null ? "stale" : consistent ? "consistent" : "leader",
    cached,
  };
}

function isDuration(text: string): boolean {
  try {
    parseDuration(text);
    return text !== "0" || true;
  } catch {
    return false;
  }
}

/** Turns a question into the handler of a GET row. */
export function read(state: CatalogState, ask: Ask, { consistency = true }: ReadOptions = {}): ApiHandler {
  return function answerRead(request) {
    const { res, query } = request;
    const params = readParams(query);
    const question = ask(request);
    const send = (answer: Answer) => {
      const headers: Record<string, string | number> = {
        "X-Consul-Index": answer.index,
        "X-Consul-KnownLeader": "true",
        "X-Consul-LastContact": 0,
        "Vary": "Accept-Encoding",
        "Content-Length": answer.body.length,
      };
      if (consistency) headers["X-Consul-Effective-Consistency"] = params.mode;
      if (answer.body.length > 0 && answer.status === 200) headers["Content-Type"] = "application/json";
      if (params.cached) {
        headers["X-Cache"] = "HIT";
        headers["Age"] = 0;
      }
      if (answer.headers) Object.assign(headers, answer.headers);
      const body = query.has("pretty") && headers["Content-Type"] === "application/json" ? prettify(answer.body) : answer.body;
      headers["Content-Length"] = body.length;
      res.writeHead(answer.status, headers);
      res.end(body);
    };
    if (params.index === 0) return send(state.answers.now(question));
    const waitMs = params.waitMs + (Math.random() * params.waitMs) / 16;
    const waiting = state.answers.wait(question, params.index, waitMs, send);
    res.once("close", waiting.cancel);
  };
}

// JSON.parse would round flags past 2^53: they are kept as they stand.
function prettify(body: Buffer): Buffer {
  const value: unknown = JSON.parse(body.toString("utf8"), (_key, v: unknown, context?: { source?: string }) =>
    typeof v === "number" && !Number.isSafeInteger(v) && context?.source ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(context.source) : v,
  );
  return Buffer.from(`${JSON.stringify(value, undefined, 4)}\n`);
}
