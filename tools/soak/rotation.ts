/**
 * Rotations under load (ROT-01, ROT-05): open connections through two proxies, new ones each second, and leaves that are watched, while the
 * root goes from EC to RSA and back and leaves live for a minute. Prints what failed, and how long it took from a rotation to the
 * last new leaf. Ends with status 1 where a connection failed, was cut, or a leaf expired in use.
 *
 *     node tools/soak/rotation.ts [seconds] [open] [new a second] [leaves]      # 600 1000 200 500
 */
import { type ChildProcess, spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApiClient } from "@heddle/api-client";
import { sleep } from "@heddle/daemon";

const ROOT = join(import.meta.dirname, "../..");
const HTTP = 18_620;
const UPSTREAM = HTTP + 2;
const LEAF_TTL_S = 60;
const START_MS = 60_000;
const TOGETHER = 50; // that are opened at once
const ANSWER_MS = 10_000;
const [seconds = 600, open = 1_000, perSecond = 200, leaves = 500] = process.argv.slice(2).map(Number);

const dir = mkdtempSync(join(tmpdir(), "heddle-rotation-"));
const children: ChildProcess[] = [];
const api = createApiClient({ address: `127.0.0.1:${HTTP}` });
const failures = new Map<string, number>();
const failed = (what: string) => failures.set(what, (failures.get(what) ?? 0) + 1);
let isOver = false;
try {
  await run();
} finally {
  for (const child of children) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
}
for (const [what, count] of failures) console.log(`FAILED ${count} times: ${what}`);
console.log(failures.size === 0 ? "nothing failed" : "failed");
process.exit(failures.size === 0 ? 0 : 1);

async function run(): Promise<void> {
  const echo = createServer((socket) => void socket.on("error", () => {}).pipe(socket)).listen(0, "127.0.0.1");
  await once(echo, "listening");
  const { port } = echo.address() as AddressInfo;
  const config = {
    ports: {
      http: HTTP,
      dns: -1,
      server: HTTP + 1,
      grpc: -1,
      sidecar_min_port: HTTP + 10,
      sidecar_max_port: HTTP + 19,
    },
    limits: { http_max_conns_per_client: 50_000 },
    connect: { ca_config: { leaf_cert_ttl: `${LEAF_TTL_S}s`, skip_validate: true, csr_max_per_second: 0 } },
    log_level: "err",
    service: { name: "echo", port, connect: { sidecar_service: {} } },
  };
  writeFileSync(join(dir, "agent.json"), JSON.stringify(config));
  start("agent", "-dev", `-config-dir=${dir}`);
  await until(async () => (await api.get("/v1/agent/connect/ca/roots")).status === 200);
  start("connect", "proxy", `-http-addr=127.0.0.1:${HTTP}`, "-sidecar-for=echo");
  start("connect", "proxy", `-http-addr=127.0.0.1:${HTTP}`, "-service=web", `-upstream=echo:${UPSTREAM}`);
  await until(() => talk().then(() => true));

  const held: Held[] = [];
  while (held.length < open)
    held.push(...(await Promise.all(Array.from({ length: Math.min(TOGETHER, open - held.length) }, hold))));
  const watches = Array.from({ length: leaves }, (_, i) => watchLeaf(`s${i}`));
  await until(async () => watches.every(({ isKnown }) => isKnown()));
  console.log(
    `${held.length} connections open, ${perSecond} new a second, ${leaves} leaves of ${LEAF_TTL_S} s watched`,
  );
  let made = 0;
  const load = setInterval(() => {
    for (let i = 0; i < perSecond / 10; i++)
      talk().then(
        () => made++,
        (error: Error) => failed(`a new connection: ${error.message}`),
      );
  }, 100);

  const endAt = performance.now() + seconds * 1_000;
  const types = [
    ["rsa", 2048],
    ["ec", 384],
    ["ec", 256],
  ] as const;
  for (let i = 0; performance.now() < endAt; i++) {
    await sleep(Math.min(30_000, endAt - performance.now()));
    const [PrivateKeyType, PrivateKeyBits] = types[i % types.length] as (typeof types)[number];
    const Config = {
      LeafCertTTL: `${LEAF_TTL_S}s`,
      SkipValidate: true,
      CSRMaxPerSecond: 0,
      PrivateKeyType,
      PrivateKeyBits,
    };
    const body = { Provider: "consul", Config };
    const startedAt = performance.now();
    await api.put("/v1/connect/ca/configuration", { body, timeoutMs: START_MS });
    const switchedMs = performance.now() - startedAt;
    const { Roots } = (
      await api.get<{ Roots: { Active: boolean; RootCert: string }[] }>("/v1/connect/ca/roots", { timeoutMs: START_MS })
    ).body;
    const active = Roots.find(({ Active }) => Active)?.RootCert ?? "";
    const { subject } = new X509Certificate(active);
    await until(async () => watches.every(({ issuer }) => issuer() === subject));
    const lastMs = performance.now() - startedAt;
    await sleep(3_000); // what agents tell of it comes each second
    const { Following } = (await api.get<{ Following: object }>("/v1/connect/ca/status", { timeoutMs: START_MS })).body;
    console.log(
      `root ${PrivateKeyType} ${PrivateKeyBits}: switched after ${Math.round(switchedMs)} ms, last of ${leaves} new leaves after ${Math.round(lastMs)} ms; ${made} connections so far; ${JSON.stringify(Following)}`,
    );
  }
  clearInterval(load);
  await sleep(1_000);
  await Promise.all(
    held.map(({ ping }) => ping().catch((error: Error) => failed(`an open connection: ${error.message}`))),
  );
  isOver = true;
  for (const { socket } of held) socket.destroy();
  echo.close();
  api.close();
}

