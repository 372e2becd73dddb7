/** What the long runs share: processes that end with the run, and waiting. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { sleep } from "@heddle/daemon";

const ROOT = join(import.meta.dirname, "../..");
const START_MS = 120_000;

export interface Bench {
  /** Goes at the end. */
  dir: string;
  /** `./heddle …`, killed at the end. */
  heddle(...args: string[]): ChildProcess;
  /** The same, and each line that it prints. */
  heddleWith(onLine: (line: string) => void, ...args: string[]): ChildProcess;
}

/** Runs, cleans up, and ends the process: with status 0 where `run` came to true. */
export async function onBench(run: (bench: Bench) => Promise<boolean>): Promise<never> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-soak-"));
  const children: ChildProcess[] = [];
  const start = (output: "ignore" | "pipe", args: string[]) => {
    const child = spawn(join(ROOT, "heddle"), args, { stdio: ["ignore", output, "inherit"] });
    children.push(child);
    return child;
  };
  const heddle = (...args: string[]) => start("ignore", args);
  const heddleWith = (onLine: (line: string) => void, ...args: string[]) => {
    const child = start("pipe", args);
    createInterface({ input: child.stdout as Readable }).on("line", onLine);
    return child;
  };
  let isGood = false;
  try {
    isGood = await run({ dir, heddle, heddleWith });
  } finally {
    for (const child of children) child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  }
  process.exit(isGood ? 0 : 1);
}

/** Runs the rows that were asked for by name, all by default, one after the other; ends with status 1 where one was not met. */
export function runRows(rows: Record<string, (bench: Bench) => Promise<boolean>>): Promise<never> {
  const asked = process.argv.slice(2).map((name) => name.toLowerCase());
  return onBench(async (bench) => {
    const results: boolean[] = [];
    for (const [name, row] of Object.entries(rows)) {
      if (asked.length > 0 && !asked.includes(name)) continue;
      process.stdout.write(`${name.toUpperCase()}: `);
      results.push(await row(bench));
    }
    return results.every(Boolean);
  });
}

/** Waits until it is so: a promise that rejects is not. Throws after two minutes. */
export async function until(isSo: () => Promise<unknown>, timeoutMs = START_MS): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await isSo().catch(() => false))) {
    if (performance.now() > deadline) throw new Error(`not so within ${timeoutMs} ms: ${isSo.toString()}`);
    await sleep(20);
  }
}

/** Asks again and again until `stop`: the latencies in milliseconds, sorted. */
export async function latencies(ask: () => Promise<unknown>, stop: AbortSignal): Promise<number[]> {
  const all: number[] = [];
  while (!stop.aborted) {
    const startedAt = performance.now();
    await ask();
    all.push(performance.now() - startedAt);
    await sleep(5);
  }
  return all.toSorted((a, b) => a - b);
}

/** "1.2 ms" */
export const percentile = (sorted: readonly number[], percent: number): string =>
  `${(sorted[Math.floor((sorted.length * percent) / 100)] ?? 0).toFixed(1)} ms`;
