/**
 * One subscription of the change stream, and the questions that wait for its first answer. After that the last answer stays,
 * whatever happens to the catalog.
 */
import { type Clock, describeError, type Logger, type Timer, UnavailableError } from "@heddle/daemon";

/** What the DNS daemon needs of `createStreamClient` of @heddle/api-client. */
export interface CatalogStream {
  readonly connected: boolean;
  subscribe(
    path: string,
    handlers: { onAnswer(answer: { index: number; body: unknown }): void; onError?(error: Error): void },
  ): Subscription;
}

export interface Subscription {
  /** Where the catalog is in this process: gives a changed answer before it returns. */
  poll?(): void;
  close(): void;
}

export interface FollowerDeps {
  stream: CatalogStream;
  clock: Clock;
  log: Logger;
}

const FIRST_ANSWER_TIMEOUT_MS = 2_000; // resolvers ask again after 5 s; by then another server can answer
const RESUBSCRIBE_MS = 1_000;

export class Follower<T> {
  #value: T | undefined;
  #waiting = new Set<{ resolve: (value: T) => void; reject: (error: Error) => void; timer: Timer }>();
  #subscription: Subscription | undefined;
  #retry: Timer | undefined;
  #isClosed = false;
  readonly #path: string;
  readonly #read: (body: unknown) => T;
  readonly #deps: FollowerDeps;
  /** For the owner, who forgets what was not used for long. */
  usedAt = 0;

  constructor(path: string, read: (body: unknown) => T, deps: FollowerDeps) {
    this.#path = path;
    this.#read = read;
    this.#deps = deps;
    this.#subscribe();
  }

  get current(): T | undefined {
    return this.#value;
  }

  /** Whether nobody will have to wait for it any more. */
  get isSettled(): boolean {
    return this.#value !== undefined || this.#isClosed;
  }

  /** The last answer; a promise of the first one while there is none, which rejects with UnavailableError after 2 s. */
  get(): T | Promise<T> {
    this.#subscription?.poll?.();
    if (this.#value !== undefined) return this.#value;
    if (this.#isClosed) return Promise.reject(new UnavailableError(`no longer following ${this.#path}`));
    return new Promise((resolve, reject) => {
      const timer = this.#deps.clock.after(FIRST_ANSWER_TIMEOUT_MS, () => {
        this.#waiting.delete(waiter);
        reject(new UnavailableError(`no answer to ${this.#path} from the catalog yet`));
      });
      const waiter = { resolve, reject, timer };
      this.#waiting.add(waiter);
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#retry?.cancel();
    this.#subscription?.close();
    this.#settle((w) => w.reject(new UnavailableError(`no longer following ${this.#path}`)));
  }

  #subscribe(): void {
    this.#subscription = this.#deps.stream.subscribe(this.#path, {
      onAnswer: ({ body }) => {
        try {
          const value = this.#read(body);
          this.#value = value;
          this.#settle((w) => w.resolve(value));
        } catch (error) {
          this.#deps.log.error("an answer of the catalog makes no sense, keeping the last one", {
            path: this.#path,
            error: describeError(error),
          });
        }
      },
      onError: (error) => {
        this.#deps.log.warn("the catalog ended a subscription, asking again", {
          path: this.#path,
          error: describeError(error),
        });
        this.#subscription = undefined;
        if (!this.#isClosed) this.#retry = this.#deps.clock.after(RESUBSCRIBE_MS, () => this.#subscribe());
      },
    });
    if (this.#isClosed) this.#subscription.close();
  }

  #settle(tell: (waiter: { resolve: (value: T) => void; reject: (error: Error) => void }) => void): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const waiter of waiting) {
      waiter.timer.cancel();
      tell(waiter);
    }
  }
}
