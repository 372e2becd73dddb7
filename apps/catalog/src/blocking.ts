/**
 * Reads over HTTP: a handler names a question, and this writes its answer, at once or once its index has moved past the
 * caller's (`index`, `wait`; Consul's blocking queries).
 */
import {
  type ApiHandler,
  type ApiRequest,
  HeddleError,
  readParams,
  refusalHeaders,
  SharedAnswer,
  whenDraining,
} from "@heddle/daemon";
import { loadRegexps, needsRegexps } from "@heddle/filter";
import type { Answer, Question } from "./answers.ts";
import type { Store } from "@heddle/store";
import type { CatalogState } from "./state.ts";

/** How a question is asked of a request; throws to refuse. The same for HTTP and for the stream. */
export type Ask = (request: Pick<ApiRequest, "query" | "rest">) => Question;

export interface ReadOptions {
  /** Shown as X-Consul-Effective-Consistency, which Consul has on some endpoints only. */
  consistency?: boolean;
  /** Names and values in turn, told with every answer. */
  head?: readonly string[];
}

// As a list, which Node writes as it stands.
const READ_HEAD = ["Vary", "Accept-Encoding", "X-Content-Type-Options", "nosniff"];

// Answers that go out in one burst say the same, so that they share their bytes.
const CONTACT_STEP_MS = 50;

/** How fresh an answer of now is; 0 and true where nobody else writes. */
export function contactFields(store: Store): Record<string, string> {
  const { lastContactMs, knowsLeader } = store.contact();
  const ms = Math.ceil(lastContactMs / CONTACT_STEP_MS) * CONTACT_STEP_MS;
  return { "X-Consul-KnownLeader": String(knowsLeader), "X-Consul-LastContact": String(ms) };
}

// The same as one number, which is cheap to compare for each of thousands of waiters.
function contactKey(store: Store): number {
  const { lastContactMs, knowsLeader } = store.contact();
  const steps = Math.ceil(lastContactMs / CONTACT_STEP_MS);
  return knowsLeader ? steps : -1 - steps;
}

// Up to a sixteenth longer, as in Consul, in steps: Node keeps a list for each length of time, and waiters share these.
const JITTER_STEPS = 64;
const MAX_ASKED = 1_024; // remembered questions with `cached`, a row

/** Turns a question into the handler of a GET row. */
export function read(
  state: CatalogState,
  ask: Ask,
  { consistency = true, head: ownHead = [] }: ReadOptions = {},
): ApiHandler {
  // Every answer here is as fresh as can be, so its age is 0; a question's first caller is told what an agent's cache would.
  const asked = new Set<string>();
  const hasAsked = (key: string): boolean => {
    if (asked.has(key)) return true;
    if (asked.size >= MAX_ASKED) asked.clear();
    asked.add(key);
    return false;
  };
  const answerRead = (request: ApiRequest) => {
    const { res, query } = request;
    const params = readParams(query);
    const question = askOrExplain(ask, request);
    const headOf = (answer: Answer, length: number): string[] => {
      const contact = Object.entries(contactFields(state.store)).flat();
      const head = ["X-Consul-Index", String(answer.index), ...contact, ...READ_HEAD, "Content-Length", String(length)];
      if (consistency) head.push("X-Consul-Effective-Consistency", params.mode);
      if (isJson(answer)) head.push("Content-Type", "application/json");
      if (params.cached) head.push("X-Cache", ...(hasAsked(question.key) ? ["HIT", "Age", "0"] : ["MISS"]));
      head.push(...ownHead);
      for (const name in answer.headers) head.push(name, answer.headers[name] as string);
      return head;
    };
    const send = (answer: Answer) => {
      const isPretty = query.has("pretty") && isJson(answer);
      if (isPretty || params.cached || params.mode !== "leader") {
        const body = isPretty ? prettify(answer.body) : answer.body;
        res.writeHead(answer.status, headOf(answer, body.length)).end(body);
        return;
      }
      const contact = contactKey(state.store);
      if (answer.sharedAs !== contact) {
        answer.shared = new SharedAnswer({ ...answer, head: headOf(answer, answer.body.length) });
        answer.sharedAs = contact;
      }
      answer.shared?.send(res);
    };
    if (params.index === 0) return send(state.answers.now(question));
    const waitMs = Math.ceil(params.waitMs * (1 + Math.round(Math.random() * JITTER_STEPS) / JITTER_STEPS / 16));
    const waiting = state.answers.wait(question, params.index, waitMs, send);
    res.once("close", waiting.cancel);
    whenDraining(res, () => {
      if (res.headersSent) return; // on its way to a client that reads slowly
      waiting.cancel();
      send(state.answers.now(question));
    });
  };
  return function answerWhenReady(request) {
    const { query } = request;
    const isRegexp = needsRegexps(query.get("filter") ?? "");
    if (query.size === 0 || (!isRegexp && !mustCatchUp(state.store, query))) return answerRead(request);
    const caughtUp = mustCatchUp(state.store, query) ? state.store.catchUp() : undefined;
    return Promise.all([caughtUp, isRegexp && loadRegexps()]).then(() => answerRead(request));
  };
}

/** A consistent read waits for every commit from before it; a stale one only where memory is older than it takes. */
export function mustCatchUp(store: Store, query: URLSearchParams): boolean {
  const { mode, maxStaleMs } = readParams(query);
  return mode === "consistent" || (maxStaleMs !== undefined && store.contact().lastContactMs > maxStaleMs);
}

const isJson = ({ body, status, headers }: Answer): boolean => body.length > 0 && status === 200 && !headers;

// A server's refusal says when it was given, as its answers do.
function askOrExplain(ask: Ask, request: ApiRequest): Question {
  try {
    return ask(request);
  } catch (error) {
    if (error instanceof HeddleError && error.status >= 500) refusalHeaders(request);
    throw error;
  }
}

/** JSON with four spaces. JSON.parse would round flags past 2^53: they are kept as they stand. */
export function prettify(body: Buffer): Buffer {
  const value: unknown = JSON.parse(body.toString("utf8"), (_key, v: unknown, context?: { source?: string }) =>
    typeof v === "number" && !Number.isSafeInteger(v) && context?.source
      ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(context.source)
      : v,
  );
  return Buffer.from(`${JSON.stringify(value, undefined, 4)}\n`);
}
