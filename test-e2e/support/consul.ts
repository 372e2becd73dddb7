/** Debian's Consul, where tools/install-test-tools.sh has put it: as a client of ours, and as an agent to compare with. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, type TestContext } from "vitest";
import { claimPorts } from "./ports.ts";
import { start } from "./process.ts";

const { CONSUL_BINARY, PEERS_DIR, XDG_CACHE_HOME = join(homedir(), ".cache") } = process.env;
const CONSUL = CONSUL_BINARY || join(PEERS_DIR ?? join(XDG_CACHE_HOME, "heddle-peers"), "consul/usr/bin/consul");

/** The binary; undefined, with the reason on standard output, where there is none. */
export function findConsul(): string | undefined {
  if (existsSync(CONSUL)) return CONSUL;
  process.stdout.write(`not compared with Consul: there is no ${CONSUL} (CONSUL_BINARY names another)\n`);
  return undefined;
}

/** Skips the test where there is no binary. */
export function needsConsul(ctx: TestContext): string {
  const found = findConsul();
  if (found === undefined) return ctx.skip(`there is no ${CONSUL}: run tools/install-test-tools.sh`);
  return found;
}

export interface ConsulAgent {
  http: number;
  server: number;
}

/** A Consul server of its own, killed when the running test is over; undefined where there is no binary. */
export async function startConsulAgent(nodeName: string): Promise<ConsulAgent | undefined> {
  const binary = findConsul();
  if (binary === undefined) return undefined;
  const { port } = await claimPorts(["http", "server", "lan", "wan"]);
  const dir = mkdtempSync(join(tmpdir(), "heddle-consul-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  const ports = [`-http-port=${port.http}`, `-server-port=${port.server}`, "-dns-port=-1", "-grpc-port=-1"];
  const gossip = [`-serf-lan-port=${port.lan}`, `-serf-wan-port=${port.wan}`];
  start(binary, ["agent", "-dev", "-log-level=err", `-node=${nodeName}`, ...ports, ...gossip], { cwd: dir });
  const nodes = async () =>
    ((await (await fetch(`http://127.0.0.1:${port.http}/v1/catalog/nodes`)).json()) as unknown[]).length;
  await expect.poll(() => nodes().catch(() => 0), { message: "Consul is ready" }).toBe(1);
  return { http: port.http, server: port.server };
}
