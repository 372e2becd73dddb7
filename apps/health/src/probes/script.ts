/**
 * Scripts: a program of the operator's, without a shell, in a process group of its own that is ended whole: on timeout with
 * SIGTERM, then SIGKILL, and with SIGKILL whatever it leaves behind. Exit 0 passes, 1 warns, anything else is critical.
 */
import { formatDuration } from "@heddle/daemon";
import { type ChildProcess, spawn } from "node:child_process";
import { errnoText } from "../go-text.ts";
import { TailBuffer } from "../output.ts";
import { critical, passing, type Probe, type ProbeContext, type ProbeResult, warning } from "./probe.ts";

const DEFAULT_SCRIPT_TIMEOUT_MS = 30_000; // Consul's
const TERM_GRACE_MS = 1_000; // from SIGTERM to SIGKILL
const KILL_GRACE_MS = 500; // from SIGKILL until the result is given without waiting for the last pipe to close

export const probe: Probe = (check, context) => {
  const [program = "", ...args] = check.Args ?? [];
  const timeoutMs = check.TimeoutMs && check.TimeoutMs > 0 ? check.TimeoutMs : DEFAULT_SCRIPT_TIMEOUT_MS;
  return new Promise((resolve) => {
    let child: ChildProcess;
    try {
      child = spawn(program, args, { detached: true, env: context.scriptEnv, stdio: ["ignore", "pipe", "pipe"] });
    } catch (error) {
      return resolve(critical(spawnText(error as NodeJS.ErrnoException, program)));
    }
    watch(child, { program, timeoutMs }, context, resolve);
  });
};

type Run = { program: string; timeoutMs: number };

function watch(child: ChildProcess, run: Run, context: ProbeContext, resolve: (result: ProbeResult) => void): void {
  const output = new TailBuffer(context.outputMaxBytes);
  const { clock } = context;
  let isTimedOut = false;
  let exitCode: number | null = null;

  const settle = (result: ProbeResult) => {
    timer.cancel();
    context.signal.removeEventListener("abort", end);
    resolve(result);
  };
  const finish = () => {
    killGroup(child, "SIGKILL"); // a script may not leave processes behind: one more with every run
    const text = output.captured();
    if (isTimedOut)
      settle(critical(`Timed out (${formatDuration(run.timeoutMs)}) running check${text === "" ? "" : `\n\n${text}`}`));
    else if (exitCode === 0) settle(passing(text));
    else settle(exitCode === 1 ? warning(text) : critical(text));
  };
  let timer = clock.after(run.timeoutMs, () => {
    isTimedOut = true;
    end();
  });
  const end = () => {
    timer.cancel();
    killGroup(child, "SIGTERM");
    timer = clock.after(TERM_GRACE_MS, () => {
      killGroup(child, "SIGKILL");
      timer = clock.after(KILL_GRACE_MS, () => {
        // Something left the group and holds a pipe open, or the kernel will not let go of it: do not wait for it.
        child.stdout?.destroy();
        child.stderr?.destroy();
        finish();
      });
    });
  };
  context.signal.addEventListener("abort", end, { once: true });
  child.on("error", (error: NodeJS.ErrnoException) => {
    if (child.pid === undefined) settle(critical(spawnText(error, run.program)));
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => output.push(chunk));
    stream?.on("error", () => {});
  }
  child.once("exit", (code) => {
    exitCode = code;
  });
  // "close" comes when the program has ended and nobody holds its output: a background child keeps the check running.
  child.once("close", finish);
}

function killGroup(child: ChildProcess, signal: "SIGKILL" | "SIGTERM"): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The group is gone already.
  }
}

function spawnText(error: NodeJS.ErrnoException, program: string): string {
  if (!program.includes("/") && error.code === "ENOENT")
    return `exec: ${JSON.stringify(program)}: executable file not found in $PATH`;
  return `fork/exec ${program}: ${errnoText(error)}`;
}
