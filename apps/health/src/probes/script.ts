/**
 * Scripts: a program of the operator's, without a shell, in a process group of its own that is ended whole: on timeout with
 * SIGTERM, then SIGKILL, and with SIGKILL whatever it leaves behind. Exit 0 passes, 1 warns, anything else is critical.
 */
import { describeError, formatDuration } from "@heddle/daemon";
import { type ChildProcess, spawn, type StdioOptions } from "node:child_process";
import { closeSync, fchownSync } from "node:fs";
import type { Socket } from "node:net";
import { errnoText } from "../go-text.ts";
import { TailBuffer } from "../output.ts";
import { readPipe } from "../pipes.ts";
import { identityVariables, type ScriptUser } from "../script-user.ts";
import { critical, passing, type Probe, type ProbeContext, type ProbeResult, warning } from "./probe.ts";

const DEFAULT_SCRIPT_TIMEOUT_MS = 30_000; // Consul's
const TERM_GRACE_MS = 1_000; // from SIGTERM to SIGKILL
const KILL_GRACE_MS = 500; // from SIGKILL until the result is given without waiting for the last pipe to close

export const probe: Probe = async (check, context) => {
  const [program = "", ...args] = check.Args ?? [];
  const timeoutMs = check.TimeoutMs && check.TimeoutMs > 0 ? check.TimeoutMs : DEFAULT_SCRIPT_TIMEOUT_MS;
  let user: ScriptUser | undefined;
  try {
    user = await context.scriptUsers(check.ScriptUser);
  } catch (error) {
    return critical(describeError(error));
  }
  const pipe = await context.pipes.take();
  const output = new TailBuffer(context.outputMaxBytes);
  const outlet = pipe && readPipe(pipe, (chunk) => output.push(chunk));
  const stdio: StdioOptions = pipe ? ["ignore", pipe.writeFd, pipe.writeFd] : ["ignore", "pipe", "pipe"];
  let child: ChildProcess | undefined;
  try {
    if (pipe && user) fchownSync(pipe.writeFd, user.uid, user.gid); // so that it can open /dev/stderr, too
    const env = { ...context.scriptEnv, ...(user && identityVariables(user)) };
    // With a uid given, libuv gives up all supplementary groups before it changes group and user.
    child = spawn(program, args, { detached: true, env, stdio, ...(user && { uid: user.uid, gid: user.gid }) });
    if (pipe) closeSync(pipe.writeFd);
    return await watch(child, { program, timeoutMs, output, outlet }, context);
  } catch (error) {
    if (pipe) closeSync(pipe.writeFd); // spawn threw: an argument that no program can have
    return critical(spawnText(error as NodeJS.ErrnoException, program));
  } finally {
    for (const stream of [outlet, child?.stdout, child?.stderr]) stream?.destroy();
  }
};

interface Run {
  program: string;
  timeoutMs: number;
  output: TailBuffer;
  /** Where the output comes from; undefined where it is the child's own streams. */
  outlet: Socket | undefined;
}

function watch(child: ChildProcess, run: Run, context: ProbeContext): Promise<ProbeResult> {
  const { promise, resolve } = Promise.withResolvers<ProbeResult>();
  const { clock } = context;
  const { output } = run;
  let isTimedOut = false;

  const settle = (result: ProbeResult) => {
    timer.cancel();
    context.signal.removeEventListener("abort", end);
    resolve(result);
  };
  const finish = () => {
    killGroup(child, "SIGKILL"); // a script may not leave processes behind: one more with every run
    const text = output.captured();
    const said = text === "" ? "" : `\n\n${text}`;
    if (isTimedOut) settle(critical(`Timed out (${formatDuration(run.timeoutMs)}) running check${said}`));
    else if (child.exitCode === 0) settle(passing(text));
    else settle(child.exitCode === 1 ? warning(text) : critical(text));
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
      // If something left the group and holds the pipe, or the kernel will not let go of it, it is not waited for.
      timer = clock.after(KILL_GRACE_MS, finish);
    });
  };
  context.signal.addEventListener("abort", end, { once: true });
  if (context.signal.aborted) end();
  child.on("error", (error: NodeJS.ErrnoException) => {
    if (child.pid === undefined) settle(critical(spawnText(error, run.program)));
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => output.push(chunk));
    stream?.on("error", () => {});
  }
  // The run is over when the program has ended and nobody holds its output: a background child keeps the check running.
  const outlets = [child, ...(run.outlet ? [run.outlet] : [])];
  let open = outlets.length;
  for (const outlet of outlets) outlet.once("close", () => --open === 0 && finish());
  return promise;
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
