/** Runs the `watches` of the configuration: each follows a view on the agent's own API and tells its handler what changed. */
import { type ApiClient, tellHttpHandler, watchChanges } from "@heddle/api-client";
import { describeError, type Logger } from "@heddle/daemon";
import { parseWatch, type WatchDefinition } from "./definition.ts";
import { runScript } from "./script.ts";

const RETRY_MAX_MS = 180_000; // Consul's longest pause between attempts

export interface WatchesOptions {
  /** A client of the agent's own API, with this token; the caller of `connect` closes it. */
  connect: (token: string) => ApiClient;
  log: Logger;
}

interface RunningWatch {
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
    const next = new Map<string, RunningWatch>();
    for (const block of blocks) {
      const key = JSON.stringify(block);
      if (!next.has(key)) next.set(key, this.#running.get(key) ?? this.#start(parseWatch(block)));
    }
    const gone = [...this.#running].filter(([key]) => !next.has(key)).map(([, watch]) => watch.end());
    this.#running = next;
    await Promise.all(gone);
  }

  close(): Promise<void> {
    return this.set([]);
  }

  #start(definition: WatchDefinition): RunningWatch {
    const controller = new AbortController();
    const done = this.#run(definition, controller.signal).catch((error: unknown) =>
      this.#options.log.error("watch ended", { watch: definition.label, error: describeError(error) }),
    );
    return {
      async end() {
        controller.abort();
        await done;
      },
    };
  }

  async #run({ plan, handler, token, label, fireOn }: WatchDefinition, signal: AbortSignal): Promise<void> {
    const { connect, log } = this.#options;
    const api = connect(token);
    try {
      const changes = watchChanges(api, plan, {
        signal,
        fireOn,
        retryMaxMs: RETRY_MAX_MS,
        onError: ({ error, retryMs }) =>
          log.error("Watch errored", { watch: label, error: describeError(error), retry_ms: Math.round(retryMs) }),
      });
      for await (const change of changes) {
        const told =
          handler.kind === "http" ? tellHttpHandler(handler, change, signal) : runScript(handler, change, signal);
        const name = handler.kind === "http" ? handler.url : handler.argv.join(" ");
        await told.then(
          (output) => log.debug("watch handler output", { handler: name, output }),
          (error: unknown) =>
            signal.aborted || log.error("Failed to run watch handler", { handler: name, error: describeError(error) }),
        );
      }
    } finally {
      api.close();
    }
  }
}
