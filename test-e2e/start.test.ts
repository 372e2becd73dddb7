/** `npm start`: the whole mesh in one command, on free ports with `--check`; a port that is taken stops it before it begins. */
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { ROOT, run } from "./support/process.ts";

const DEMO = join(ROOT, "tools/demo.ts");
const FIXED_PORTS = [9191, 8181, 8600, 8500];

/** Runs the demo with a mark in its environment, and returns the processes that still carry it afterwards. */
async function demo(...args: string[]) {
  const mark = `HEDDLE_TEST_MARK=${process.pid}-${Math.random()}`;
  const [name, value] = mark.split("=") as [string, string];
  const result = await run(process.execPath, [DEMO, ...args], { cwd: ROOT, env: { [name]: value }, timeoutMs: 60_000 });
  return {
    ...result,
    left: readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && environment(pid).includes(mark)),
  };
}

function environment(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch {
    return ""; // it ended, or is not ours
  }
}

test("--check starts the mesh, echoes, denies, allows again, says each step, and leaves nothing", async () => {
  const { status, out, err, left } = await demo("--check");
  expect({ status, err }, out).toEqual({ status: 0, err: "" });
  const steps = [
    /echo service on 127\.0\.0\.1:\d+ \(.*socat.*\)/,
    /agent on http:\/\/127\.0\.0\.1:\d+, DNS on port \d+; 'socat' and its sidecar are registered/,
    /sidecar of socat on port \d+: mutual TLS only/,
    /door of web into the mesh: 127\.0\.0\.1:\d+ is socat/,
    /ok: lines come back through the mesh/,
    /ok: heddle intention create -deny web socat: Created: web => socat \(deny\)/,
    /ok: a denied connection is refused/,
    /ok: heddle intention delete web socat: Intention deleted\./,
    /ok: allowed again, lines come back/,
  ];
  const lines = out.trimEnd().split("\n");
  expect(lines).toHaveLength(steps.length);
  for (const [i, step] of steps.entries()) expect(lines[i]).toMatch(step);
  expect(left).toEqual([]);
}, 60_000);

test("a port that is taken is named with its holder, and nothing is started", async (ctx) => {
  const taken = createServer();
  const port = await firstFree(taken);
  if (port === undefined) {
    const reason = `skipped '${ctx.task.name}': none of the ports ${FIXED_PORTS.join(", ")} can be had`;
    process.stdout.write(`${reason}\n`);
    return ctx.skip(reason);
  }
  onTestFinished(() => void taken.close());
  const { status, out, err, left } = await demo();
  expect(status, out).toBe(1);
  expect(err).toMatch(new RegExp(`port ${port} \\([\\w ]+\\) is in use by .*\\(pid ${process.pid}\\)`));
  expect(err).toContain("npm start -- --check");
  expect(out).not.toMatch(/echo service on|agent on/);
  expect(left).toEqual([]);
}, 60_000);

/** Makes `server` listen on the first of the fixed ports that it can have. */
async function firstFree(server: ReturnType<typeof createServer>): Promise<number | undefined> {
  for (const port of FIXED_PORTS) {
    const isMine = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (isMine) return port;
  }
  return undefined;
}
