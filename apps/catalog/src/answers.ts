/**
 * Answers to reads: a question names its topics and how it is computed; asked again, its answer is kept as bytes until one of the topics
 * is touched. Waiters with the same question share one computation and one buffer (docs/architecture.md, "Everything that waits").
 */
import { HeddleError, type SharedAnswer } from "@heddle/daemon";
import type { Topics, Waiter } from "./topics.ts";

export interface Question {
  /** Equal keys mean equal answers. */
  readonly key: string;
  /** Where what is asked decides them, a getter: they may then be others once one of them has been touched. */
  readonly topics: readonly string[];
  /** The answer, `undefined` for not found, or bytes with their own headers. */
  compute: () => unknown;
  /** True for answers that may be kept; false where they are random or need nothing. */
  keep?: boolean;
  /** Where the answer is somebody's bytes and not JSON: over HTTP alone. */
  isBytes?: boolean;
  encode?: (value: unknown) => Encoded;
}

export interface Encoded {
  status: number;
  body: Buffer;
  headers?: Record<string, string>;
}

export interface Answer extends Encoded {
  readonly index: number;
  /** Beside the index: another one where the answer has changed in what wakes nobody. */
  readonly version: number;
  /** The answer in the common case, with its head, once it was asked for. */
  shared?: SharedAnswer;
  /** The freshness that `shared` tells of. */
  sharedAs?: number;
}

const MAX_KEPT = 2_048;
const MAX_ASKED = 4_096;
const MAX_KEPT_BYTES = 64 * 1024 * 1024;

export class Answers {
  readonly #topics: Topics;
  readonly #kept = new Map<string, Answer>();
  #keptBytes = 0;
  readonly #asked = new Set<string>();

  constructor(topics: Topics) {
    this.#topics = topics;
  }

  /** The answer as of now. */
  now(question: Question): Answer {
    const index = this.#topics.index(question.topics);
    const kept = this.#kept.get(question.key);
    const version = this.#topics.version(question.topics);
    if (kept?.index === index && kept.version === version) return kept;
    const answer: Answer = { ...encodeSafely(question), index, version };
    if (question.keep === false || answer.status >= 500 || answer.status === 400) return answer;
    if (!this.#wasAsked(question.key)) return answer;
    answer.body = owned(answer.body);
    this.#keep(question.key, answer);
    return answer;
  }

  /** Calls `done` with the first answer whose index is above `after`, or with the current one when `timeoutMs` has passed. */
  wait(question: Question, after: number, timeoutMs: number, done: (answer: Answer) => void): { cancel: () => void } {
    if (this.#topics.index(question.topics) > after) {
      done(this.now(question));
      return { cancel: () => {} };
    }
    let off = () => {};
    // Two commits close together wake a waiter twice, and one that is cancelled may have been woken already.
    let isOver = false;
    const finish = () => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      off();
      done(this.now(question));
    };
    const timer = setTimeout(finish, timeoutMs);
    const waiter: Waiter = {
      topics: question.topics,
      wake: () => {
        if (this.#topics.index(question.topics) > after) finish();
      },
    };
    off = this.#topics.wait(waiter);
    return {
      cancel: () => {
        isOver = true;
        clearTimeout(timer);
        off();
      },
    };
  }

  /** Whether a question has been asked before, not long ago. What is asked only once is not worth keeping. */
  #wasAsked(key: string): boolean {
    if (this.#asked.has(key)) return true;
    if (this.#asked.size >= MAX_ASKED) this.#asked.clear();
    this.#asked.add(key);
    return false;
  }

  #keep(key: string, answer: Answer): void {
    const old = this.#kept.get(key);
    if (old) {
      this.#keptBytes -= old.body.length;
      this.#kept.delete(key);
    }
    this.#kept.set(key, answer);
    this.#keptBytes += answer.body.length;
    while (this.#kept.size > MAX_KEPT || this.#keptBytes > MAX_KEPT_BYTES) {
      const [oldest, dropped] = this.#kept.entries().next().value as [string, Answer];
      this.#kept.delete(oldest);
      this.#keptBytes -= dropped.body.length;
    }
  }
}

/** In memory of its own: a slice of Node's pool keeps all of its 64 KiB, however short it is. */
function owned(body: Buffer): Buffer {
  if (body.buffer.byteLength === body.length) return body;
  const own = Buffer.allocUnsafeSlow(body.length);
  body.copy(own);
  return own;
}

// What computes an answer may refuse to (a filter that takes too long); waiters are woken from timers, where nobody catches.
function encodeSafely(question: Question): Encoded {
  try {
    return (question.encode ?? encodeAnswer)(question.compute());
  } catch (error) {
    if (!(error instanceof HeddleError)) throw error;
    const headers = { "Content-Type": "text/plain; charset=utf-8" };
    return { status: error.status, body: Buffer.from(error.message), headers };
  }
}

function encodeAnswer(value: unknown): Encoded {
  return value === undefined
    ? { status: 404, body: Buffer.alloc(0) }
    : { status: 200, body: Buffer.from(JSON.stringify(value)) };
}
