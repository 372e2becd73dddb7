/** Upstreams on Unix sockets and a service that listens on one, with nc and socat at both ends. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, lstatSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startFakeAgent } from "@heddle/data-plane/testing";
import { expect, onTestFinished, test, type TestContext } from "vitest";
import { deny, freePort, isReady, sidecar, startProxy } from "./harness.ts";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const TIMEOUT = 20_000;

function run(command: string, argv: string[]) {
  const child: ChildProcess = spawn(command, argv, { env: { PATH: process.env.PATH } });
  onTestFinished(() => void child.kill("SIGKILL"));
  let out = "";
  child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  const exited = once(child, "exit");
  return { child, exited, saw: (text: string) => expect.poll(() => out, { timeout: TIMEOUT }).toContain(text) };
}

/** What an application that says `text` over the socket hears until the other side ends. */
async function says(path: string, text: string): Promise<string> {
  const nc = spawn("nc", ["-N", "-U", path]);
  onTestFinished(() => void nc.kill("SIGKILL"));
  let heard = "";
  nc.stdout.on("data", (chunk: Buffer) => (heard += chunk.toString()));
  nc.stdin.on("error", () => {});
  nc.stdin.end(text);
  await once(nc, "close");
  return heard;
}

/** `db`, whose service is a socat on a Unix socket, and the registration of `web`, whose upstream is one. */
async function startMesh(ctx: TestContext, upstream: Record<string, unknown> = {}) {
  for (const [tool, flag] of [
    ["socat", "-V"],
    ["nc", "-h"],
  ] as const)
    if (spawnSync(tool, [flag]).error) ctx.skip(`no ${tool} here`);
  const dir = mkdtempSync(join(tmpdir(), "heddle-unix-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const [service, path] = [join(dir, "service.sock"), join(dir, "db.sock")];
  run("socat", [`UNIX-LISTEN:${service},fork`, "EXEC:cat"]);
  await expect.poll(() => existsSync(service), { timeout: TIMEOUT }).toBe(true);

  const agent = await startFakeAgent();
  onTestFinished(() => agent.stop());
  const publicPort = await freePort();
  const setUpstream = (given: Record<string, unknown>) =>
    agent.change((state) => {
      state.services["web-sidecar-proxy"] = {
        Kind: "connect-proxy",
        ID: "web-sidecar-proxy",
        Proxy: {
          DestinationServiceName: "web",
          DestinationServiceID: "web",
          Upstreams: [{ DestinationName: "db", LocalBindSocketPath: path, ...given }],
        },
      };
    });
  agent.change((state) => {
    const db = sidecar(publicPort, 0);
    state.services["db-sidecar-proxy"] = { ...db, Proxy: { ...db.Proxy, LocalServiceSocketPath: service } };
    state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
  });
  setUpstream(upstream);
  const db = await startProxy(["-sidecar-for=db"], { agent: agent.address });
  await isReady(db);
  const startWeb = (...argv: string[]) =>
    startProxy(["-proxy-id=web-sidecar-proxy", ...argv], { agent: agent.address });
  return { agent, dir, path, setUpstream, startWeb };
}

const modeOf = (path: string) => lstatSync(path).mode & 0o777;

test("an application and a service reach each other over Unix sockets, by the rules", async (ctx) => {
  const { agent, path, startWeb, setUpstream } = await startMesh(ctx);
  const web = await startWeb();
  await isReady(web);
  expect(modeOf(path)).toBe(0o600);
  expect(await says(path, "over two sockets")).toBe("over two sockets");

  agent.change((state) => state.intentions.push(deny("web", "db")));
  await expect.poll(() => says(path, "no more"), { timeout: TIMEOUT }).toBe("");
  agent.change((state) => void state.intentions.pop());
  await expect.poll(() => says(path, "again"), { timeout: TIMEOUT }).toBe("again");

  setUpstream({ LocalBindSocketMode: "0660" });
  await expect.poll(() => existsSync(path) && modeOf(path), { timeout: TIMEOUT }).toBe(0o660);
  expect(await says(path, "with another mode")).toBe("with another mode");
  await web.running.close();
  expect(existsSync(path)).toBe(false);
});

test("a dead process's socket is replaced; a live one and a file that is none are not", async (ctx) => {
  const { path, startWeb, setUpstream, dir } = await startMesh(ctx);
  const dead = run("socat", [`UNIX-LISTEN:${path}`, "EXEC:cat"]);
  await expect.poll(() => existsSync(path), { timeout: TIMEOUT }).toBe(true);
  dead.child.kill("SIGKILL");
  await dead.exited;
  expect(existsSync(path)).toBe(true);
  const web = await startWeb();
  await isReady(web);
  expect(await says(path, "after the dead")).toBe("after the dead");

  const live = join(dir, "live.sock");
  const other = createServer((socket) => void socket.on("error", () => {}).end("mine")).listen(live);
  await once(other, "listening");
  onTestFinished(() => void other.close());
  setUpstream({ LocalBindSocketPath: live });
  const sentence = "cannot open a listener, trying again";
  await web.logged(sentence, { error: `cannot listen on ${live}: another process listens on it` });
  expect(existsSync(path)).toBe(false);
  expect(await says(live, "")).toBe("mine");
  expect(web.running.health()).toMatchObject({ listeners: { ready: false } });

  const file = join(dir, "file");
  writeFileSync(file, "kept");
  setUpstream({ LocalBindSocketPath: file });
  await web.logged(sentence, { error: `cannot listen on ${file}: there is a file that is no socket` });
  rmSync(file);
  const nowhere = join(dir, "missing", "db.sock");
  setUpstream({ LocalBindSocketPath: nowhere });
  await web.logged(sentence, { error: `cannot listen on ${nowhere}: there is no folder ${join(dir, "missing")}` });
  setUpstream({ LocalBindSocketPath: file });
  await expect.poll(() => says(file, "now free"), { timeout: TIMEOUT }).toBe("now free");
});

test("with several threads one of them listens, and a process that takes over replaces the socket", async (ctx) => {
  const { agent, path, dir } = await startMesh(ctx);
  const admin = `-admin-dir=${join(dir, "admin")}`;
  const common = [`-http-addr=${agent.address}`, admin, "-takeover", "-drain-time=20s", "-workers=2"];
  const web = () => run(process.execPath, [MAIN, "-proxy-id=web-sidecar-proxy", ...common]);
  const first = web();
  await first.saw("Starting listener");
  const talk = async (text: string) => expect(await says(path, text)).toBe(text);
  await talk("the first");
  const { ino } = lstatSync(path);

  let [served, isOver] = [0, false];
  const load = (async () => {
    for (; !isOver; served++) await talk(`load ${served}`);
  })();
  await expect.poll(() => served, { timeout: TIMEOUT }).toBeGreaterThan(5);
  const second = web();
  await second.saw("took over");
  expect((await first.exited)[0]).toBe(0);
  const before = served;
  await expect.poll(() => served, { timeout: TIMEOUT }).toBeGreaterThan(before + 5);
  isOver = true;
  await load;
  expect(lstatSync(path).ino).not.toBe(ino);
  second.child.kill("SIGTERM");
  await second.exited;
  expect(existsSync(path)).toBe(false);
});
