/** A blocking read of another daemon, followed for all in this process that want to know it: the newest answer, and word of each. */
import { describeError, type Followable, type Logger, parseToPassOn } from "@heddle/daemon";
import type { ApiClient } from "./client.ts";

export interface FollowedRead<T> extends Followable, Disposable {
  /** Undefined while nothing has been answered, and where the server has no such path. */
  readonly body: T | undefined;
}

export interface FollowReadOptions {
  /** In the log's words: "roots". */
  what: string;
  log: Logger;
}

/** Follows `path` until it is disposed of. What was answered last stays while the server is away. */
export function followRead<T>(client: ApiClient, path: string, { what, log }: FollowReadOptions): FollowedRead<T> {
  const stop = new AbortController();
  const listeners = new Set<() => void>();
  let index = 0;
  let body: T | undefined;
  let answer: unknown;
  const onError = ({ error, attempt }: { error: unknown; attempt: number }) => {
    if (attempt > 1) return;
    const fields = { server: client.address, error: describeError(error) };
    log.warn(`cannot follow the ${what}, what is known of them stays in use`, fields);
  };
  const run = async () => {
    // A server of an older version has no such path, and nothing to tell.
    const options = { signal: stop.signal, allow: [404], onError };
    for await (const next of client.watch<T>(path, options)) {
      if (next.status === 404) continue;
      body = next.body;
      answer = parseToPassOn(next.raw.toString());
      index = Math.max(index + 1, next.index); // a server that has lost its state counts anew
      for (const listener of listeners) listener();
    }
  };
  run().catch((error: unknown) => {
    if (!stop.signal.aborted) log.error(`following the ${what} has ended`, { error: describeError(error) });
  });
  return {
    get body() {
      return body;
    },
    index: () => index,
    answer: () => answer,
    onChanged(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    [Symbol.dispose]: () => stop.abort(),
  };
}
