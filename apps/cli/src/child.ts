/** Runs other programs for `lock` and `watch`: by the shell unless told otherwise, with signals passed on. */
import { type ChildProcess, spawn } from "node:child_process";
import { CommandError } from "./command.ts";

const KILL_GRACE_MS = 5_000; // Consul's: then SIGKILL

export interface ChildOptions {
  /** Run by $SHELL -c (or /bin/sh), the arguments joined by spaces; otherwise the first is the program. */
  shell: boolean;
  env: Record<string, string | undefined>;
  /** Bytes for its standard input; "inherit" gives it ours. */
  stdin: Buffer | "ignore" | "inherit";
}

export interface Child {
  /** Why it failed ("exit status 3", "signal: SIGKILL"), or undefined. */
  readonly ended: Promise<string | undefined>;
  /** SIGTERM to it and all that it started, and SIGKILL later. */
  stop(): Promise<void>;
}

export function runChild(argv: readonly string[], { shell, env, stdin }: ChildOptions): Child {
  const [program, args] = shell ? [env.SHELL || "/bin/sh", ["-c", argv.join(" ")]] : [argv[0] as string, argv.slice(1)];
  // A group of its own, so that a stop reaches what the shell has started.
  const child = spawn(program, args, {
    env,
    detached: stdin !== "inherit",
    stdio: [Buffer.isBuffer(stdin) ? "pipe" : stdin, "inherit", "inherit"],
  });
  child.stdin?.on("error", () => {}); // it need not read what it is given
  if (Buffer.isBuffer(stdin)) child.stdin?.end(stdin);
  const ended = new Promise<string | undefined>((resolve, reject) => {
    child.once("error", (cause) =>
      reject(new CommandError(`Error running handler: cannot start '${program}': ${cause.message}`, 1, { cause })),
    );
    child.once("close", (code, signal) =>
      resolve(signal ? `signal: ${signal}` : code === 0 ? undefined : `exit status ${code}`),
    );
  });
  return {
    ended,
    async stop() {
      signalGroup(child, "SIGTERM");
      const timer = setTimeout(() => signalGroup(child, "SIGKILL"), KILL_GRACE_MS);
      await ended.catch(() => {});
      clearTimeout(timer);
    },
  };
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    child.kill(signal);
  }
}
