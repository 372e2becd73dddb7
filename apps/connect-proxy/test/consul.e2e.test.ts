/** Against a real Consul agent, and beside its own proxy in both directions. Skipped where the binary is not installed. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createApiClient, type ApiClient } from "@heddle/api-client";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, type TestContext, vi } from "vitest";
import { dialApp, echo, freePort, isReady, startProxy, startService } from "./harness.ts";

const BINARY = process.env.HEDDLE_CONSUL_BINARY ?? join(homedir(), ".cache/heddle-peers/consul/usr/bin/consul");
const isInstalled = existsSync(BINARY);

let consul: { address: string; client: ApiClient; child: ChildProcess; dir: string } | undefined;

beforeAll(async () => {
  if (isInstalled) consul = await startConsul();
}, 60_000);

afterAll(async () => {
  if (!consul) return;
  consul.client.close();
  await end(consul.child);
  rmSync(consul.dir, { recursive: true, force: true });
});

async function startConsul() {
  const ports: number[] = [];
  while (ports.length < 6) ports.push(await freePort());
  const [http, dns, grpc, server, lan, wan] = ports;
  const dir = mkdtempSync(join(tmpdir(), "heddle-consul-"));
  writeFileSync(
    join(dir, "c.json"),
    JSON.stringify({ ports: { http, dns, grpc, server, serf_lan: lan, serf_wan: wan }, log_level: "warn" }),
  );
  const child = spawn(BINARY, ["agent", "-dev", `-config-file=${join(dir, "c.json")}`], { stdio: "ignore" });
  const address = `127.0.0.1:${http}`;
  const client = createApiClient({ address });
  // Outside a test, where `expect.poll` does not work.
  const isUp = vi.waitFor(() => client.get("/v1/agent/connect/ca/leaf/probe"), { timeout: 30_000, interval: 100 });
  await isUp.catch(async (error: unknown) => {
    await end(child);
    throw error;
  });
  return { address, client, child, dir };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 5_000);
  await exited;
  clearTimeout(timer);
}

/** Skips, saying why, where there is no Consul. */
function theConsul(ctx: TestContext): NonNullable<typeof consul> {
  if (!consul) ctx.skip(`no Consul at ${BINARY}: the peers script brings one`);
  return consul;
}

/** Consul's own proxy as a process. */
function consulProxy(argv: string[], address: string) {
  const child = spawn(BINARY, ["connect", "proxy", ...argv], { env: { ...process.env, CONSUL_HTTP_ADDR: address } });
  onTestFinished(() => end(child));
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  return { saw: (text: string) => expect.poll(() => out).toContain(text) };
}

/** A service with a sidecar registration, whose check runs every second. */
async function registerService(client: ApiClient, name: string) {
  const service = await startService(echo);
  const port = await freePort();
  const body = {
    Name: name,
    Port: service.port,
    Connect: {
      SidecarService: { Port: port, Checks: [{ Name: "listening", TCP: `127.0.0.1:${port}`, Interval: "1s" }] },
    },
  };
  await client.put("/v1/agent/service/register", { body });
  onTestFinished(async () => {
    await client.put(`/v1/agent/service/deregister/${name}`).catch(() => {});
  });
  return { service, port };
}

async function isPassing(client: ApiClient, name: string): Promise<void> {
  const passing = async () =>
    (await client.get<unknown[]>(`/v1/health/connect/${name}`, { query: { passing: 1 } })).body.length;
  await expect.poll(passing, { interval: 50 }).toBe(1);
}

async function echoes(port: number, text: string): Promise<boolean> {
  const app = await dialApp(port);
  app.socket.write(text);
  const isOver = app.ended.then(() => true);
  const isEchoed = async () => app.received().toString() === text;
  while (!(await isEchoed())) if (await Promise.race([isOver, next(app.socket)])) return isEchoed();
  app.socket.end();
  return (await app.ended) === "end";
}

const next = async (socket: Socket): Promise<false> => {
  await new Promise<void>((resolve) => socket.once("data", () => resolve()));
  return false;
};

