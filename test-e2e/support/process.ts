/** Real programs: run to their end, or kept running while a test reads what they print. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { onTestFinished } from "vitest";

export const ROOT = join(import.meta.dirname, "../..");
/** `./heddle` of the repository, or what HEDDLE_COMMAND names: an installed one, say. */
export const HEDDLE = process.env.HEDDLE_COMMAND || join(ROOT, "heddle");

const DEFAULT_RUN_TIMEOUT_MS = 20_000;
const PRINT_TIMEOUT_MS = 15_000;

export interface Result {
  /** Exit status, or the name of the signal that ended it. */
  status: number | string;
  out: string;
  err: string;
}

export interface ProcessOptions {
  cwd?: string;
  env?: Record<string, string>;
}

/** Runs a program to its end, with `stdin` if it is given. Ends it with SIGKILL after `timeoutMs`, 20 s by default. */
export async function run(
  program: string,
  args: readonly string[],
  options: ProcessOptions & { stdin?: string; timeoutMs?: number } = {},
): Promise<Result> {
  const started = start(program, args, options);
  started.end(options.stdin ?? "");
  const timer = setTimeout(() => started.child.kill("SIGKILL"), options.timeoutMs ?? DEFAULT_RUN_TIMEOUT_MS);
  const status = await started.exited.finally(() => clearTimeout(timer));
  return { status, out: started.out, err: started.err };
}

export interface Program {
  child: ChildProcess;
  /** What it printed so far, on standard output, on standard error, and on both in the order of arrival. */
  readonly out: string;
  readonly err: string;
  readonly text: string;
  exited: Promise<number | string>;
  write: (text: string) => void;
  /** Ends its standard input. */
  end: (text?: string) => void;
  /** Waits until it has printed this, from the place `from` of its text on; returns the match. Fails when it ends before. */
  printed: (what: string | RegExp, options?: { from?: number; timeoutMs?: number }) => Promise<RegExpExecArray>;
  /** Sends a signal and waits for the end. */
  stop: (signal?: NodeJS.Signals) => Promise<number | string>;
}

/** Starts a program that is killed when the running test is over. */
export function start(program: string, args: readonly string[], options: ProcessOptions = {}): Program {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, LC_ALL: "C.UTF-8", ...options.env };
  const child = spawn(program, args, { cwd: options.cwd, env });
  let [out, err, text] = ["", "", ""];
  let isOver = false;
  const listeners = new Set<() => void>();
  const tell = () => {
    for (const listener of listeners) listener();
  };
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    out += chunk;
    text += chunk;
    tell();
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    err += chunk;
    text += chunk;
    tell();
  });
  child.stdin.on("error", () => {}); // it ended before it read all: its status says so
  const exited = new Promise<number | string>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      isOver = true;
      resolve(code ?? signal ?? "");
      tell();
    });
  });
  exited.catch(() => {});
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await exited.catch(() => {});
  });
  return {
    child,
    get out() {
      return out;
    },
    get err() {
      return err;
    },
    get text() {
      return text;
    },
    exited,
    write: (data) => void child.stdin.write(data),
    end: (data = "") => void child.stdin.end(data),
    printed: (what, { from = 0, timeoutMs = PRINT_TIMEOUT_MS } = {}) =>
      new Promise((resolve, reject) => {
        const pattern = typeof what === "string" ? new RegExp(quote(what)) : what;
        const settle = (problem?: string) => {
          const match = pattern.exec(text.slice(from));
          if (!match && problem === undefined) return;
          clearTimeout(timer);
          listeners.delete(look);
          if (match) resolve(match);
          else
            reject(new Error(`${program} ${args.join(" ")} ${problem}: no ${String(what)} in:\n${text.slice(from)}`));
        };
        const look = () => settle(isOver ? "ended" : undefined);
        const timer = setTimeout(() => settle(`printed for ${timeoutMs} ms`), timeoutMs);
        listeners.add(look);
        look();
      }),
    stop(signal = "SIGTERM") {
      child.kill(signal);
      return exited;
    },
  };
}

/** A text as a regular expression that matches it alone. */
export const quote = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
