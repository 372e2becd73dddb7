/**
 * Every daemon a process of its own, and each killed in turn: traffic that flows goes on, new connections too, and everything
 * agrees again once it is back, without a restart of anything else (PRX-07 and DUR-11, shortened).
 */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { freePort, get, heddle, NODE, type Process, put, ROOT, run, serve, tempDir, until } from "./daemon.ts";

const ports = {
  catalog: 0,
  ca: 0,
  health: 0,
  agent: 0,
  sidecar: 0,
  upstream: 0,
  service: 0,
  dbMetrics: 0,
  webMetrics: 0,
};
const url = (name: keyof typeof ports) => `http://127.0.0.1:${ports[name]}`;
const dirs = { catalog: tempDir(), ca: tempDir(), agent: tempDir() };
const daemons = {} as Record<"catalog" | "ca" | "health" | "agent", Process>;

const starts = {
  catalog: (): Promise<Process> => serve("catalog", ports.catalog, `-data-dir=${dirs.catalog}`),
  ca: (): Promise<Process> => serve("ca", ports.ca, `-data-dir=${dirs.ca}`),
  health: (): Promise<Process> => serve("health", ports.health),
  async agent(): Promise<Process> {
    const argv = [
      `-data-dir=${dirs.agent}`,
      "-node=n1",
      "-bind=127.0.0.1",
      "-dns-port=-1",
      `-http-port=${ports.agent}`,
    ];
    const servers = [`-catalog-addr=${url("catalog")}`, `-ca-addr=${url("ca")}`, `-health-addr=${url("health")}`];
    const agent = run(NODE, ["src/main.ts", ...argv, ...servers], { cwd: join(ROOT, "apps/agent") });
    await agent.saw("agent is serving");
    return agent;
  },
};

/** A connection that is asked for an echo every few milliseconds, and how often it got one. */
class Tunnel {
  readonly socket: Socket;
  echoes = 0;
  ended: string | undefined;
  #n = 0;

  constructor(port: number) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("error", (error: NodeJS.ErrnoException) => (this.ended = error.code));
    this.socket.on("close", () => (this.ended ??= "closed"));
    this.socket.on("data", () => {
      this.echoes++;
      setTimeout(() => this.#ask(), 5);
    });
    this.socket.once("connect", () => this.#ask());
  }

  #ask(): void {
    if (this.ended === undefined) this.socket.write(`${this.#n++}\n`);
  }

  async goesOn(): Promise<void> {
    const before = this.echoes;
    await until(
      async () => this.ended ?? this.echoes,
      (now) => typeof now === "string" || now > before + 5,
      5_000,
    );
    expect(this.ended).toBeUndefined();
  }
}

/** A new connection through both proxies: the echo, or what ended it. */
async function echoOnce(): Promise<string> {
  const socket = connect(ports.upstream, "127.0.0.1");
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  socket.on("close", () => resolve("closed"));
  socket.on("data", (chunk: Buffer) => resolve(chunk.toString()));
  socket.write("hello");
  const answer = await promise;
  socket.destroy();
  return answer;
}

type Instances = { Service: { Port: number }; Checks: { CheckID: string; Status: string }[] }[];
const passing = async () =>
  (await get(`${url("catalog")}/v1/health/connect/db?passing`)).json<Instances>().map((i) => i.Service.Port);

beforeAll(async () => {
  for (const name of Object.keys(ports) as (keyof typeof ports)[]) ports[name] = await freePort();
  const service = createServer((socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  }).listen(0, "127.0.0.1");
  await once(service, "listening");
  ports.service = (service.address() as AddressInfo).port;
  for (const name of ["catalog", "ca", "health", "agent"] as const) daemons[name] = await starts[name]();
  const definition = { Name: "db", Port: ports.service, Connect: { SidecarService: {} } };
  expect((await put(`${url("agent")}/v1/agent/service/register`, definition)).status).toBe(200);
  const sidecar = (await get(`${url("agent")}/v1/agent/service/db-sidecar-proxy`)).json<{ Port: number }>();
  ports.sidecar = sidecar.Port;
  for (const [argv, metrics] of [
    [["-sidecar-for=db"], ports.dbMetrics],
    [["-service=web", `-upstream=db:${ports.upstream}`], ports.webMetrics],
  ] as const) {
    const proxy = heddle([
      "connect",
      "proxy",
      ...argv,
      `-metrics-addr=127.0.0.1:${metrics}`,
      `-http-addr=${url("agent")}`,
    ]);
    await proxy.saw("Starting listener");
  }
  await until(echoOnce, (answer) => answer === "hello", 20_000);
}, 60_000);