function start(...args: string[]): void {
  children.push(spawn(join(ROOT, "heddle"), args, { stdio: ["ignore", "ignore", "inherit"] }));
}

/** One line there and back. */
function exchange(socket: Socket, line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => done(new Error(`no echo within ${ANSWER_MS} ms`)), ANSWER_MS);
    const onData = () => done();
    const onClose = () => done(new Error("closed"));
    const done = (error?: Error) => {
      clearTimeout(timer);
      socket.off("data", onData).off("close", onClose).off("error", done);
      if (error) reject(error);
      else resolve();
    };
    socket.once("data", onData).once("close", onClose).once("error", done);
    socket.write(line);
  });
}

async function talk(): Promise<void> {
  const socket = connect(UPSTREAM, "127.0.0.1").on("error", () => {});
  try {
    await exchange(socket, "new\n");
  } finally {
    socket.destroy();
  }
}

interface Held {
  socket: Socket;
  ping: () => Promise<void>;
}

/** A connection that stays, and speaks now and then. */
async function hold(): Promise<Held> {
  const socket = connect(UPSTREAM, "127.0.0.1").on("error", () => {});
  await exchange(socket, "first\n");
  socket.once("close", () => {
    if (!isOver) failed("an open connection was closed");
  });
  return { socket, ping: () => exchange(socket, "still\n") };
}

interface LeafAnswer {
  CertPEM: string;
  ValidBefore: string;
}

/** Follows a leaf as a proxy does. */
function watchLeaf(service: string) {
  let leaf: LeafAnswer | undefined;
  const signal = AbortSignal.timeout(seconds * 1_000 + 4 * START_MS);
  const follow = async () => {
    for await (const { body } of api.watch<LeafAnswer>(`/v1/agent/connect/ca/leaf/${service}`, { signal })) {
      if (leaf && !isOver && Date.parse(leaf.ValidBefore) < Date.now()) failed("a leaf expired in use");
      leaf = body;
    }
  };
  follow().catch(() => {});
  return { isKnown: () => leaf !== undefined, issuer: () => leaf && new X509Certificate(leaf.CertPEM).issuer };
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + START_MS;
  while (!(await isTrue().catch(() => false))) {
    if (performance.now() > deadline) throw new Error(`not so within ${START_MS} ms: ${isTrue.toString()}`);
    await sleep(20);
  }
}
