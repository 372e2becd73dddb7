/** The article's mesh on free ports: socat, the agent with its configuration directory, and its proxies. */
import { randomBytes, randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { claimPorts } from "./ports.ts";
import { HEDDLE, type Program, type Result, run, start } from "./process.ts";

const SIDECAR_PORTS = 6;
const NAMES = ["http", "dns", "server", "echo", "upstream", "other", "another"] as const;

export type Ports = Record<(typeof NAMES)[number], number> & { sidecar: number; sidecarMax: number };

export interface Place {
  dir: string;
  /** The folder that `-config-dir` names. */
  configDir: string;
  ports: Ports;
  /** The environment that leads a command to this agent. */
  env: Record<string, string>;
  /** Writes a file of the configuration directory; an object as JSON. */
  write: (name: string, content: string | object) => void;
  remove: (name: string) => void;
  heddle: (...args: string[]) => Promise<Result>;
  /** Runs `heddle`, expects exit status 0, and returns what it printed on standard output. */
  ok: (...args: string[]) => Promise<string>;
  start: (...args: string[]) => Program;
}

/** The article's definition of a service with a sidecar. */
export const definition = (name: string, port: number): object => ({
  service: { name, port, connect: { sidecar_service: {} } },
});

/** A configuration directory with the article's `socat.json` and a file that gives the ports. Nothing runs yet. */
export async function makePlace(): Promise<Place> {
  const { port, range } = await claimPorts(NAMES, SIDECAR_PORTS);
  const ports = { ...port, sidecar: range[0] as number, sidecarMax: range.at(-1) as number };
  const dir = mkdtempSync(join(tmpdir(), "heddle-walk-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  const configDir = join(dir, "mesh.d");
  mkdirSync(configDir);
  const env = { HEDDLE_HTTP_ADDR: `127.0.0.1:${ports.http}` };
  const place: Place = {
    dir,
    configDir,
    ports,
    env,
    write: (name, content) =>
      writeFileSync(
        join(configDir, name),
        typeof content === "string" ? content : JSON.stringify(content, undefined, 2),
      ),
    remove: (name) => rmSync(join(configDir, name)),
    heddle: (...args) => run(HEDDLE, args, { cwd: dir, env }),
    async ok(...args) {
      const result = await place.heddle(...args);
      expect(result, `heddle ${args.join(" ")}`).toMatchObject({ status: 0 });
      return result.out;
    },
    start: (...args) => start(HEDDLE, args, { cwd: dir, env }),
  };
  place.write("socat.json", definition("socat", ports.echo));
  place.write("ports.hcl", portsFile(ports));
  return place;
}

const portsFile = (ports: Ports): string => `ports {
  http = ${ports.http}
  dns = ${ports.dns}
  server = ${ports.server}
  grpc = -1
  sidecar_min_port = ${ports.sidecar}
  sidecar_max_port = ${ports.sidecarMax}
}
`;

export interface Agent extends Place {
  agent: Program;
  /** A JSON answer of the API, asked for with curl. */
  api: <T>(path: string) => Promise<T>;
}

/**
 * Starts `heddle agent -dev -enable-script-checks -config-dir=.` and waits until it has told the catalog of everything: until it
 * has printed `ready`.
 */
export async function startAgent(
  place: Place,
  flags: string[] = ["-dev", "-enable-script-checks"],
  ready = "Synced check: check=service:socat-sidecar-proxy:1",
): Promise<Agent> {
  const { args, env } = storeFlags();
  const agent = start(HEDDLE, ["agent", ...flags, ...args, "-config-dir=."], { cwd: place.configDir, env });
  await agent.printed(ready);
  const api = async <T>(path: string): Promise<T> => {
    const { status, out, err } = await run("curl", [
      "-sS",
      "--fail-with-body",
      `http://127.0.0.1:${place.ports.http}${path}`,
    ]);
    if (status !== 0) throw new Error(`curl ${path}: ${err}${out}`);
    return JSON.parse(out) as T;
  };
  return { ...place, agent, api };
}

/** HEDDLE_TEST_ETCD ("127.0.0.1:2379") has every mesh of these tests keep its records there, each in a place of its own. */
function storeFlags(): { args: string[]; env: Record<string, string> } {
  const { HEDDLE_TEST_ETCD: etcd } = process.env;
  if (!etcd) return { args: [], env: {} };
  return {
    args: [`-store=etcd://${etcd}/test/${randomUUID()}`, "-ca-encryption-key=env:TEST_CA_KEY"],
    env: { TEST_CA_KEY: randomBytes(32).toString("base64") },
  };
}

export interface Mesh extends Agent {
  socat: Program;
  sidecar: Program;
  web: Program;
}

/** All of the article: steps 1, 2, 4 and 5. */
export async function startMesh(
  options: { flags?: string[]; files?: Record<string, string | object> } = {},
): Promise<Mesh> {
  const place = await makePlace();
  for (const [name, content] of Object.entries(options.files ?? {})) place.write(name, content);
  const socat = startSocat(place.ports.echo);
  const agent = await startAgent(place, options.flags);
  const sidecar = place.start("connect", "proxy", "-sidecar-for", "socat");
  const web = place.start("connect", "proxy", "-service", "web", "-upstream", `socat:${place.ports.upstream}`);
  await Promise.all([sidecar, web].map((proxy) => proxy.printed("Starting listener")));
  await passing(agent);
  return { ...agent, socat, sidecar, web };
}

/** Waits until the sidecar's own check has found its listener. */
export async function passing({ api }: Agent): Promise<void> {
  const instances = () => api<unknown[]>("/v1/health/connect/socat?passing");
  await expect.poll(instances, { message: "the sidecar of socat is healthy" }).toHaveLength(1);
}

/** `socat -v tcp-l:PORT,fork exec:/bin/cat`: it echoes, and its log shows every byte. */
export const startSocat = (port: number): Program =>
  start("socat", ["-v", `tcp-l:${port},fork,reuseaddr`, "exec:/bin/cat"]);

/** What `nc localhost PORT` got back for a line that was typed; without its end, where the connection was refused. */
export async function netcat(port: number, line: string): Promise<string> {
  const nc = start("nc", ["localhost", String(port)]);
  nc.write(`${line}\n`);
  await Promise.race([nc.printed(`${line}\n`).catch(() => {}), nc.exited]);
  await nc.stop();
  return nc.out;
}

/** Waits until a new connection through the mesh is refused (new rules take a moment to reach the proxies), or echoes. */
export async function comesTo(port: number, state: "echo" | "refused"): Promise<void> {
  const got = () => netcat(port, `until ${state}`);
  await expect.poll(got, { interval: 30 }).toBe(state === "echo" ? `until ${state}\n` : "");
}
