/**
 * The article's mesh, for people: an echo service, the agent, its sidecar and the door of `web`, with a live line for each
 * connection. `--check` does the same on free ports, tries everything once, and ends.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { portHolder } from "@heddle/daemon";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const heddle = join(root, "heddle");
const READY_TIMEOUT_MS = 20_000;
const POLL_MS = 50;

interface Ports {
  http: number;
  dns: number;
  server: number;
  echo: number;
  sidecar: number;
  upstream: number;
}
const FIXED: Ports = { http: 8500, dns: 8600, server: 8300, echo: 8181, sidecar: 21000, upstream: 9191 };
const NAMES: Record<keyof Ports, string> = {
  http: "HTTP API",
  dns: "DNS",
  server: "internal API",
  echo: "echo service",
  sidecar: "sidecar",
  upstream: "upstream of web",
};

const isCheck = process.argv.slice(2).some((a) => /^--?check$/.test(a));
const dir = mkdtempSync(join(tmpdir(), "heddle-demo-"));
const children: ChildProcess[] = [];
let echoServer: Server | undefined;
let isEnding = false;
/** Connections are told once it has been said what to try: before that they are our own probes. */
let isTelling = false;

process.on("SIGINT", () => void end(0));
process.on("SIGTERM", () => void end(0));
try {
  const ports = isCheck ? await freePorts() : await ownPorts();
  await startMesh(ports);
  if (isCheck) {
    await check(ports);
    await end(0);
  } else explain(ports);
} catch (error) {
  console.error(`\n${(error as Error).message}`);
  await end(1);
}

async function startMesh(ports: Ports): Promise<void> {
  const config = join(dir, "mesh.d");
  mkdirSync(config);
  writeFileSync(
    join(config, "socat.json"),
    JSON.stringify({ service: { name: "socat", port: ports.echo, connect: { sidecar_service: {} } } }, undefined, 2),
  );
  writeFileSync(
    join(config, "ports.json"),
    JSON.stringify({
      ports: {
        http: ports.http,
        dns: ports.dns,
        server: ports.server,
        grpc: -1,
        sidecar_min_port: ports.sidecar,
        sidecar_max_port: ports.sidecar,
      },
    }),
  );
  say(`echo service on 127.0.0.1:${ports.echo} (${await startEcho(ports.echo)})`);
  run("agent", ["agent", "-dev", "-enable-script-checks", `-config-dir=${config}`]);
  await until("the agent's leader", async () => ((await api(ports, "GET", "/v1/status/leader")) as string) !== "");
  await until(
    "the service in the catalog",
    async () => ((await api(ports, "GET", "/v1/health/service/socat")) as unknown[]).length === 1,
  );
  say(`agent on http://127.0.0.1:${ports.http}, DNS on port ${ports.dns}; 'socat' and its sidecar are registered`);
  const address = `-http-addr=127.0.0.1:${ports.http}`;
  run("sidecar", ["connect", "proxy", address, "-log-json", "-sidecar-for", "socat"]);
  await until("the sidecar's public listener", () => isOpen(ports.sidecar));
  say(`sidecar of socat on port ${ports.sidecar}: mutual TLS only`);
  run("web", ["connect", "proxy", address, "-log-json", "-service", "web", "-upstream", `socat:${ports.upstream}`]);
  await until("the upstream's listener", () => isOpen(ports.upstream));
  await until(
    "the sidecar's check to pass",
    async () => ((await api(ports, "GET", "/v1/health/connect/socat?passing")) as unknown[]).length === 1,
  );
  say(`door of web into the mesh: 127.0.0.1:${ports.upstream} is socat`);
}

/** Starts one of Heddle's processes; what it logs goes to a file, its connections to the terminal. */
function run(name: string, args: string[]): void {
  const child = spawn(heddle, args, { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  const last: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      last.push(line);
      if (last.length > 20) last.shift();
      showConnection(line);
    });
  }
  child.on("exit", (code, signal) => {
    if (isEnding) return;
    console.error(`\n${name} ended (${signal ?? code}):\n${last.join("\n")}`);
    void end(1);
  });
}

interface AccessEntry {
  component?: string;
  msg?: string;
  direction?: string;
  source?: string;
  destination?: string;
  decision?: string;
  reason?: string;
  bytes_in?: number;
  bytes_out?: number;
  duration_ms?: number;
}

/** One line a connection, as the sidecar saw it, and as `web` was told where it was refused. */
function showConnection(line: string): void {
  if (!isTelling || !line.startsWith("{")) return;
  let entry: AccessEntry;
  try {
    entry = JSON.parse(line) as AccessEntry;
  } catch {
    return;
  }
  if (entry.component !== "proxy.access") return;
  const side = entry.direction === "inbound" ? "sidecar" : "web    ";
  // A connection that a new rule ended was open until then: neither word alone would be true.
  const verdict = entry.msg !== "connection closed" ? "refused" : entry.decision === "refused" ? "cut" : "allowed";
  const bytes = `${entry.bytes_in ?? 0} bytes in, ${entry.bytes_out ?? 0} out`;
  say(
    `${side}  ${entry.source ?? "?"} -> ${entry.destination ?? "?"}  ${verdict}: ${entry.reason ?? ""}  ${bytes}, ${((entry.duration_ms ?? 0) / 1000).toFixed(1)} s`,
  );
}

