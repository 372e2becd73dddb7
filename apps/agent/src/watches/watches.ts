/** Runs the `watches` of the configuration: each follows a view on the agent's own API and tells its handler what changed. */
import { type ApiClient, tellHttpHandler, type WatchChange, watchChanges } from "@heddle/api-client";
import { backoffMs, describeError, type Logger, sleep } from "@heddle/daemon";
import type { Store } from "@heddle/store";
import { dropCursors, watchCursor } from "./cursors.ts";
import { parseWatch, type WatchDefinition, type WatchHandler } from "./definition.ts";
import { runScript } from "./script.ts";

const RETRY_MAX_MS = 180_000; // Consul's longest pause between attempts
const TELL_AGAIN_MS = 1_000; // the first pause after a handler failed; they grow to RETRY_MAX_MS

export interface WatchesOptions {
  /** A client of the agent's own API, with this token; the caller of `connect` closes it. */
  connect: (token: string) => ApiClient;
  /** Keeps the cursors. */
  store: Store;
  log: Logger;
}

interface RunningWatch {
  cursor: string;
  end: () => Promise<void>;
}

export class Watches {
  readonly #options: WatchesOptions;
  /** By what the configuration says, so that a reload leaves alone what it does not change. */
  #running = new Map<string, RunningWatch>();

  constructor(options: WatchesOptions) {
    this.#options = options;
  }

  /** Starts what is new and ends what is gone; blocks of the same text are one. */
  async set(blocks: readonly Readonly<Record<string, unknown>>[]): Promise<void> {
    const wanted = new Map(blocks.map((block) => [JSON.stringify(block), block]));
    const gone = [...this.#running].filter(([key]) => !wanted.has(key)).map(([, watch]) => watch.end());
    // One that goes on under the same cursor begins where this one ended.
    await Promise.all(gone);
    this.#running = new Map(
      [...wanted].map(([key, block]) => [key, this.#running.get(key) ?? this.#start(parseWatch(block))]),
    );
    const cursors = new Set([...this.#running.values()].map(({ cursor }) => cursor));
    await dropCursors(this.#options.store, (name) => cursors.has(name));
  }

  /** Ends all of them; cursors stay. */
  async close(): Promise<void> {
    const running = [...this.#running.values()];
    this.#running.clear();
    await Promise.all(running.map((watch) => watch.end()));
  }

  #start(definition: WatchDefinition): RunningWatch {
    const controller = new AbortController();
    const done = this.#run(definition, controller.signal).catch((error: unknown) =>
      this.#options.log.error("watch ended", { watch: definition.label, error: describeError(error) }),
    );
    return {
      cursor: definition.cursor,
      async end() {
        controller.abort();
        await done;
      },
    };
  }

  async #run(definition: WatchDefinition, signal: AbortSignal): Promise<void> {
    const { handler, token, cursor } = definition;
    const { connect, log } = this.#options;
    const api = connect(token);
    const name = handler.kind === "http" ? handler.url : handler.argv.join(" ");
    let failures = 0;
    try {
      while (!signal.aborted) {
        try {
          for await (const change of this.#changes(api, definition, signal)) {
            const told = tell(handler, change, signal).then((output) => {
              log.debug("watch handler output", { handler: name, output });
              failures = 0;
            });
            if (cursor !== "") await told;
            else
              await told.catch((error: unknown) => {
                const facts = { handler: name, error: describeError(error) };
                if (!signal.aborted) log.error("Failed to run watch handler", facts);
              });
          }
        } catch (error) {
          if (cursor === "") throw error;
          if (signal.aborted) return;
          // It was not told: what the view is by then is told as the change from where the cursor is.
          const retryMs = backoffMs(failures++, TELL_AGAIN_MS, RETRY_MAX_MS);
          const facts = { handler: name, error: describeError(error), retry_ms: Math.round(retryMs) };
          log.error("Failed to run watch handler", facts);
          await sleep(retryMs, signal).catch(() => {});
        }
      }
    } finally {
      api.close();
    }
  }

  #changes(api: ApiClient, { plan, label, fireOn, deliver, cursor }: WatchDefinition, signal: AbortSignal) {
    const { log, store } = this.#options;
    return watchChanges(api, plan, {
      signal,
      fireOn,
      deliver,
      cursor: cursor === "" ? undefined : watchCursor(store, cursor),
      retryMaxMs: RETRY_MAX_MS,
      onError: ({ error, retryMs }) =>
        log.error("Watch errored", { watch: label, error: describeError(error), retry_ms: Math.round(retryMs) }),
    });
  }
}

const tell = (handler: WatchHandler, change: WatchChange, signal: AbortSignal): Promise<string> =>
  handler.kind === "http" ? tellHttpHandler(handler, change, signal) : runScript(handler, change, signal);
