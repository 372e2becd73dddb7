/** Every daemon alone, from its own folder with one command: configuration, logs, the operator's routes, signals. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ask, freePort, get, heddle, NODE, type Process, put, ROOT, run, serve, tempDir, until } from "./daemon.ts";
import { raw } from "./tcp.ts";

const AWAY = "http://127.0.0.1:1";

interface Row {
  name: string;
  /** The arguments that make it run with its operator's routes on `port`. */
  argv: (port: number) => string[];
  /** Flags with bad values, and a word of each complaint. */
  bad: { argv: string[]; env: Record<string, string>; file: object; said: string[] };
  /** Its command in `heddle`. */
  command: string[];
}

const own = (name: string) => ({
  argv: ["-port=banana", "-no-such-flag=1"],
  env: { [`HEDDLE_${name.toUpperCase()}_LOG_LEVEL`]: "loud", [`HEDDLE_${name.toUpperCase()}_METRICS_PORT`]: "70000" },
  file: { metrics_host: "127.0.0.1", no_such_key: 1 },
  said: [
    "-port: invalid value 'banana': want a port from 0 to 65535",
    "unknown flag -no-such-flag: known are -host, -port",
    `HEDDLE_${name.toUpperCase()}_LOG_LEVEL: invalid value 'loud': want one of trace, debug, info, warn, error`,
    `HEDDLE_${name.toUpperCase()}_METRICS_PORT: invalid value '70000': want a whole number from -1 to 65535`,
    "unknown key 'no_such_key': known are host, port",
  ],
});

const ROWS: Row[] = [
  {
    name: "catalog",
    command: ["serve", "catalog"],
    argv: (port) => [`-port=${port}`],
    bad: { ...own("catalog"), file: { no_such_key: 1, default_intention_policy: "Deny" } },
  },
  { name: "ca", command: ["serve", "ca"], argv: (port) => [`-port=${port}`], bad: own("ca") },
  { name: "health", command: ["serve", "health"], argv: (port) => [`-port=${port}`], bad: own("health") },
  {
    name: "dns",
    command: ["serve", "dns"],
    argv: (port) => ["-port=0", `-catalog-url=${AWAY}`, `-metrics-port=${port}`],
    bad: own("dns"),
  },
  {
    name: "agent",
    command: ["agent"],
    argv: (port) => [
      `-http-port=${port}`,
      "-dns-port=-1",
      `-catalog-addr=${AWAY}`,
      `-ca-addr=${AWAY}`,
      `-health-addr=${AWAY}`,
      "-data-dir=DIR",
    ],
    bad: {
      argv: ["-http-port=banana", "-no-such-flag=1"],
      env: { HEDDLE_AGENT_LOG_LEVEL: "loud" },
      file: { no_such_key: 1, log_json: "maybe" },
      said: ["http-port", "unknown flag -no-such-flag", "HEDDLE_AGENT_LOG_LEVEL", "no_such_key", "log_json"],
    },
  },
  {
    name: "connect-proxy",
    command: ["connect", "proxy"],
    argv: (port) => [
      "-service=web",
      `-upstream=db:${port + 1}`,
      `-metrics-addr=127.0.0.1:${port}`,
      `-http-addr=${AWAY}`,
    ],
    bad: {
      argv: ["-listen=banana", "-upstream=x", "-no-such-flag=1"],
      env: { HEDDLE_CONNECT_PROXY_LOG_LEVEL: "loud" },
      file: { no_such_key: 1 },
      said: [
        "unknown flag -no-such-flag",
        "HEDDLE_CONNECT_PROXY_LOG_LEVEL: invalid value 'loud'",
        "unknown key 'no_such_key'",
      ],
    },
  },
];

const fromFolder = ({ name }: Row, argv: string[], env: Record<string, string> = {}): Process =>
  run(NODE, ["src/main.ts", ...argv.map((a) => a.replace("DIR", tempDir()))], { cwd: join(ROOT, "apps", name), env });

