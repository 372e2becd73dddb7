/** Daemons as processes of their own: started, waited for, ended or killed, and asked over HTTP. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, type IncomingHttpHeaders, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "@heddle/daemon/testing";
import { afterAll, expect } from "vitest";

export { freePort };

export const ROOT = new URL("../..", import.meta.url).pathname;
export const NODE = join(ROOT, "node_modules/node/bin/node");
export const HEDDLE = join(ROOT, "apps/cli/src/main.ts");
const START_TIMEOUT_MS = 15_000; // a machine that runs other tests beside this one

const atEnd: (() => void)[] = [];
afterAll(() => atEnd.splice(0).forEach((end) => end()));

/** A directory that goes when the tests of the file have ended. */
export function tempDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "heddle-faults-"));
  atEnd.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export interface Process {
  readonly child: ChildProcess;
  /** Standard output and standard error, as they came. */
  output(): string;
  readonly exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>;
  /** Waits until the output matches. */
  saw(text: string | RegExp): Promise<void>;
  /** Sends a signal and waits for the end. */
  end(signal?: NodeJS.Signals): Promise<[code: number | null, signal: NodeJS.Signals | null]>;
}

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
}

/** Starts a program; it is killed at the end of the file where it still runs. */
export function run(program: string, argv: string[], { cwd = ROOT, env = {} }: RunOptions = {}): Process {
  const { PATH = "", HOME = "/root" } = process.env;
  const child = spawn(program, argv, { cwd, env: { PATH, HOME, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  atEnd.push(() => void child.kill("SIGKILL"));
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const exited = once(child, "close") as Process["exited"];
  return {
    child,
    output: () => output,
    exited,
    saw: (text) =>
      until(
        async () => output,
        (said) => (typeof text === "string" ? said.includes(text) : text.test(said)),
        START_TIMEOUT_MS,
      ).then(() => {}),
    async end(signal = "SIGTERM") {
      child.kill(signal);
      return exited;
    },
  };
}

/** From the sources; or what HEDDLE_COMMAND names, so that a long run does not see them change. */
export const COMMAND: readonly [string, ...string[]] = process.env.HEDDLE_COMMAND
  ? [process.env.HEDDLE_COMMAND]
  : [NODE, HEDDLE];

/** `heddle …` */
export function heddle(argv: string[], options?: RunOptions): Process {
  const [program, ...first] = COMMAND;
  return run(program, [...first, ...argv], options);
}

/** What a daemon prints when it serves. */
const SERVING = /is serving|Heddle agent running!/;

export interface Daemon extends Process {
  readonly port: number;
  readonly url: string;
}

/** Starts a command that listens on `port` and waits for the line that says it serves. */
export async function daemon(argv: string[], port: number, options?: RunOptions): Promise<Daemon> {
  const started = heddle(argv, options);
  await Promise.race([started.saw(SERVING), started.exited]);
  expect(started.output()).toMatch(SERVING);
  return { ...started, port, url: `http://127.0.0.1:${port}` };
}

/** `heddle serve NAME` on this port. */
export const serve = (name: string, port: number, ...argv: string[]): Promise<Daemon> =>
  daemon(["serve", name, `-port=${port}`, ...argv], port);

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  json<T>(): T;
}

const keepAlive = new Agent({ keepAlive: true, maxSockets: 64 });

export interface AskOptions {
  method?: string;
  body?: string | Buffer | object;
  headers?: Record<string, string | number>;
  agent?: Agent | false;
  timeoutMs?: number;
}

/** One request; rejects where there is no answer. */
export function ask(url: string, options: AskOptions = {}): Promise<Answer> {
  const { method = "GET", body, headers = {}, agent = keepAlive, timeoutMs = 10_000 } = options;
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const bytes = body === undefined || typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const length = bytes === undefined ? {} : { "Content-Length": Buffer.byteLength(bytes) };
  const req = request(url, { method, headers: { ...length, ...headers }, agent }, (res) => {
    const chunks: Buffer[] = [];
    res.on("data", (chunk: Buffer) => chunks.push(chunk));
    res.on("error", reject);
    res.on("end", () => {
      const text = Buffer.concat(chunks).toString("utf8");
      resolve({
        status: res.statusCode ?? 0,
        headers: res.headers,
        text,
        json: <T>() => JSON.parse(text) as T,
      });
    });
  });
  req.setTimeout(timeoutMs, () => req.destroy(new Error(`no answer from ${url} in ${timeoutMs} ms`)));
  req.on("error", reject);
  req.end(bytes);
  return promise;
}

export const get = (url: string): Promise<Answer> => ask(url);
export const put = (url: string, body?: AskOptions["body"]): Promise<Answer> => ask(url, { method: "PUT", body });

/** Polls until the answer passes, and returns it. */
export async function until<T>(what: () => Promise<T>, check: (value: T) => boolean, timeoutMs = 10_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await what().catch((error: unknown) => error as Error);
    if (!(value instanceof Error) && check(value)) return value;
    if (performance.now() > deadline)
      throw new Error(
        `not in ${timeoutMs} ms; the last answer was ${value instanceof Error ? value.message : JSON.stringify(value)}`,
      );
    await sleep(20);
  }
}

/** A number from a daemon's /metrics. */
export async function metric(url: string, name: string): Promise<number> {
  const { text } = await get(`${url}/metrics`);
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(text)?.[1]);
}
