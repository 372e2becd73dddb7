/**
 * Takes the listeners of a proxy over again and again while new connections come in, and counts those that failed: at the
 * service's end (through another proxy of ours) and at an application's own. `node tools/soak/takeover.ts [times]`; run it in a
 * network namespace to try net.ipv4.tcp_migrate_req.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startFakeAgent } from "@heddle/data-plane/testing";

const HEDDLE = fileURLToPath(new URL("../../heddle", import.meta.url));
const times = Number(process.argv[2] ?? 20);
const LOADERS = 16;

const dir = mkdtempSync(join(tmpdir(), "heddle-takeovers-"));
const agent = await startFakeAgent();
const service = createServer({ allowHalfOpen: true }, (socket) => socket.on("error", () => {}).pipe(socket));
const portOf = async (server: ReturnType<typeof createServer>) => {
  server.listen(0, "127.0.0.1", 1024);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
};
const freePort = async () => {
  const server = createServer();
  const port = await portOf(server);
  server.close();
  await once(server, "close");
  return port;
};
const servicePort = await portOf(service);
const [publicPort, upstreamPort] = [await freePort(), await freePort()];
agent.change((state) => {
  state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
});

interface Proxy {
  child: ChildProcess;
  saw(text: string): Promise<void>;
}

function start(argv: string[]): Proxy {
  const child = spawn(HEDDLE, [
    "connect",
    "proxy",
    `-http-addr=${agent.address}`,
    `-admin-dir=${dir}`,
    "-takeover",
    ...argv,
  ]);
  let out = "";
  let onText = () => {};
  const onData = (chunk: Buffer) => {
    out += chunk.toString();
    onText();
  };
  child.stdout.on("data", onData);
  child.stderr.on("data", onData);
  return {
    child,
    saw: (text) =>
      new Promise((resolve, reject) => {
        child.once("exit", () => reject(new Error(`ended: ${out}`)));
        onText = () => void (out.includes(text) && resolve());
        onText();
      }),
  };
}

const startDb = () =>
  start(["-service=db", `-listen=127.0.0.1:${publicPort}`, `-service-addr=127.0.0.1:${servicePort}`]);
const startWeb = () => start(["-service=web", `-upstream=db:${upstreamPort}`]);

let [served, failed, isOver] = [0, 0, false];
const failures = new Map<string, number>();
async function once1(): Promise<void> {
  const socket = connect({ port: upstreamPort, host: "127.0.0.1" });
  let [text, code] = ["", ""];
  socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
  socket.on("error", (error: NodeJS.ErrnoException) => (code = error.code ?? ""));
  socket.end("hello");
  await once(socket, "close").catch(() => {});
  if (text === "hello") served++;
  else {
    failed++;
    failures.set(code || "nothing came back", (failures.get(code || "nothing came back") ?? 0) + 1);
  }
}

let [db, web] = [startDb(), startWeb()];
await Promise.all([db.saw("Starting listener"), web.saw("Starting listener")]);
const load = Array.from({ length: LOADERS }, async () => {
  while (!isOver) await once1();
});
const startedAt = performance.now();
for (const [name, take] of [
  ["the service's", async () => (db = await next(db, startDb))],
  ["the application's", async () => (web = await next(web, startWeb))],
] as const) {
  const before = { served, failed };
  failures.clear();
  for (let i = 0; i < times; i++) await take();
  const rate = Math.round((1000 * served) / (performance.now() - startedAt));
  const migrates = readFileSync("/proc/sys/net/ipv4/tcp_migrate_req", "utf8").trim();
  console.log(
    `${times} takeovers of ${name} proxy, tcp_migrate_req=${migrates}, ${rate} connections/s: ${served - before.served} served,`,
    `${failed - before.failed} failed ${JSON.stringify(Object.fromEntries(failures))}`,
  );
}
isOver = true;
await Promise.all(load);
for (const { child } of [db, web]) child.kill("SIGKILL");
service.close();
await agent.stop();
rmSync(dir, { recursive: true });
process.exit(0);

async function next(old: Proxy, begin: () => Proxy): Promise<Proxy> {
  const exited = once(old.child, "exit");
  const fresh = begin();
  await fresh.saw("took over");
  await exited;
  return fresh;
}
