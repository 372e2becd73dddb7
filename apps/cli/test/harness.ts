/** What the CLI's tests share: a terminal in memory, and a real Consul agent beside its own command line. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { main } from "../src/main.ts";

export const CONSUL = process.env.CONSUL_BINARY || `${homedir()}/.cache/heddle-peers/consul/usr/bin/consul`;

const TIMEOUT_MS = 30_000; // a program that takes longer waits for ever

export interface Result {
  status: number;
  out: string;
  err: string;
}

export interface RunOptions {
  env?: Record<string, string>;
  stdin?: string | Buffer;
  interrupted?: AbortSignal;
  onOut?: (text: string) => void;
}

/** Runs `heddle` in this process. Bytes come back as latin1, so that none is lost. */
export async function heddle(args: readonly string[], options: RunOptions = {}): Promise<Result> {
  const out: Buffer[] = [];
  let err = "";
  const status = await main(args, {
    out: (data) => {
      out.push(Buffer.from(data as string));
      options.onOut?.(Buffer.concat(out).toString());
    },
    err: (text) => void (err += text),
    readStdin: async () => Buffer.from(options.stdin ?? ""),
    env: options.env ?? {},
    interrupted: options.interrupted ?? new AbortController().signal,
  });
  return { status, out: Buffer.concat(out).toString("latin1"), err };
}

/** Runs any program with standard input, and gathers what it says; status -1 where it had to be killed. */
export function execute(
  program: string,
  args: readonly string[],
  options: RunOptions & { cwd?: string } = {},
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...options.env },
      cwd: options.cwd,
    });
    const result: Result = { status: -1, out: "", err: "" };
    const late = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
    child.stdout.setEncoding("latin1").on("data", (text: string) => void (result.out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => void (result.err += text));
    child.stdin.on("error", () => {});
    child.stdin.end(options.stdin ?? "");
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(late);
      resolve({ ...result, status: code ?? -1 });
    });
  });
}

export interface Agent extends AsyncDisposable {
  url: string;
  /** Port numbers to put names in their place. */
  ports: Record<string, number>;
}

/** A Consul agent on free ports, or undefined (with the reason on standard output) where there is no binary. */
export async function startConsul(): Promise<Agent | undefined> {
  if (!existsSync(CONSUL)) {
    process.stdout.write(`not compared with Consul: there is no ${CONSUL} (CONSUL_BINARY names another)\n`);
    return undefined;
  }
  return startAgent(CONSUL, []);
}

/** Heddle's agent as a process of its own, from the sources. */
export function startHeddle(...more: string[]): Promise<Agent> {
  return startAgent(process.execPath, [join(import.meta.dirname, "../src/main.ts")], more);
}

async function startAgent(program: string, before: string[], more: string[] = []): Promise<Agent> {
  const [http, server, lan, wan] = (await freePorts(4)) as [number, number, number, number];
  const flags = [
    "-dev",
    "-node=cli1",
    "-node-id=17b4e583-4df6-7e9e-b3ef-008ce4aaba49",
    "-log-level=warn",
    "-dns-port=-1",
    "-grpc-port=-1",
  ];
  const ports = [`-http-port=${http}`, `-server-port=${server}`, `-serf-lan-port=${lan}`, `-serf-wan-port=${wan}`];
  const child = spawn(program, [...before, "agent", ...flags, ...ports, ...more], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data: Buffer) => void (said += data.toString()));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const url = `http://127.0.0.1:${http}`;
  const stop = async () => {
    child.kill("SIGKILL");
    await ended;
  };
  try {
    await until(async () => ((await (await fetch(`${url}/v1/catalog/nodes`)).json()) as unknown[]).length > 0);
  } catch (cause) {
    await stop();
    throw new Error(`${program} is not ready; it said: ${said}`, { cause });
  }
  return { url, ports: { http, server, lan, wan }, [Symbol.asyncDispose]: stop };
}

/** Asks again until `isTrue` holds; an error counts as not yet. */
export async function until(isTrue: () => Promise<boolean>, withinMs = 15_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await isTrue().catch(() => false))) {
    if (Date.now() > deadline) throw new Error(`not so within ${withinMs} ms: ${String(isTrue)}`);
    await sleep(20);
  }
}

/** Ports that nothing listens on, held together so that all differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer().listen(0, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
