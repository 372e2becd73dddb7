/** What soaks share: an agent and `web` reaching `echo` through two proxies, as real commands, with connections through them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { createApiClient } from "@heddle/api-client";
import { type Bench, until } from "./support.ts";

/** A process of its own: descriptors are counted by process. */
const ECHO = `
  const server = require("node:net").createServer({ allowHalfOpen: true }, (socket) => socket.on("error", () => {}).pipe(socket));
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));`;
const ANSWER_MS = 10_000;
const MAX_LINES = 200;
const USUAL = /reason="(?:closed by both ends|reset by the (?:application|caller))"/;
const TOGETHER = 50; // that are opened at once

export interface Held {
  socket: Socket;
  /** One line there and back. */
  ping: () => Promise<void>;
}

/** Everything on ports from `http` on. */
export async function startPair(
  { dir, heddle, heddleWith }: Bench,
  http: number,
  agentConfig: Record<string, unknown> = {},
) {
  const upstream = http + 2;
  const failures = new Map<string, number>();
  const failed = (what: string) => failures.set(what, (failures.get(what) ?? 0) + 1);
  let isOver = false;
  const unusual: string[] = []; // what the proxies said of connections that did not end as they should, and of themselves
  const tell = (line: string) => {
    if (unusual.length < MAX_LINES && !USUAL.test(line)) unusual.push(line.trim());
  };

  const echo = spawn(process.execPath, ["-e", ECHO], { stdio: ["ignore", "pipe", "inherit"] });
  process.once("exit", () => echo.kill());
  const [port] = (await once(echo.stdout, "data")) as [Buffer];
  const config = {
    ports: { http, dns: -1, server: http + 1, grpc: -1, sidecar_min_port: http + 10, sidecar_max_port: http + 19 },
    limits: { http_max_conns_per_client: 50_000 },
    log_level: "err",
    service: { name: "echo", port: Number(port), connect: { sidecar_service: {} } },
    ...agentConfig,
  };
  writeFileSync(join(dir, "agent.json"), JSON.stringify(config));
  const api = createApiClient({ address: `127.0.0.1:${http}` });
  const startAgent = async () => {
    const child = heddle(
      "agent",
      "-server",
      "-bootstrap-expect=1",
      "-bind=127.0.0.1",
      `-data-dir=${join(dir, "data")}`,
      `-config-file=${join(dir, "agent.json")}`,
    );
    await until(async () => (await api.get("/v1/agent/connect/ca/roots")).status === 200);
    return child;
  };

  /** One new connection, one line there and back. */
  async function talk(): Promise<void> {
    const socket = connect(upstream, "127.0.0.1").on("error", () => {});
    try {
      await exchange(socket, "new\n");
    } finally {
      socket.destroy();
    }
  }
  async function hold(): Promise<Held> {
    const socket = connect(upstream, "127.0.0.1").on("error", () => {});
    await exchange(socket, "first\n");
    socket.once("close", () => {
      if (!isOver) failed("an open connection was closed");
    });
    return { socket, ping: () => exchange(socket, "still\n") };
  }

  const agent = await startAgent();
  // All threads from the start: what is held before and after is compared.
  const common = (metrics: number) => [
    `-http-addr=127.0.0.1:${http}`,
    `-metrics-addr=127.0.0.1:${metrics}`,
    "-workers=2",
  ];
  const proxies = [
    heddleWith(tell, "connect", "proxy", ...common(http + 3), "-sidecar-for=echo"),
    heddleWith(tell, "connect", "proxy", ...common(http + 4), "-service=web", `-upstream=echo:${upstream}`),
  ];
  await until(() => talk().then(() => true));
  return {
    api,
    agent,
    proxies,
    failed,
    startAgent,
    upstream,
    /** Of the sidecar. */
    publicPort: http + 10,
    /** Of the two proxies. */
    metrics: [http + 3, http + 4] as const,
    talk,
    /** Connections that stay. */
    async holdAll(count: number): Promise<Held[]> {
      const held: Held[] = [];
      while (held.length < count)
        held.push(...(await Promise.all(Array.from({ length: Math.min(TOGETHER, count - held.length) }, hold))));
      return held;
    },
    /** New ones all the time, until the function that it returns is called. */
    load(perSecond: number): { made: () => number; stop: () => void } {
      let made = 0;
      const timer = setInterval(() => {
        for (let i = 0; i < perSecond / 10; i++)
          talk().then(
            () => made++,
            (error: Error) => failed(`a new connection: ${error.message}`),
          );
      }, 100);
      return { made: () => made, stop: () => clearInterval(timer) };
    },
    /** Asks all that are held whether they still carry, and prints what has failed; true where nothing has. */
    async isGood(held: Held[]): Promise<boolean> {
      await Promise.all(
        held.map(({ ping }) => ping().catch((error: Error) => failed(`an open connection: ${error.message}`))),
      );
      isOver = true;
      for (const [what, count] of failures) console.log(`FAILED ${count} times: ${what}`);
      if (failures.size > 0) for (const line of unusual) console.log(line);
      if (failures.size === 0) console.log("nothing failed");
      return failures.size === 0;
    },
  };
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

/** MiB that a process holds, and its descriptors, proc(5). */
export function holdings({ pid = 0 }: ChildProcess): { mib: number; descriptors: number } {
  const kib = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  return { mib: Math.round(kib / 1024), descriptors: readdirSync(`/proc/${pid}/fd`).length };
}
