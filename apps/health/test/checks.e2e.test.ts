import { silentLog } from "@heddle/daemon";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { loadConfig, start } from "../src/index.ts";
import { connectAgent, freePort, httpServer, tcpServer, type TestServer } from "../src/testing.ts";

const startHealth = (...argv: string[]) =>
  start(loadConfig({ argv: ["-port=0", ...argv], env: process.env, readFile: () => "" }), { log: silentLog });
const tcp = (CheckID: string, TCP: string, fields = {}) => ({
  CheckID,
  Name: CheckID,
  Notes: "",
  ServiceID: "",
  TCP,
  IntervalMs: 100,
  TimeoutMs: 1_000,
  ...fields,
});
const metricsOf = async (url: string) => (await fetch(`${url}/metrics`)).text();

describe("results", () => {
  test("follow a server that goes away and comes back", async () => {
    await using health = await startHealth("-min-interval=100ms");
    await using agent = await connectAgent(health.url);
    let server: TestServer = await httpServer((_req, res) => res.end("hello"));
    const url = `http://${server.address}/`;
    agent.sync([{ ...tcp("t", server.address) }, { CheckID: "h", HTTP: url, IntervalMs: 100 }]);
    expect(await agent.result("t")).toMatchObject({
      status: "passing",
      output: `TCP connect ${server.address}: Success`,
    });
    expect(await agent.result("h")).toMatchObject({
      status: "passing",
      output: `HTTP GET ${url}: 200 OK Output: hello`,
    });

    let seen = agent.results.length;
    await server.close();
    // One that was under way when it went is reset, and says so first.
    const isRefused = (r: { output: string }) => r.output.includes("connection refused");
    expect(await agent.result("t", isRefused, seen)).toMatchObject({
      status: "critical",
      output: `dial tcp ${server.address}: connect: connection refused`,
    });
    expect(await agent.result("h", isRefused, seen)).toMatchObject({
      status: "critical",
      output: `Get "${url}": dial tcp ${server.address}: connect: connection refused`,
    });

    seen = agent.results.length;
    server = await httpServer((_req, res) => res.end("back"), server.port);
    expect(await agent.result("h", (r) => r.status === "passing", seen)).toMatchObject({
      output: `HTTP GET ${url}: 200 OK Output: back`,
    });
    await server.close();
  });

  test("of a target that comes and goes are held critical, unless that is off", async () => {
    await using damping = await startHealth("-min-interval=20ms");
    await using plain = await startHealth("-min-interval=20ms", "-no-flap-damping");
    await using held = await connectAgent(damping.url);
    await using told = await connectAgent(plain.url);
    let status = 200;
    await using server = await httpServer((_req, res) => res.writeHead(status).end("x"));
    const check = { CheckID: "c", HTTP: `http://${server.address}/`, IntervalMs: 20 };
    held.sync([check]);
    told.sync([check]);
    for (let i = 0; i < 5; i++) {
      for (const [code, wanted] of [
        [200, "passing"],
        [500, "critical"],
      ] as const) {
        const seen = [told.results.length, held.results.length];
        status = code;
        await told.result("c", (r) => r.status === wanted, seen[0]);
        await held.result("c", (r) => r.status === wanted, seen[1]);
      }
    }
    const seen = held.results.length;
    status = 200;
    await told.result("c", (r) => r.status === "passing", told.results.length);
    expect(await held.result("c", undefined, seen)).toMatchObject({
      status: "critical",
      output: expect.stringMatching(
        /^Flapping: score \d+, held critical until it is below 2000\. Now: HTTP GET/,
      ) as string,
    });
    expect(await metricsOf(damping.url)).toMatch(/^heddle_health_checks_flapping\{[^}]*\} 1$/m);
    expect(await metricsOf(plain.url)).toMatch(/^heddle_health_checks_flapping\{[^}]*\} 0$/m);
  });

  test("come within a second of a sync, whatever the interval", async () => {
    await using health = await startHealth();
    await using agent = await connectAgent(health.url);
    const startedAt = performance.now();
    const port = await freePort();
    const ids = Array.from({ length: 20 }, (_, i) => `service:web-${i}`);
    agent.sync(ids.map((id) => tcp(id, `127.0.0.1:${port}`, { IntervalMs: 3_600_000 })));
    await Promise.all(ids.map((id) => agent.result(id)));
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  test("are sent on change only", async () => {
    await using health = await startHealth("-min-interval=100ms");
    await using server = await tcpServer();
    await using agent = await connectAgent(health.url);
    agent.sync([tcp("t", server.address)]);
    await agent.result("t");
    const runs = async () =>
      Number(
        /^heddle_health_check_runs_total\{type="tcp",result="passing"[^}]*\} (\d+)/m.exec(
          await metricsOf(health.url),
        )?.[1] ?? 0,
      );
    while ((await runs()) < 5) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(agent.results).toHaveLength(1);
  });
});