function explain(ports: Ports): void {
  isTelling = true;
  console.log(`
Try, in another terminal:

  nc localhost ${ports.upstream}                              # type: it comes back, through mutual TLS
  curl -s http://127.0.0.1:${ports.http}/v1/health/connect/socat | head -c 400
  dig @127.0.0.1 -p ${ports.dns} socat.service.consul SRV
  ./heddle intention create -deny web socat       # then nc again: refused, and both ends say why
  ./heddle intention delete web socat             # allowed again

Ctrl-C ends everything. A line for each connection:
`);
}

async function check(ports: Ports): Promise<void> {
  const echoed = await talk(ports.upstream, ["hello\n", "over mutual TLS\n"]);
  expect(echoed === "hello\nover mutual TLS\n", `lines come back through the mesh (got ${JSON.stringify(echoed)})`);
  const cli = (...args: string[]) => {
    const result = spawnSync(
      heddle,
      [args[0] as string, args[1] as string, `-http-addr=127.0.0.1:${ports.http}`, ...args.slice(2)],
      { encoding: "utf8" },
    );
    expect(result.status === 0, `heddle ${args.join(" ")}: ${(result.stdout + result.stderr).trim()}`);
  };
  cli("intention", "create", "-deny", "web", "socat");
  await until("the denial", async () => (await talk(ports.upstream, ["no\n"])) === "");
  expect((await talk(ports.upstream, ["no\n"])) === "", "a denied connection is refused");
  cli("intention", "delete", "web", "socat");
  await until("the echo to be back", async () => (await talk(ports.upstream, ["yes\n"])) === "yes\n");
  expect((await talk(ports.upstream, ["again\n"])) === "again\n", "allowed again, lines come back");
}

function expect(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(`failed: ${what}`);
  say(`ok: ${what}`);
}

/** Sends lines, ends its side, and returns all that came back; empty where the connection was refused. */
function talk(port: number, lines: string[]): Promise<string> {
  return new Promise((resolve) => {
    let received = "";
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }, () => socket.end(lines.join("")));
    socket.setTimeout(5_000, () => socket.destroy());
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      received += chunk;
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(received));
  });
}

async function startEcho(port: number): Promise<string> {
  if (spawnSync("socat", ["-V"]).status === 0) {
    const child = spawn("socat", ["-v", `tcp-l:${port},fork,reuseaddr,bind=127.0.0.1`, "exec:/bin/cat"], {
      stdio: "ignore",
    });
    children.push(child);
    await until("socat", () => isOpen(port));
    return "socat";
  }
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.pipe(socket);
  });
  echoServer = server;
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return "our own, since socat is not installed";
}

async function ownPorts(): Promise<Ports> {
  const problems: string[] = [];
  for (const [name, port] of Object.entries(FIXED) as [keyof Ports, number][]) {
    if (await canListen(port)) continue;
    const holder = (await portHolder(port)) ?? "another process";
    problems.push(`port ${port} (${NAMES[name]}) is in use by ${holder}`);
  }
  if (problems.length > 0)
    throw new Error(`${problems.join("\n")}\nEnd what holds them, or run 'npm start -- --check' on free ports.`);
  return FIXED;
}

async function freePorts(): Promise<Ports> {
  const servers = await Promise.all(
    Object.keys(FIXED).map(async () => {
      const server = createServer();
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const found = servers.map((server) => (server.address() as { port: number }).port);
  for (const server of servers) server.close();
  return Object.fromEntries(Object.keys(FIXED).map((name, i) => [name, found[i]])) as unknown as Ports;
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ port, host: "127.0.0.1", exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

async function api(ports: Ports, method: string, path: string): Promise<unknown> {
  const answer = await fetch(`http://127.0.0.1:${ports.http}${path}`, { method });
  return answer.json();
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + READY_TIMEOUT_MS;
  while (!(await condition().catch(() => false))) {
    if (isEnding) return;
    if (Date.now() > end) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function say(line: string): void {
  console.log(`${new Date().toISOString().slice(11, 23)}  ${line}`);
}

/** Ends everything that was started, and leaves nothing behind. */
async function end(code: number): Promise<void> {
  if (isEnding) return;
  isEnding = true;
  echoServer?.close();
  for (const child of children.toReversed()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    const force = setTimeout(() => child.kill("SIGKILL"), 6_000);
    await exited;
    clearTimeout(force);
  }
  rmSync(dir, { recursive: true, force: true });
  process.exit(code);
}