describe("against a Consul agent", () => {
  test("both ends ours: bytes, a deny that cuts and names its rule on both ends, and an agent that stops", {
    timeout: 60_000,
  }, async (ctx) => {
    theConsul(ctx);
    const own = await startConsul(); // this test stops it
    onTestFinished(async () => {
      await end(own.child);
      rmSync(own.dir, { recursive: true, force: true });
    });
    const { client, address } = own;
    await registerService(client, "alpha");
    const server = await startProxy(["-sidecar-for=alpha"], { agent: address });
    await isReady(server);
    await isPassing(client, "alpha");
    const web = await startProxy(["-service=web", "-upstream=alpha:0"], { agent: address });
    await isReady(web);
    const port = web.running.listeners()[0]?.address?.port ?? 0;
    await expect.poll(() => echoes(port, "hello").catch(() => false)).toBe(true);

    const open = await dialApp(port);
    open.socket.write("x");
    await open.sawText("x");
    const rule = { SourceName: "web", DestinationName: "alpha", Action: "deny" };
    const { body } = await client.post<{ ID: string }>("/v1/connect/intentions", { body: rule });
    const at = performance.now();
    expect(await open.ended).toBe("ECONNRESET");
    expect(performance.now() - at).toBeLessThan(1_000);
    const text = `DENY default/web => default/alpha (ID: ${body.ID}, Precedence: 9)`;
    for (const proxy of [server, web])
      expect(await proxy.logged("connection closed", { decision: "refused" })).toMatchObject({
        rule: text,
        reason: `Matched intention: ${text}`,
      });
    await client.delete(`/v1/connect/intentions/${body.ID}`);
    await expect.poll(() => echoes(port, "again").catch(() => false)).toBe(true);

    const kept = await dialApp(port);
    kept.socket.write("x");
    await kept.sawText("x");
    await end(own.child);
    await web.logged("the agent is away, going on with what is known");
    kept.socket.write("y");
    await kept.sawText("xy");
    expect(await echoes(port, "new without an agent")).toBe(true);
  });

  test("our proxy calls Consul's", { timeout: 30_000 }, async (ctx) => {
    const { client, address } = theConsul(ctx);
    await registerService(client, "beta");
    await consulProxy(["-sidecar-for", "beta"], address).saw("Starting listener");
    await isPassing(client, "beta");
    const web = await startProxy(["-service=web", "-upstream=beta:0"], { agent: address });
    await isReady(web);
    const port = web.running.listeners()[0]?.address?.port ?? 0;
    await expect.poll(() => echoes(port, "to consul").catch(() => false)).toBe(true);
    expect((await web.logged("connection closed")).tls).toMatch(/^TLSv1\.[23] /);
    const { body } = await client.post<{ ID: string }>("/v1/connect/intentions", {
      body: { SourceName: "web", DestinationName: "beta", Action: "deny" },
    });
    await expect.poll(() => echoes(port, "denied")).toBe(false);
    await client.delete(`/v1/connect/intentions/${body.ID}`);
  });

  test("our proxy goes where a prepared query of Consul's points, and follows it", { timeout: 30_000 }, async (ctx) => {
    const { client, address } = theConsul(ctx);
    await registerService(client, "epsilon");
    await isReady(await startProxy(["-sidecar-for=epsilon"], { agent: address }));
    await isPassing(client, "epsilon");
    const web = await startProxy(["-service=web", "-upstream=find-it.query:0"], { agent: address });
    await isReady(web);
    const port = web.running.listeners()[0]?.address?.port ?? 0;
    expect(await echoes(port, "too early")).toBe(false);
    expect((await web.logged("connection refused")).reason).toBe("no healthy instance of query 'find-it' is known");
    const query = { Name: "find-it", Service: { Service: "epsilon" } };
    const { body } = await client.post<{ ID: string }>("/v1/query", { body: query });
    onTestFinished(() => void client.delete(`/v1/query/${body.ID}`).catch(() => {}));
    await expect.poll(() => echoes(port, "by query").catch(() => false)).toBe(true);
    expect((await web.logged("connection closed")).destination_id).toMatch(/\/svc\/epsilon$/);
  });

  test("Consul's proxy calls ours, and is refused where an intention denies it", { timeout: 30_000 }, async (ctx) => {
    const { client, address } = theConsul(ctx);
    await registerService(client, "gamma");
    const server = await startProxy(["-sidecar-for=gamma"], { agent: address });
    await isReady(server);
    await isPassing(client, "gamma");
    const port = await freePort();
    await consulProxy(["-service", "caller", "-upstream", `gamma:${port}`], address).saw("Starting listener");
    await expect.poll(() => echoes(port, "from consul").catch(() => false)).toBe(true);
    expect(await server.logged("connection closed")).toMatchObject({ source: "caller", destination: "gamma" });
    const { body } = await client.post<{ ID: string }>("/v1/connect/intentions", {
      body: { SourceName: "caller", DestinationName: "gamma", Action: "deny" },
    });
    // What was refused before the rule was heard of, for another reason, has none.
    const rules = async () => {
      await (await dialApp(port)).ended;
      return server.entries.map(({ fields }) => fields["rule"]).join();
    };
    await expect.poll(rules).toContain("DENY default/caller => default/gamma");
    await client.delete(`/v1/connect/intentions/${body.ID}`);
  });

  test("-register puts the proxy into Consul's catalog with a passing check", { timeout: 30_000 }, async (ctx) => {
    const { client, address } = theConsul(ctx);
    const service = await startService(echo);
    const port = await freePort();
    const proxy = await startProxy(
      ["-service=delta", `-service-addr=127.0.0.1:${service.port}`, `-listen=127.0.0.1:${port}`, "-register"],
      { agent: address },
    );
    await isReady(proxy);
    await isPassing(client, "delta");
    await proxy.running.close();
    expect((await client.get("/v1/agent/service/delta-proxy", { allow: [404] })).status).toBe(404);
  });
});