describe("a new sync", () => {
  test("keeps unchanged checks with their counters, starts changed ones anew, ends the others", async () => {
    await using health = await startHealth("-min-interval=100ms");
    let code = 200;
    let hits = 0;
    await using server = await httpServer((_req, res) => {
      hits++;
      res.writeHead(code).end("x");
    });
    await using agent = await connectAgent(health.url);
    const check = { CheckID: "h", HTTP: `http://${server.address}/`, IntervalMs: 100, FailuresBeforeCritical: 1_000 };
    agent.sync([check]);
    await agent.result("h");
    code = 500;
    const isHitAgain = (
      (seen) => () =>
        hits >= seen + 3
    )(hits);
    while (!isHitAgain()) await new Promise((resolve) => setTimeout(resolve, 20));
    agent.sync([check, tcp("t", server.address)]);
    // Told again at once, and the failures so far do not count as first ones.
    expect(await agent.result("h", undefined, 1)).toMatchObject({ status: "passing" });
    await agent.result("t");
    agent.sync([{ ...check, FailuresBeforeCritical: 2 }]);
    expect(await agent.result("h", (r) => r.status === "critical")).toMatchObject({
      output: expect.stringContaining("500 Internal Server Error") as string,
    });
    expect(await metricsOf(health.url)).toMatch(/^heddle_health_checks\{[^}]*\} 1$/m);
    agent.sync([]);
    while (!/^heddle_health_checks\{[^}]*\} 0$/m.test(await metricsOf(health.url)));
  });

  test("a set ends with its connection", async () => {
    await using health = await startHealth("-min-interval=100ms");
    let connections = 0;
    await using server = await tcpServer(() => connections++);
    const agent = await connectAgent(health.url);
    agent.sync([tcp("t", server.address)]);
    await agent.result("t");
    agent.close();
    await agent.closed;
    while (!/^heddle_health_connections\{[^}]*\} 0$/m.test(await metricsOf(health.url)));
    const before = connections;
    await new Promise((resolve) => setTimeout(resolve, 300)); // three intervals in which it may not run
    expect(connections).toBe(before);
  });
});

describe("scripts", () => {
  test("do not run unless enabled, Docker's neither, whatever the spelling", async () => {
    await using health = await startHealth();
    await using agent = await connectAgent(health.url);
    const file = `/tmp/heddle-health-${process.pid}`;
    agent.sync([
      { CheckID: "s", Args: ["/usr/bin/touch", file], IntervalMs: 1_000 },
      { CheckID: "d", DockerContainerID: "x", Shell: "/bin/sh", Args: ["/usr/bin/touch", file], IntervalMs: 1_000 },
    ]);
    for (const id of ["s", "d"])
      expect(await agent.result(id)).toMatchObject({
        status: "critical",
        output:
          "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true",
      });
    const { existsSync } = await import("node:fs");
    expect(existsSync(file)).toBe(false);
  });

  test("run where enabled, for this daemon's user", async () => {
    await using health = await startHealth("-enable-script-checks");
    await using agent = await connectAgent(health.url);
    agent.sync([{ CheckID: "s", Args: ["/bin/sh", "-c", "echo hmm; exit 1"], IntervalMs: 1_000 }]);
    expect(await agent.result("s")).toMatchObject({ status: "warning", output: "hmm\n" });
  });
});

