/** Runs a watch's program: the view on standard input, the last of what it says for the log. */
import { spawn } from "node:child_process";
import { describeError, UnavailableError } from "@heddle/daemon";
import type { WatchChange } from "@heddle/api-client";
import type { WatchHandler } from "./definition.ts";

const MAX_OUTPUT_BYTES = 4 * 1024; // Consul's
const KILL_GRACE_MS = 1_000;

type Script = Extract<WatchHandler, { kind: "script" }>;

/** Resolves with the last of its output. Throws UnavailableError where it cannot be started or fails. */
export async function runScript({ argv, isShell }: Script, change: WatchChange, signal: AbortSignal): Promise<string> {
  const [program = "", ...args] = isShell ? [process.env.SHELL || "/bin/sh", "-c", ...argv] : argv;
  const index = String(change.index);
  let tail = Buffer.alloc(0);
  let total = 0;
  const output = () => {
    const text = tail.toString("utf8");
    return total > tail.length ? `Captured ${tail.length} of ${total} bytes\n...\n${text}` : text;
  };
  // A group of its own, so that its end reaches what a shell has started.
  const child = spawn(program, args, {
    detached: true,
    env: { ...process.env, CONSUL_INDEX: index, HEDDLE_INDEX: index, HEDDLE_CHANGE_ID: change.id },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const kill = (name: NodeJS.Signals) => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name);
    } catch {
      // The group is gone already.
    }
  };
  const stop = () => {
    kill("SIGTERM");
    setTimeout(() => kill("SIGKILL"), KILL_GRACE_MS).unref();
  };
  signal.addEventListener("abort", stop, { once: true });
  child.stdin.on("error", () => {}); // it need not read what it is given
  child.stdin.end(`${change.json}\n`);
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("error", () => {});
    stream.on("data", (chunk: Buffer) => {
      total += chunk.length;
      tail = Buffer.concat([tail, chunk]).subarray(-MAX_OUTPUT_BYTES);
    });
  }
  try {
    const failure = await new Promise<string | undefined>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, name) => resolve(name ? `signal: ${name}` : code ? `exit status ${code}` : undefined));
    });
    if (failure !== undefined) throw new UnavailableError(`${failure}${total > 0 ? `: ${output()}` : ""}`);
    return output();
  } catch (cause) {
    if (cause instanceof UnavailableError) throw cause;
    throw new UnavailableError(`cannot start '${program}': ${describeError(cause)}`, { cause });
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
