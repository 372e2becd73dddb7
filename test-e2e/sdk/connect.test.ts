/** Programs that are native to the mesh, beside Heddle's proxies and agent. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type Connect, startConnect } from "@heddle/connect";
import { expect, onTestFinished, test } from "vitest";
import { startConsulAgent, needsConsul } from "../support/consul.ts";
import { makePlace, startAgent, startSocat } from "../support/mesh.ts";
import { claimPorts } from "../support/ports.ts";
import { ROOT, run, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

async function joined(service: string, address: string): Promise<Connect> {
  const connect = await startConnect({ service, agent: { address }, drainMs: 100 });
  onTestFinished(() => connect.close());
  return connect;
}

async function echoes(connect: Connect, service: string): Promise<string> {
  const socket = await connect.dial(service);
  socket.end("through the mesh");
  return text(socket);
}

/** `socat` behind a proxy of its own, which registers itself and beats: healthy at once. */
const sidecarFlags = (ports: { echo: number; sidecar: number }) => [
  ...["-service", "socat", "-service-addr", `127.0.0.1:${ports.echo}`],
  ...["-listen", `127.0.0.1:${ports.sidecar}`, "-register"],
];

test("a program and Heddle's proxies: both ways through tunnels, until a deny", async (ctx) => {
  needs(ctx, "socat", "curl");
  const place = await makePlace();
  place.remove("socat.json");
  const mesh = await startAgent(place, ["-dev"], "Started HTTP server");
  startSocat(mesh.ports.echo);
  mesh.start("connect", "proxy", ...sidecarFlags(mesh.ports));
  const agent = `127.0.0.1:${mesh.ports.http}`;
  const web = await joined("web", agent);
  await expect.poll(() => echoes(web, "socat.service.consul").catch(String)).toBe("through the mesh");
  expect(await web.registry.metrics()).toMatch(/heddle_proxy_tunnels_open\{direction="outbound"[^}]*\} 1\n/);

  const greeter = await joined("greeter", agent);
  await greeter.createHttpServer((req, res) => res.end(`hello, ${peerOf(req)}`), { register: true }).listen();
  mesh.start("connect", "proxy", "-service", "web", "-upstream", `greeter:${mesh.ports.other}`);
  const curl = () => request(mesh.ports.other);
  await expect.poll(curl).toBe("hello, web");
  expect(await greeter.registry.metrics()).toMatch(/heddle_proxy_tunnels_open\{direction="inbound"[^}]*\} 1\n/);

  const open = await web.dial("socat");
  const cut = new Promise<Error>((resolve) => open.once("error", resolve));
  await mesh.ok("intention", "create", "-deny", "web", "socat");
  expect((await cut).message).toContain("DENY default/web => default/socat");
  await expect(web.dial("socat")).rejects.toMatchObject({ code: "intention" });
  await mesh.ok("intention", "create", "-deny", "web", "greeter");
  await expect.poll(curl).toBe("");
});

const request = async (port: number) => (await run("curl", ["-sS", `http://127.0.0.1:${port}/`])).out;

const peerOf = (req: { socket: unknown }) => (req.socket as { peer: { service: string } }).peer.service;

test("a program and Consul's agent and proxies, both ways, until a deny", async (ctx) => {
  const binary = needsConsul(ctx);
  needs(ctx, "socat", "curl");
  const { port: ports } = await claimPorts(["echo", "sidecar", "other"]);
  startSocat(ports.echo);
  const consul = await startConsulAgent("loom");
  const agent = `127.0.0.1:${consul?.http}`;
  const env = { CONSUL_HTTP_ADDR: agent };
  start(binary, ["connect", "proxy", ...sidecarFlags(ports)], { env });
  const web = await joined("web", agent);
  await expect.poll(() => echoes(web, "socat").catch(String)).toBe("through the mesh");
  expect(await web.registry.metrics()).toMatch(/heddle_proxy_tunnels_open\{direction="outbound"[^}]*\} 0\n/);

  const greeter = await joined("greeter", agent);
  await greeter.createHttpServer((req, res) => res.end(`hello, ${peerOf(req)}`), { register: true }).listen();
  start(binary, ["connect", "proxy", "-service", "web", "-upstream", `greeter:${ports.other}`], { env });
  const curl = () => request(ports.other);
  await expect.poll(curl).toBe("hello, web");
  expect(await (await web.fetch("http://greeter/")).text()).toBe("hello, web"); // and between two programs

  expect(await run(binary, ["intention", "create", "-deny", "web", "greeter"], { env })).toMatchObject({ status: 0 });
  await expect.poll(curl).toBe("");
  await expect
    .poll(() => web.fetch("http://greeter/").catch((error: Error) => error.cause))
    .toMatchObject({
      refusal: { rule: expect.stringContaining("DENY default/web => default/greeter") as string },
    });
});

test("the lines of the README, as they are written", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  place.remove("socat.json");
  const { api } = await startAgent(place, ["-dev"], "Started HTTP server");
  const cwd = join(ROOT, "packages/connect");
  const [service = "", caller = ""] = [
    ...readFileSync(join(cwd, "README.md"), "utf8").matchAll(/```js\n([^]*?)```/g),
  ].map(([, code = ""]) => code);
  const node = (code: string) => start(process.execPath, ["--input-type=module", "-e", code], { cwd, env: place.env });
  const greeter = node(service);
  const healthy = () => api<unknown[]>("/v1/health/connect/greeter?passing");
  await expect.poll(healthy).toHaveLength(1);
  const web = node(caller);
  await web.exited;
  expect(web.out).toBe("200 hello, web\n\n");
  await place.ok("intention", "create", "-deny", "web", "greeter");
  const denied = async () => {
    const again = node(caller);
    await again.exited;
    return again.err;
  };
  await expect.poll(denied).toMatch(/fetch failed[^]*DENY default\/web => default\/greeter/);
  await greeter.stop();
  expect(await api("/v1/health/connect/greeter")).toEqual([]);
});
