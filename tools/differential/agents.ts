import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const PORTS = ["http", "dns", "server", "serf_lan", "serf_wan", "grpc"];
const REQUEST_MS = 8000;
const START_MS = 30_000;

/** An agent under comparison: where it listens, and what a list remembers about it (`vars`: ids that it made). */
export interface Agent {
  readonly name: string;
  readonly ports: Readonly<Record<string, number>>;
  readonly vars: Record<string, string>;
  readonly process: ChildProcess;
  readonly folder: string;
}

/** An answer as it came. */
export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers: http.IncomingHttpHeaders;
}

const connections = new http.Agent({ keepAlive: true });

/** Start an agent on free ports of loopback; resolves when it answers for its node. */
export async function startAgent(command: string, name: string): Promise<Agent> {
  const folder = mkdtempSync(join(tmpdir(), `differential-${name}-`));
  const ports = Object.fromEntries(await Promise.all(PORTS.map(async (port) => [port, await freePort()] as const)));
  mkdirSync(join(folder, "config"));
  const config = {
    node_name: "n1",
    node_id: "11111111-2222-3333-4444-555555555555",
    bind_addr: "127.0.0.1",
    ports,
    log_level: "err",
    limits: { http_max_conns_per_client: 1000 },
  };
  writeFileSync(join(folder, "config", "agent.json"), JSON.stringify(config));
  const log = openSync(join(folder, "log"), "w");
  const child = spawn(command, ["agent", "-dev", `-config-dir=${folder}/config`], { stdio: ["ignore", log, log] });
  const agent: Agent = { name, ports, vars: {}, process: child, folder };
  const until = Date.now() + START_MS;
  while (Date.now() < until && child.exitCode === null) {
    const answer = await ask(agent, "GET", "/v1/catalog/nodes");
    if (answer.status === 200 && answer.body.trim().length > 2) return agent;
    await sleep(100);
  }
  child.kill("SIGKILL");
  throw new Error(`${name} does not start: see ${folder}/log`);
}

/** End an agent and remove its folder. */
export async function stopAgent(agent: Agent): Promise<void> {
  const gone = new Promise<void>((resolve) => agent.process.once("exit", () => resolve()));
  if (agent.process.exitCode === null && agent.process.kill("SIGKILL")) await gone;
  rmSync(agent.folder, { recursive: true, force: true });
}

/** One request. A connection that fails is an answer with status 0. */
export function ask(
  agent: Agent,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const bytes = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  const length = bytes === undefined ? {} : { "content-length": String(Buffer.byteLength(bytes)) };
  return new Promise((resolve) => {
    const fail = (error: Error): void => resolve({ status: 0, type: "", body: error.message, headers: {} });
    let request: http.ClientRequest;
    try {
      request = http.request({
        host: "127.0.0.1",
        port: agent.ports["http"],
        method,
        path,
        agent: connections,
        headers: { ...headers, ...length },
        timeout: REQUEST_MS,
      });
    } catch (error) {
      fail(error as Error);
      return;
    }
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", fail);
      response.on("end", () => {
        const type = (response.headers["content-type"] ?? "").split(";")[0] ?? "";
        resolve({
          status: response.statusCode ?? 0,
          type,
          body: Buffer.concat(chunks).toString(),
          headers: response.headers,
        });
      });
    });
    request.on("error", fail);
    request.on("timeout", () => request.destroy(new Error("timeout")));
    request.end(bytes);
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
