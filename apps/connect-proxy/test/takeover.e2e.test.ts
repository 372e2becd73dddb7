/** `-takeover`: a new process gets the listeners of a running one, under load, and no connection notices. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startFakeAgent } from "@heddle/data-plane/testing";
import { expect, onTestFinished, test } from "vitest";
import { dialApp, echo, freePort, isReady, sidecar, startPair, startProxy, startService } from "./harness.ts";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));

function run(argv: string[]) {
  const child: ChildProcess = spawn(process.execPath, [MAIN, ...argv], { env: { PATH: process.env.PATH } });
  onTestFinished(() => void child.kill("SIGKILL"));
  let out = "";
  child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  const exited = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  return { child, exited, saw: (text: string) => expect.poll(() => out, { timeout: 20_000 }).toContain(text) };
}

test("under load no connection fails, what is open goes on, and the old process ends", async () => {
  const dir = mkdtempSync(join(tmpdir(), "heddle-takeover-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const agent = await startFakeAgent();
  onTestFinished(() => agent.stop());
  const service = await startService(echo);
  const [publicPort, metrics] = [await freePort(), await freePort()];
  agent.change((state) => {
    state.services["db-sidecar-proxy"] = sidecar(publicPort, service.port);
    state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
  });
  const common = [`-http-addr=${agent.address}`, `-admin-dir=${dir}`, "-takeover", "-drain-time=20s", "-workers=2"];
  const db = () => run(["-sidecar-for=db", `-metrics-addr=127.0.0.1:${metrics}`, ...common]);
  const first = db();
  await first.saw("nobody to take over from");
  await first.saw("Starting listener");
  const web = await startProxy(["-service=web", "-upstream=db:0"], { agent: agent.address });
  await isReady(web);
  const port = web.running.listeners()[0]?.address?.port ?? 0;
  const open = await dialApp(port);
  open.socket.write("before");
  await open.sawText("before");

  let [served, isOver] = [0, false];
  const failed: string[] = [];
  const load = Array.from({ length: 8 }, async (_, worker) => {
    for (let i = 0; !isOver; i++) {
      const text = `load ${worker} ${i}`;
      const app = await dialApp(port);
      app.socket.end(text);
      const how = await app.ended;
      if (how === "end" && app.received().toString() === text) served++;
      else failed.push(how);
    }
  });
  await expect.poll(() => served, { timeout: 20_000 }).toBeGreaterThan(50);
  const second = db();
  await second.saw("took over");
  const before = served;
  await expect.poll(() => served, { timeout: 20_000 }).toBeGreaterThan(before + 50);
  isOver = true;
  await Promise.all(load);
  expect(failed).toEqual([]);
  expect((await fetch(`http://127.0.0.1:${metrics}/readyz`)).status).toBe(200);

  open.socket.end(" and after");
  expect(await open.ended).toBe("end");
  expect(open.received().toString()).toBe("before and after");
  expect(await first.exited).toEqual([0, null]);
  const app = await dialApp(port);
  app.socket.end("the second alone");
  expect(await app.ended).toBe("end");
});

test("plain clients of a port notice nothing either: the new process has its very socket", async () => {
  const dir = mkdtempSync(join(tmpdir(), "heddle-takeover-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const { agent } = await startPair();
  const port = await freePort();
  const web = () =>
    run([
      "-service=web",
      `-upstream=db:${port}`,
      `-http-addr=${agent.address}`,
      `-admin-dir=${dir}`,
      "-takeover",
      "-workers=1",
    ]);
  const old = web();
  await old.saw("Starting listener");
  let [served, isOver] = [0, false];
  const failed: string[] = [];
  const load = Array.from({ length: 8 }, async () => {
    while (!isOver) {
      const app = await dialApp(port);
      app.socket.end("hello");
      const how = await app.ended;
      if (how === "end" && app.received().toString() === "hello") served++;
      else failed.push(how);
    }
  });
  await expect.poll(() => served, { timeout: 20_000 }).toBeGreaterThan(50);
  const fresh = web();
  await fresh.saw("sockets=1");
  await fresh.saw("took over");
  expect(await old.exited).toEqual([0, null]);
  const before = served;
  await expect.poll(() => served, { timeout: 20_000 }).toBeGreaterThan(before + 50);
  isOver = true;
  await Promise.all(load);
  expect(failed).toEqual([]);
}, 30_000);