describe("who and what is refused", () => {
  test.each([
    ["{", "a message is not valid JSON"],
    [`{"type":"sync","checks":[{"TCP":"x:1"}]}`, "checks[0] has no CheckID"],
    [
      JSON.stringify({ type: "sync", checks: Array.from({ length: 4 }, (_, i) => tcp(`c${i}`, "127.0.0.1:1")) }),
      "too many checks: 4, the limit is 3",
    ],
    [Buffer.from("binary"), "a message is binary"],
  ])("a bad message is told and closed: %#", async (message, why) => {
    await using health = await startHealth("-max-checks=3");
    await using agent = await connectAgent(health.url);
    agent.send(message);
    const { code, reason } = await agent.closed;
    expect(code).toBe(1008);
    expect(reason).toContain(why);
    expect(agent.errors).toEqual([
      { type: "error", error: { code: "invalid_argument", message: expect.stringContaining(why) as string } },
    ]);
  });

  test("a definition that cannot run is critical by itself, the others run", async () => {
    await using health = await startHealth();
    await using agent = await connectAgent(health.url);
    agent.sync([
      tcp("good", "127.0.0.1:1"),
      { CheckID: "bad", HTTP: `http://x/${"y".repeat(9_000)}`, IntervalMs: 1_000 },
    ]);
    expect(await agent.result("bad")).toMatchObject({
      status: "critical",
      output: expect.stringContaining("want at most 8192 bytes") as string,
    });
    await agent.result("good");
  });

  test("the limit is one of all agents together", async () => {
    await using health = await startHealth("-max-checks=3");
    await using first = await connectAgent(health.url);
    await using second = await connectAgent(health.url);
    first.sync([tcp("a", "127.0.0.1:1"), tcp("b", "127.0.0.1:1")]);
    await first.result("b");
    second.sync([tcp("a", "127.0.0.1:1"), tcp("b", "127.0.0.1:1")]);
    expect((await second.closed).reason).toContain("too many checks: 2, the limit is 1");
    first.sync([tcp("a", "127.0.0.1:1"), tcp("b", "127.0.0.1:1"), tcp("c", "127.0.0.1:1")]);
    await first.result("c");
  });

  test("a message too large is closed with 1009", async () => {
    await using health = await startHealth();
    await using agent = await connectAgent(health.url);
    agent.send(Buffer.alloc(33 * 1024 * 1024, "x"));
    expect((await agent.closed).code).toBe(1009);
    await using another = await connectAgent(health.url);
    another.sync([tcp("t", "127.0.0.1:1")]);
    await another.result("t");
  });

  test("a browser's page", async () => {
    await using health = await startHealth();
    await expect(connectAgent(health.url, { origin: "http://evil.test" })).rejects.toThrow(
      "403 pages of other origins may not connect here",
    );
  });

  test("another path, half a request, a vanishing peer: the daemon lives on", async () => {
    await using health = await startHealth();
    const { port } = new URL(health.url);
    const raw = (text: string) =>
      new Promise<string>((resolve) => {
        let answer = "";
        const socket = connect(Number(port), "127.0.0.1", () => socket.write(text));
        socket.on("data", (chunk) => (answer += chunk.toString("utf8")));
        socket.on("error", () => {});
        socket.on("close", () => resolve(answer));
        if (!text.endsWith("\r\n\r\n")) setTimeout(() => socket.resetAndDestroy(), 20);
      });
    const upgrade = (path: string, more = "") =>
      `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${more}\r\n`;
    expect(await raw(upgrade("/other"))).toContain("404 Not Found");
    expect(await raw(upgrade("/internal/v1/checks"))).toContain("400 Bad Request");
    await raw("GET /internal/v1/checks HTTP/1.1\r\nHost");
    await raw(
      `${upgrade("/internal/v1/checks", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n")}\xff\xff\xff`,
    );
    expect((await fetch(`${health.url}/healthz`)).status).toBe(200);
  });
});

test("the operator's routes", async () => {
  await using health = await startHealth();
  expect(await (await fetch(`${health.url}/readyz`)).json()).toMatchObject({
    checker: { ready: true, details: "0 checks of 0 agents" },
  });
  const metrics = await metricsOf(health.url);
  for (const name of [
    "heddle_health_checks",
    "heddle_health_check_lateness_seconds_bucket",
    "heddle_health_checks_running",
    "heddle_health_checks_waiting",
  ])
    expect(metrics).toContain(name);
  expect((await fetch(`${health.url}/nothing`)).status).toBe(404);
});
