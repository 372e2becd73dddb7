/** The command itself, as a process: what it prints, how it ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { parseLogfmt } from "@heddle/daemon/testing";
import { startFakeAgent } from "@heddle/data-plane/testing";
import { dialApp, echo, freePort, sidecar, startService } from "./harness.ts";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));

function run(argv: string[], env: Record<string, string> = {}) {
  const child: ChildProcess = spawn(process.execPath, [MAIN, ...argv], { env: { PATH: process.env.PATH, ...env } });
  onTestFinished(() => void child.kill("SIGKILL"));
  let out = "";
  child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  const exited = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  return {
    child,
    exited,
    output: () => out,
    saw: (text: string) => expect.poll(() => out).toContain(text),
  };
}

test("a sidecar prints the article's lines, serves, and SIGTERM drains it with status 0", async () => {
  const agent = await startFakeAgent();
  onTestFinished(() => agent.stop());
  const service = await startService(echo);
  const publicPort = await freePort();
  const upstreamPort = await freePort();
  agent.change((state) => {
    state.services["db-sidecar-proxy"] = sidecar(publicPort, service.port);
    state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
  });
  const db = run(["-sidecar-for", "db"], { CONSUL_HTTP_ADDR: agent.address });
  await db.saw("Starting listener");
  const web = run(["-service", "web", "-upstream", `db:${upstreamPort}`], { HEDDLE_HTTP_ADDR: agent.address });
  await web.saw("Starting listener");
  const lines = (text: string) => text.split("\n").map((line) => line.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/, "TIME"));
  expect(lines(db.output())).toEqual([
    "==> Heddle Connect proxy starting...",
    "    Configuration mode: Agent API",
    "        Sidecar for ID: db",
    "              Proxy ID: db-sidecar-proxy",
    "",
    "==> Log data will now stream in as it occurs:",
    "",
    "    TIME [INFO]  proxy: Proxy loaded config and ready to serve",
    expect.stringMatching(
      /^    TIME \[INFO\]  proxy: Parsed TLS identity: uri=spiffe:\/\/\S+\.consul\/ns\/default\/dc\/dc1\/svc\/db roots=\[pri-\S+\.consul\]$/,
    ),
    `    TIME [INFO]  proxy: Starting listener: listener="public listener" bind_addr=127.0.0.1:${publicPort}`,
    "",
  ]);
  expect(lines(web.output()).slice(0, 4)).toEqual([
    "==> Heddle Connect proxy starting...",
    "    Configuration mode: Flags",
    "               Service: web",
    `              Upstream: db => :${upstreamPort}`,
  ]);
  expect(lines(web.output())[4]).toBe("       Public listener: Disabled");
  expect(web.output()).toContain(
    `listener=127.0.0.1:${upstreamPort}->service:default/db bind_addr=127.0.0.1:${upstreamPort}`,
  );

  const app = await dialApp(upstreamPort);
  app.socket.write("hello");
  await app.sawText("hello");
  db.child.kill("SIGTERM");
  await db.saw("draining");
  app.socket.end(" bye");
  expect(await app.ended).toBe("end");
  expect(app.received().toString()).toBe("hello bye");
  expect(await db.exited).toEqual([0, null]);
  web.child.kill("SIGINT");
  expect(await web.exited).toEqual([0, null]);
});

test("with -log-format all that is printed is JSON, or logfmt, and a connection is one line of it", async () => {
  const agent = await startFakeAgent();
  onTestFinished(() => agent.stop());
  const service = await startService(echo);
  const [publicPort, upstreamPort] = [await freePort(), await freePort()];
  agent.change((state) => {
    state.services["db-sidecar-proxy"] = sidecar(publicPort, service.port);
    state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
  });
  const common = [`-http-addr=${agent.address}`, "-admin-dir=none"];
  const db = run([...common, "-log-format=logfmt", "-sidecar-for=db"]);
  const web = run([...common, "-log-format=json", "-service=web", `-upstream=db:${upstreamPort}`]);
  await Promise.all([db.saw("Starting listener"), web.saw("Starting listener")]);
  const app = await dialApp(upstreamPort);
  app.socket.end("hello");
  expect(await app.ended).toBe("end");
  const parseJson = (line: string) => JSON.parse(line) as Record<string, unknown>;
  for (const [proxy, direction, parse, bytes] of [
    [db, "inbound", parseLogfmt, "5"],
    [web, "outbound", parseJson, 5],
  ] as const) {
    await proxy.saw("connection closed");
    proxy.child.kill("SIGTERM");
    expect(await proxy.exited).toEqual([0, null]);
    const lines = proxy.output().trimEnd().split("\n");
    const told = lines.map((line) => parse(line)).filter(({ msg }) => msg === "connection closed");
    expect(told).toMatchObject([
      {
        ...{ level: "info", component: "proxy.access", direction, bytes_in: bytes, bytes_out: bytes },
        ...{ source: "web", destination: "db", decision: "allowed", reason: "closed by both ends" },
        source_id: expect.stringMatching(/^spiffe:.*\/svc\/web$/),
        destination_id: expect.stringMatching(/^spiffe:.*\/svc\/db$/),
        tls: expect.stringContaining("TLSv1.3"),
      },
    ]);
  }
});

test("what cannot be configured ends with status 1 and says why", async () => {
  const agent = await startFakeAgent();
  onTestFinished(() => agent.stop());
  const none = run(["-sidecar-for", "nope", "-http-addr", agent.address]);
  expect(await none.exited).toEqual([1, null]);
  expect(none.output()).toContain("==> Error preparing configuration: No sidecar proxy registered for nope");
  const several = run(["-listen", "x", "-upstream", "bad", "-log-level", "loud"]);
  expect(await several.exited).toEqual([1, null]);
  expect(several.output()).toContain("-log-level: invalid value 'loud'");
});

test("SIGTERM ends a sidecar that still waits for its agent", async () => {
  const waiting = run(["-sidecar-for", "db", "-http-addr", `127.0.0.1:${await freePort()}`]);
  await waiting.saw("is `heddle agent` running?");
  waiting.child.kill("SIGTERM");
  expect(await waiting.exited).toEqual([0, null]);
});
