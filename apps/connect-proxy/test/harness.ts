/** Services, applications and proxies for tests: real sockets on loopback, logs and ends that can be waited for. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createLogHub, type LogEntry } from "@heddle/daemon";
import { freePort } from "@heddle/daemon/testing";
import { fakeIntention } from "@heddle/intentions/testing";
import { expect, onTestFinished } from "vitest";
import { loadConfig } from "../src/config.ts";
import { type RunningProxy, start } from "../src/server.ts";
import { type FakeAgent, startFakeAgent } from "@heddle/data-plane/testing";

export { freePort };

/** How many sockets of this machine listen on a port: one for each thread of a proxy. */
export function listeningSockets(port: number): number {
  const at = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const lines = readFileSync("/proc/net/tcp", "utf8").split("\n");
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local?.endsWith(at) && state === "0A").length;
}

export interface Service {
  port: number;
  server: Server;
  /** Connections so far. */
  sockets: Socket[];
}

export async function startService(onSocket: (socket: Socket) => void): Promise<Service> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    onSocket(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, server, sockets };
}

export const echo = (socket: Socket): void => void socket.pipe(socket);

/** A proxy with what it logged. */
export interface TestProxy {
  running: RunningProxy;
  entries: LogEntry[];
  /** What threads beside the first logged. */
  threadLines: string[];
  /** Waits for a log entry with this sentence and these fields, and returns its fields. */
  logged(sentence: string, fields?: Record<string, unknown>): Promise<Record<string, unknown>>;
  count(sentence: string): number;
}

export async function startProxy(
  argv: string[],
  options: { agent?: string; env?: Record<string, string> } = {},
): Promise<TestProxy> {
  const hub = createLogHub({ write: () => {} });
  const entries: LogEntry[] = [];
  const threadLines: string[] = [];
  hub.tap("debug", (entry) => entries.push(entry));
  // The test's own work is this thread's load, too: more threads only for who asks for them.
  const usual = ["-drain-time=200ms", "-admin-dir=none", "-workers=1"];
  const config = loadConfig({
    argv: [...(options.agent ? [`-http-addr=${options.agent}`] : []), ...usual, ...argv],
    env: options.env ?? {},
    readFile: () => "",
  });
  const running = await start(config, {
    log: hub.log.child("proxy"),
    writeLog: (text) => threadLines.push(...text.split("\n")),
  });
  onTestFinished(() => running.close());
  return {
    running,
    entries,
    threadLines,
    async logged(sentence, fields = {}) {
      const find = () => entries.find((e) => e.sentence === sentence && matches(e.fields, fields));
      await expect.poll(find, { interval: 5, message: `log '${sentence}' ${JSON.stringify(fields)}` }).toBeDefined();
      return (find() as LogEntry).fields;
    },
    count: (sentence) => entries.filter((e) => e.sentence === sentence).length,
  };
}

function matches(fields: Record<string, unknown>, wanted: Record<string, unknown>): boolean {
  return Object.entries(wanted).every(([key, value]) => fields[key] === value);
}

export async function isReady(proxy: TestProxy): Promise<void> {
  const unready = () => Object.entries(proxy.running.health()).filter(([, part]) => !part.ready);
  await expect.poll(unready, { interval: 5 }).toEqual([]);
  await expect.poll(() => proxy.running.listeners().length, { interval: 5 }).toBeGreaterThan(0);
}

export interface TestMeshOptions {
  service?: (socket: Socket) => void;
  proxyConfig?: Record<string, unknown>;
  /** More arguments of the calling proxy. */
  webArgv?: string[];
}

/** `web` reaching `db` through two proxies of ours and a small agent. */
export async function startPair(options: TestMeshOptions = {}) {
  const agent: FakeAgent = await startFakeAgent();
  onTestFinished(() => agent.stop());
  const service = await startService(options.service ?? echo);
  const publicPort = await freePort();
  agent.change((state) => {
    state.services["db-sidecar-proxy"] = sidecar(publicPort, service.port, options.proxyConfig);
    state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
  });
  const db = await startProxy(["-sidecar-for=db"], { agent: agent.address });
  await isReady(db);
  const web = await startProxy(["-service=web", "-upstream=db:0", ...(options.webArgv ?? [])], {
    agent: agent.address,
  });
  await isReady(web);
  const port = web.running.listeners()[0]?.address?.port ?? 0;
  return { agent, service, db, web, publicPort, port };
}

export function sidecar(port: number, servicePort: number, config: Record<string, unknown> = {}) {
  return {
    Kind: "connect-proxy",
    ID: "db-sidecar-proxy",
    Service: "db-sidecar-proxy",
    Port: port,
    Proxy: {
      DestinationServiceName: "db",
      DestinationServiceID: "db",
      LocalServiceAddress: "127.0.0.1",
      LocalServicePort: servicePort,
      Config: { bind_address: "127.0.0.1", ...config },
    },
  };
}

export const deny = (SourceName: string, DestinationName: string) =>
  fakeIntention({ SourceName, DestinationName, Action: "deny" });

/** Waits until no thread listens on a port any more, and expects what then comes to be refused. */
export async function isRefused(port: number): Promise<void> {
  await expect.poll(() => listeningSockets(port), { interval: 5, message: `port ${port} is closed` }).toBe(0);
  expect(await (await dialApp(port)).ended).toBe("ECONNREFUSED");
}

/** An application's connection: what it received, and how it ended. */
export interface App {
  socket: Socket;
  received: () => Buffer;
  /** "end" after a FIN, otherwise the error's code. */
  ended: Promise<string>;
  sawText: (text: string) => Promise<void>;
}

export async function dialApp(port: number): Promise<App> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  let how = "close";
  socket.once("end", () => (how = "end"));
  socket.on("error", (error: NodeJS.ErrnoException) => (how = error.code ?? "error"));
  const ended = new Promise<string>((resolve) => {
    socket.once("end", () => resolve("end"));
    socket.once("close", () => resolve(how));
  });
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect").catch(() => {});
  const received = () => Buffer.concat(chunks);
  return {
    socket,
    received,
    ended,
    sawText: (text) => expect.poll(() => received().toString(), { interval: 5 }).toContain(text),
  };
}

/** Whether a text comes back whole, and its end after it. */
export async function echoes(port: number, text: string): Promise<boolean> {
  const app = await dialApp(port);
  app.socket.end(text);
  return (await app.ended) === "end" && app.received().toString() === text;
}
