/** What every daemon is: something that starts, tells its health, and closes in steps. */
import { describeError } from "./errors.ts";
import type { Logger } from "./log.ts";

export interface Health {
  /** True once the part has done its first work. */
  started: boolean;
  live: boolean;
  ready: boolean;
  /** Why it is not ready, or what it stands on. */
  details?: string;
}

/** A daemon that serves. `close` drains and may be called twice. */
export interface Running extends AsyncDisposable {
  /** Where it listens, for example "http://127.0.0.1:8300"; empty where it has no listener. */
  readonly url: string;
  health(): Record<string, Health>;
  close(): Promise<void>;
}

/** Runs long-lived loops together: the first failure aborts the rest and is what `wait` throws. */
export class TaskGroup implements AsyncDisposable {
  readonly #controller = new AbortController();
  readonly #tasks: Promise<void>[] = [];
  #failure: { error: unknown } | undefined;

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  run(task: (signal: AbortSignal) => Promise<void>, onFailure?: (error: unknown) => void): void {
    this.#tasks.push(
      task(this.signal).catch((error: unknown) => {
        if (this.signal.aborted) return;
        this.#failure ??= { error };
        onFailure?.(error);
        this.#controller.abort(error);
      }),
    );
  }

  async close(): Promise<void> {
    this.#controller.abort(new Error("closing"));
    await Promise.all(this.#tasks);
  }

  async wait(): Promise<void> {
    await Promise.all(this.#tasks);
    if (this.#failure) throw this.#failure.error;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

export interface MainOptions {
  log: Logger;
  /** Called on SIGHUP. */
  reload?: () => Promise<void>;
  /** Called with the signal before what runs is closed, within the same grace. */
  beforeClose?: (signal: NodeJS.Signals) => Promise<void>;
  /** The longest a drain may take before the process exits anyway. */
  shutdownGraceMs?: number;
}

const DEFAULT_SHUTDOWN_GRACE_MS = 4_500; // below the 5 s after which an orchestrator's SIGKILL is common

/** What starts; told where it should wait for others no longer. */
export type Starting = Running | Promise<Running> | ((signal: AbortSignal) => Promise<Running>);

/**
 * Waits for SIGTERM or SIGINT, closes what runs and resolves with the exit status. A second signal ends at once. Give it
 * the promise of `start`, or what calls it: a signal may come the moment the daemon serves, or before.
 */
export async function runUntilSignal(starting: Starting, options: MainOptions): Promise<number> {
  const { log } = options;
  const graceMs = options.shutdownGraceMs ?? DEFAULT_SHUTDOWN_GRACE_MS;
  const onHup = () => {
    log.info("caught signal", { signal: "hangup" });
    options
      .reload?.()
      .catch((error: unknown) =>
        log.error("reload failed, everything goes on as before", { error: describeError(error) }),
      );
  };
  process.on("SIGHUP", onHup);
  const waiting = new AbortController();
  const signalled = new Promise<NodeJS.Signals>((resolve) => {
    const onSignal = (signal: NodeJS.Signals, name: string) => {
      log.info("caught signal, draining", { signal: name });
      process.removeAllListeners("SIGTERM").removeAllListeners("SIGINT");
      const force = () => process.exit(1);
      process.once("SIGTERM", force).once("SIGINT", force);
      setTimeout(() => {
        log.warn("drain took too long, exiting", { grace_ms: graceMs });
        process.exit(0);
      }, graceMs).unref();
      waiting.abort();
      resolve(signal);
    };
    process.once("SIGTERM", () => onSignal("SIGTERM", "terminated"));
    process.once("SIGINT", () => onSignal("SIGINT", "interrupt"));
  });
  const running = await started(starting, waiting.signal);
  if (!running) {
    log.info("told to end before it was started");
    return 0;
  }
  const signal = await signalled;
  await options.beforeClose?.(signal);
  await running.close();
  log.info("exit");
  return 0;
}

/** Undefined where it was told to end before. */
async function started(starting: Starting, signal: AbortSignal): Promise<Running | undefined> {
  try {
    return await (typeof starting === "function" ? starting(signal) : starting);
  } catch (error) {
    if (error !== signal.reason) throw error;
    return undefined;
  }
}

/** Folds the health of parts into one: ready and live only if all are. */
export function foldHealth(parts: Record<string, Health>): Health {
  const all = Object.values(parts);
  const bad = Object.entries(parts).find(([, h]) => !h.ready);
  return {
    started: all.every((h) => h.started),
    live: all.every((h) => h.live),
    ready: bad === undefined,
    ...(bad && { details: `${bad[0]}: ${bad[1].details ?? "not ready"}` }),
  };
}
