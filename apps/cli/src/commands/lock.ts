/** `heddle lock`: a program that runs only while this process holds a lock. */
import { type ApiClient, ApiError } from "@heddle/api-client";
import { sleep } from "@heddle/daemon";
import { runChild } from "../child.ts";
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { createLock, createSemaphore, type Mutex } from "../mutex.ts";
import type { Terminal } from "../terminal.ts";

const CHILD_FAILED = 2;
const SESSION_TTL_MS = 15_000; // Consul's: how long a lock outlives a holder that was killed
const MONITOR_RETRY_MS = 1_000;
const MAX_HOLDERS = 10_000;

export const lock = command({
  usage: "lock [options] PREFIX CHILD...",
  about: `Takes the lock PREFIX/.lock, runs CHILD while it is held, and gives it back. With -n, up to that many hold it at
once. A CHILD whose lock is lost gets SIGTERM, and SIGKILL 5 s later. Consul's own clients and ours exclude each other.

    $ heddle lock jobs/backup ./backup.sh`,
  api: "datacenter",
  argumentsAreData: true,
  flags: {
    childExitCode: flag.boolean("Exit status 2 where CHILD failed."),
    monitorRetry: flag.integer(
      "How often to ask again, 1 s apart, when the agent answers 5xx about the lock.",
      0,
      1_000_000,
      3,
    ),
    n: flag.integer("How many may hold it at once.", -MAX_HOLDERS, MAX_HOLDERS, 1),
    name: flag.text("Name of the session; made of CHILD by default."),
    passStdin: flag.boolean("Give CHILD our standard input."),
    shell: { ...flag.boolean("Run CHILD by $SHELL or /bin/sh."), default: true },
    timeout: flag.duration("Longest time to wait for the lock, such as 10s; 0 is for ever.", 0),
    try: flag.duration("The older name of -timeout.", 0),
    verbose: flag.boolean("Print each step."),
  },
  async run({ api, args, flags, terminal }) {
    const [prefix = "", ...child] = args;
    if (child.length === 0) throw new CommandError("Key prefix and child command must be specified");
    if (flags.n <= 0) throw new CommandError("Lock holder limit must be positive");
    const timeoutMs = flags.timeout || flags.try;
    const say = (text: string) => flags.verbose && terminal.out(`${text}\n`);
    const path = prefix.replace(/^\/+|\/+$/g, "");
    const name = flags.name || `Consul lock for '${child.join(" ")}' at '${path}'`;
    await using session = await attempt("Lock acquisition failed: failed to create session", openSession(api, name));
    const mutex = flags.n > 1 ? createSemaphore(api, path, session.id, flags.n) : createLock(api, path, session.id);
    say(
      flags.n > 1
        ? `Setting up semaphore (limit ${flags.n}) at prefix: ${path}`
        : `Setting up lock at path: ${path}/.lock`,
    );
    say("Attempting lock acquisition");
    await acquire(mutex, timeoutMs, terminal.interrupted);
    say("Starting handler");
    const env = { ...terminal.env, CONSUL_LOCK_HELD: "true", HEDDLE_LOCK_HELD: "true" };
    const failure = await hold(mutex, {
      child,
      shell: flags.shell,
      env,
      passStdin: flags.passStdin,
      retries: flags.monitorRetry,
      terminal,
      say,
    });
    await attempt("Lock release failed", mutex.release());
    say((await attempt("Lock cleanup failed", mutex.cleanup())) ? "Cleanup succeeded" : "Cleanup aborted, lock in use");
    if (failure === "lost") return 1;
    if (failure !== undefined) terminal.err(`Error running handler: ${failure}\n`);
    return failure !== undefined && flags.childExitCode ? CHILD_FAILED : 0;
  },
});

async function acquire(mutex: Mutex, timeoutMs: number, interrupted: AbortSignal): Promise<void> {
  const signal = timeoutMs > 0 ? AbortSignal.any([interrupted, AbortSignal.timeout(timeoutMs)]) : interrupted;
  try {
    await mutex.acquire(signal);
  } catch (cause) {
    if (signal.aborted) throw new CommandError("Shutdown triggered or timeout during lock acquisition", 1, { cause });
    await attempt("Lock acquisition failed", Promise.reject(cause as Error));
  }
}

interface HoldOptions {
  child: string[];
  shell: boolean;
  env: Record<string, string | undefined>;
  passStdin: boolean;
  retries: number;
  terminal: Terminal;
  say: (text: string) => void;
}

/** Runs the child until it ends, the lock is lost ("lost") or we are interrupted; otherwise why the child failed. */
async function hold(mutex: Mutex, options: HoldOptions): Promise<string | undefined> {
  const { say, terminal } = options;
  using watching = new DisposableController();
  const child = runChild(options.child, {
    shell: options.shell,
    env: options.env,
    stdin: options.passStdin ? "inherit" : "ignore",
  });
  const lost = untilLost(mutex, options.retries, watching.signal).then(() => "lost" as const);
  const interrupted = new Promise<"interrupted">((resolve) =>
    terminal.interrupted.addEventListener("abort", () => resolve("interrupted"), { once: true }),
  );
  const outcome = await Promise.race([child.ended.then((failure) => ({ failure })), lost, interrupted]);
  if (typeof outcome === "object") {
    say("Child terminated, releasing lock");
    return outcome.failure;
  }
  if (outcome === "lost") terminal.err("Lock lost, killing child\n");
  else say("Shutdown triggered, killing child");
  await child.stop();
  return outcome === "lost" ? "lost" : undefined;
}

class DisposableController extends AbortController {
  [Symbol.dispose](): void {
    this.abort();
  }
}

/** Resolves when the lock is lost or nobody can say any more whether it is held; never once `signal` has aborted. */
async function untilLost(mutex: Mutex, retries: number, signal: AbortSignal): Promise<void> {
  for (let left = retries; ; left--) {
    try {
      return await mutex.lost(signal);
    } catch (error) {
      if (signal.aborted) return new Promise(() => {});
      if (left <= 0 || !(error instanceof ApiError && error.status >= 500)) return;
      await sleep(MONITOR_RETRY_MS, signal).catch(() => {});
    }
  }
}

/** A session that is renewed until it is disposed of. */
async function openSession(api: ApiClient, name: string): Promise<{ id: string } & AsyncDisposable> {
  const { body } = await api.put<{ ID: string }>("/v1/session/create", {
    body: { Name: name, TTL: `${SESSION_TTL_MS / 1000}s` },
  });
  // A renewal that fails is not the end: the watch on the key says when the lock is gone.
  const timer = setInterval(() => void api.put(`/v1/session/renew/${body.ID}`).catch(() => {}), SESSION_TTL_MS / 2);
  return {
    id: body.ID,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await api.put(`/v1/session/destroy/${body.ID}`).catch(() => {});
    },
  };
}