describe.each(ROWS)("$name", (row) => {
  test("starts from its folder, logs JSON, has the operator's routes, and ends with 0 on SIGTERM", async () => {
    const port = await freePort();
    const daemon = fromFolder(row, [...row.argv(port), "-log-json"]);
    const url = `http://127.0.0.1:${port}`;
    await until(
      () => get(`${url}/healthz`),
      ({ status }) => status === 200,
      15_000,
    );
    const metrics = await get(`${url}/metrics`);
    expect([metrics.status, metrics.headers["content-type"]]).toEqual([200, expect.stringContaining("text/plain")]);
    expect(metrics.text).toMatch(/^process_resident_memory_bytes(?:\{[^}]*\})? \d/m);
    expect(metrics.text).toMatch(/^# HELP heddle_/m);
    const ready = await get(`${url}/readyz`);
    // Those that follow a catalog or an agent cannot be ready without one, and say who is missing.
    const isAlone = ["catalog", "ca", "health"].includes(row.name);
    expect([ready.status, ready.json<Record<string, { ready: boolean }>>()]).toEqual([
      isAlone ? 200 : 503,
      expect.any(Object),
    ]);
    expect(await daemon.end()).toEqual([0, null]);
    const lines = daemon.output().trim().split("\n");
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines)
      expect(JSON.parse(line)).toMatchObject({
        level: expect.any(String),
        component: expect.any(String),
        msg: expect.any(String),
      });
  });

  test("reports every problem of flags, environment and file at once, and ends with 1", async () => {
    const file = join(tempDir(), "config.json");
    writeFileSync(file, JSON.stringify(row.bad.file));
    for (const start of [
      (argv: string[]) => fromFolder(row, argv, row.bad.env),
      (argv: string[]) => heddle([...row.command, ...argv], { env: row.bad.env }),
    ]) {
      const daemon = start([...row.bad.argv, `-config-file=${file}`]);
      expect(await daemon.exited).toEqual([1, null]);
      for (const problem of row.bad.said) expect(daemon.output()).toContain(problem);
      expect(daemon.output()).not.toMatch(/^\s+at /m);
    }
  });

  test("its README gives the command, a table of the flags and the path of a request", () => {
    const path = join(ROOT, "apps", row.name, "README.md");
    expect(existsSync(path)).toBe(true);
    const text = readFileSync(path, "utf8");
    expect(text).toContain("node src/main.ts");
    expect(text).toMatch(/^## Configuration/m);
    expect(text).toMatch(/^## (?:The p|P)ath of a/m);
  });

  test("-help lists its flags and ends with 0", async () => {
    const help = fromFolder(row, ["-help"]);
    expect(await help.exited).toEqual([0, null]);
    expect(help.output()).toMatch(/^Usage: /);
    expect(help.output()).toContain("  -log-level");
  });
});

test("readable logs are one line an entry, whatever is put into them", async () => {
  const catalog = await serve("catalog", await freePort(), "-log-level=debug");
  await put(`${catalog.url}/v1/catalog/register`, {
    Node: "x\n    2026-01-01T00:00:00.000Z [ERROR] forged",
    Address: "1.1.1.1",
  });
  await get(`${catalog.url}/v1/kv/%0a2026-01-01T00:00:00.000Z%20[ERROR]%20forged?index=x`);
  expect(await catalog.end()).toEqual([0, null]);
  for (const line of catalog.output().trimEnd().split("\n"))
    expect(line).toMatch(/^ {4}\d{4}-\d\d-\d\dT[\d:.]+Z \[(?:DEBUG|INFO|WARN)\] {1,2}[a-z.]*: /);
});

test.each(["catalog", "ca", "health"])(
  "%s: a port in use is named with its holder, and nothing else is left",
  async (name) => {
    const first = await serve(name, await freePort());
    const second = heddle(["serve", name, `-port=${first.port}`]);
    expect(await second.exited).toEqual([1, null]);
    expect(second.output()).toMatch(
      new RegExp(
        `cannot listen on 127\\.0\\.0\\.1:${first.port} \\(tcp\\): the port is in use by \\S+ \\(pid ${first.child.pid}\\)`,
      ),
    );
    expect((await get(`${first.url}/healthz`)).status).toBe(200);
  },
);

test("DUR-12: SIGTERM under load finishes what is in flight, resets nobody and ends with 0 in time", async () => {
  const port = await freePort();
  const catalog = await serve("catalog", port, `-data-dir=${tempDir()}`);
  // A body of which half has arrived is in flight as well.
  const half = await raw(port, "PUT /v1/kv/half HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345");
  const waiting = ask(`${catalog.url}/v1/kv/none?index=1000000&wait=5m`, { agent: false }).then(
    ({ status }) => status,
    (error: NodeJS.ErrnoException) => error.code,
  );
  let isStopping = false;
  const outcome = { ok: 0, afterSignal: 0, broken: [] as string[] };
  // Kept connections: one that the kernel has taken, but nobody has accepted, is reset when a listener closes.
  const agent = new Agent({ keepAlive: true });
  const writer = async (id: number) => {
    for (let n = 0; ; n++) {
      const sentAt = isStopping;
      const { promise, resolve } = Promise.withResolvers<string>();
      const req = request(`${catalog.url}/v1/kv/w${id}/${n}`, { method: "PUT", agent }, (res) => {
        res.resume();
        res.on("end", () => resolve(String(res.statusCode)));
        res.on("error", (error) => resolve(error.message));
      });
      req.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      req.end("x".repeat(1_000));
      const result = await promise;
      if (result === "200") outcome.ok++;
      else if (!sentAt && result !== "ECONNREFUSED") outcome.broken.push(result);
      if (result !== "200") return;
      if (sentAt) outcome.afterSignal++;
    }
  };
  const writers = Array.from({ length: 16 }, (_, id) => writer(id));
  await until(
    async () => outcome.ok,
    (n) => n > 200,
  );
  const start = performance.now();
  isStopping = true;
  const ending = catalog.end();
  await catalog.saw("draining");
  half.socket.write("67890");
  expect((await half.ended).text).toMatch(/^HTTP\/1\.1 200 /);
  await Promise.all(writers);
  expect(await ending).toEqual([0, null]);
  expect(performance.now() - start).toBeLessThan(5_000);
  expect(outcome.broken).toEqual([]);
  // Whoever waited for a change is answered, or its connection closed once the time for that is over.
  expect(await waiting).toBeDefined();
});

test("an agent alone leaves the catalog on SIGTERM", async () => {
  const catalog = await serve("catalog", await freePort());
  const ca = await serve("ca", await freePort());
  const port = await freePort();
  const servers = [`-catalog-addr=${catalog.url}`, `-ca-addr=${ca.url}`, `-health-addr=${AWAY}`];
  const flags = [`-http-port=${port}`, "-node=n1", "-bind=127.0.0.1", `-data-dir=${tempDir()}`, ...servers];
  const agent = run(NODE, ["src/main.ts", ...flags], { cwd: join(ROOT, "apps/agent") });
  await agent.saw("Synced node info");
  const nodes = async () => (await get(`${catalog.url}/v1/catalog/nodes`)).json<unknown[]>();
  expect(await nodes()).toHaveLength(1);
  expect(await agent.end()).toEqual([0, null]);
  expect(await nodes()).toEqual([]);
});

test("SIGTERM at any moment of the start ends with 0 or by the signal, and never hangs", async () => {
  for (let afterMs = 0; afterMs <= 400; afterMs += 80) {
    const starting = heddle(["serve", "catalog", "-port=0"]);
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    const [code, signal] = await starting.end();
    expect([code, signal]).toEqual(signal === null ? [0, null] : [null, "SIGTERM"]);
  }
});

test("SIGUSR1 opens no inspector", async () => {
  const catalog = run(join(ROOT, "heddle"), ["serve", "catalog", "-port=0"]);
  await catalog.saw("is serving");
  catalog.child.kill("SIGUSR1");
  const ended = await Promise.race([
    catalog.exited,
    catalog.saw(/Debugger listening|inspector/).then(
      () => "opened",
      () => "quiet",
    ),
    until(
      async () => 0,
      () => false,
      500,
    ).catch(() => "quiet"),
  ]);
  expect(ended).not.toBe("opened");
  catalog.child.kill("SIGTERM");
  await catalog.exited;
});