test("each is killed and comes back", { timeout: 60_000 }, async () => {
  const tunnels = Array.from({ length: 10 }, () => new Tunnel(ports.upstream));
  const allGoOn = () => Promise.all(tunnels.map((t) => t.goesOn()));
  await allGoOn();
  await until(passing, (found) => found.length === 1 && found[0] === ports.sidecar, 20_000);
  const { ActiveRootID } = (await get(`${url("agent")}/v1/connect/ca/roots`)).json<{ ActiveRootID: string }>();

  for (const name of ["catalog", "ca", "health", "agent"] as const) {
    await daemons[name].end("SIGKILL");
    await allGoOn();
    expect([name, "new connections, meanwhile", await echoOnce()]).toEqual([
      name,
      "new connections, meanwhile",
      "hello",
    ]);
    // What can be written without it is accepted, and arrives later.
    const meanwhile = `while-${name}-was-away`;
    if (name !== "agent")
      expect((await put(`${url("agent")}/v1/agent/service/register`, { Name: meanwhile })).status).toBe(200);

    daemons[name] = await starts[name]();
    await allGoOn();
    expect((await put(`${url("agent")}/v1/agent/service/register`, { Name: `after-${name}` })).status).toBe(200);
    const isKnown = async () =>
      Object.keys((await get(`${url("catalog")}/v1/catalog/services`)).json<Record<string, string[]>>());
    await until(
      isKnown,
      (names) => names.includes(`after-${name}`) && (name === "agent" || names.includes(meanwhile)),
      15_000,
    );
    await until(passing, (found) => found.length === 1 && found[0] === ports.sidecar, 20_000);
    expect((await get(`${url("agent")}/v1/connect/ca/roots`)).json<{ ActiveRootID: string }>().ActiveRootID).toBe(
      ActiveRootID,
    );
    await until(
      () => get(`${url("agent")}/readyz`),
      ({ status }) => status === 200,
      15_000,
    );
    expect(await echoOnce()).toBe("hello");
  }
  for (const { socket } of tunnels) socket.destroy();
});

test("a deny made after all of that is enforced within a second, and allowed again", async () => {
  const tunnel = new Tunnel(ports.upstream);
  await tunnel.goesOn();
  const { ID } = await createDeny();
  const start = performance.now();
  await until(
    async () => tunnel.ended,
    (ended) => ended !== undefined,
    3_000,
  );
  expect(performance.now() - start).toBeLessThan(1_500);
  expect(await echoOnce()).not.toBe("hello");
  await fetch(`${url("agent")}/v1/connect/intentions/${ID}`, { method: "DELETE" });
  await until(echoOnce, (answer) => answer === "hello", 3_000);
});

async function createDeny(): Promise<{ ID: string }> {
  const body = JSON.stringify({ SourceName: "web", DestinationName: "db", Action: "deny" });
  const made = await fetch(`${url("agent")}/v1/connect/intentions`, { method: "POST", body });
  expect(made.status).toBe(200);
  return (await made.json()) as { ID: string };
}

test("all of them killed at once: tunnels and new connections go on, a proxy that never synced refuses", {
  timeout: 60_000,
}, async () => {
  const tunnels = Array.from({ length: 5 }, () => new Tunnel(ports.upstream));
  await Promise.all(tunnels.map((t) => t.goesOn()));
  await Promise.all(Object.values(daemons).map((d) => d.end("SIGKILL")));
  await Promise.all(tunnels.map((t) => t.goesOn()));
  const port = await freePort();
  const late = heddle(["connect", "proxy", "-service=late", `-upstream=db:${port}`, `-http-addr=${url("agent")}`]);
  for (let n = 0; n < 50; n++) expect(await echoOnce()).toBe("hello");
  const refused = await new Promise<string>((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("data", () => resolve("served"));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
    socket.on("close", () => resolve("closed"));
    socket.write("hello");
  });
  expect(refused).not.toBe("served");
  for (const name of ["agent", "health", "ca", "catalog"] as const) daemons[name] = await starts[name]();
  await until(passing, (found) => found.length === 1 && found[0] === ports.sidecar, 20_000);
  await late.saw("Starting listener");
  await Promise.all(tunnels.map((t) => t.goesOn()));
  expect(await echoOnce()).toBe("hello");
  for (const daemon of Object.values(daemons)) expect(await daemon.end()).toEqual([0, null]);
  await Promise.all(tunnels.map((t) => t.goesOn()));
});
