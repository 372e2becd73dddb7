/**
 * The change stream without a connection, for a daemon composed into the catalog's own process. Its reader polls: it gets
 * what a write just acknowledged has changed, and a change that nobody asks after costs nothing.
 */
import type { Question } from "./answers.ts";
import type { Ask } from "./blocking.ts";
import type { CatalogState } from "./state.ts";
import { resolve } from "./stream.ts";

export interface LocalStream {
  readonly connected: true;
  /** Gives the answer before it returns, and a changed one at the next `poll`. Throws InvalidArgumentError for a path that cannot be followed. */
  subscribe(
    path: string,
    handlers: { onAnswer: (answer: { index: number; body: unknown }) => void },
  ): LocalSubscription;
}

export interface LocalSubscription {
  /** Gives the answer now if it has changed since the last one. */
  poll(): void;
  close(): void;
}

export function createLocalStream({
  state,
  questions,
}: {
  state: CatalogState;
  questions: Record<string, Ask>;
}): LocalStream {
  return {
    connected: true,
    subscribe: (path, { onAnswer }) => follow(state, resolve(questions, path), onAnswer),
  };
}

function follow(
  state: CatalogState,
  question: Question,
  onAnswer: (answer: { index: number; body: unknown }) => void,
): LocalSubscription {
  let seen = 0;
  let isClosed = false;
  const poll = () => {
    if (isClosed || state.topics.index(question.topics) <= seen) return;
    const { index, status, body } = state.answers.now(question);
    seen = index;
    onAnswer({ index, body: status === 200 && body.length > 0 ? JSON.parse(body.toString("utf8")) : null });
  };
  poll();
  return { poll, close: () => void (isClosed = true) };
}
