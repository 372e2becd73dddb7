import { spawn } from "node:child_process";
import type { Socket } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { connectAgent, tcpServer } from "../src/testing.ts";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));

function run(...argv: string[]) {
  const child = spawn(process.execPath, [MAIN, ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString("utf8")));
  const lines = createInterface(child.stdout);
  const exited = new Promise<{ code: number | null; stderr: string }>((resolve) =>
    child.once("close", (code) => resolve({ code, stderr })),
  );
  const line = (pattern: RegExp) =>
    new Promise<string>((resolve) => lines.on("line", (text) => pattern.test(text) && resolve(text)));
  return { child, exited, line };
}

test("SIGTERM ends connections and running scripts, and exits 0", async () => {
  const { child, exited, line } = run("-port=0", "-enable-script-checks");
  const [url = ""] = /http:\S+/.exec(await line(/health checker is serving/)) ?? [];
  const agent = await connectAgent(url);
  let onConnection: (socket: Socket) => void = () => {};
  const connected = new Promise<Socket>((resolve) => (onConnection = resolve));
  await using target = await tcpServer((socket) => onConnection(socket));
  const script = `exec 3<>/dev/tcp/127.0.0.1/${target.port}; trap "" TERM; while :; do sleep 0.1; done`;
  agent.sync([{ CheckID: "s", Args: ["/bin/bash", "-c", script], IntervalMs: 1_000, TimeoutMs: 60_000 }]);
  const socket = await connected;
  const gone = new Promise((resolve) => socket.once("close", resolve));
  socket.resume();
  child.kill("SIGTERM");
  expect((await agent.closed).code).toBe(1001);
  expect((await exited).code).toBe(0);
  await gone; // the script held it
});

test("bad flags are told all at once", async () => {
  const { exited } = run("-port=x", "-nope", "-max-checks=0");
  const { code, stderr } = await exited;
  expect(code).toBe(1);
  expect(stderr).toContain("-port: invalid value 'x': want a port from 0 to 65535");
  expect(stderr).toContain("unknown flag -nope");
  expect(stderr).toContain("-max-checks: invalid value '0'");
});

test("a port in use names its holder", async () => {
  await using taken = await tcpServer();
  const { code, stderr } = await run(`-port=${taken.port}`).exited;
  expect(code).toBe(1);
  expect(stderr).toContain(String(taken.port));
});
