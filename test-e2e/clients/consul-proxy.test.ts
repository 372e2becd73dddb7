/**
 * Consul's own proxy beside ours: each as the caller's and as the service's, on an agent of ours and on one of Consul's. In all four ways
 * bytes pass, a deny refuses, and a new root brings new leaves to both ends.
 */
import { generateKeyPairSync } from "node:crypto";
import { connect as dial } from "node:net";
import { connect } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import { needsConsul, startConsulAgent } from "../support/consul.ts";
import { makePlace, startAgent, startSocat } from "../support/mesh.ts";
import { claimPorts } from "../support/ports.ts";
import { HEDDLE, start } from "../support/process.ts";

interface Place {
  http: number;
  /** Where the service's proxy listens. */
  sidecar: number;
}

/** An agent that knows `socat` with a sidecar. */
const AGENTS = {
  async Heddle(): Promise<Place> {
    const place = await makePlace();
    startSocat(place.ports.echo);
    await startAgent(place, ["-dev"], "Synced service: service=socat-sidecar-proxy");
    return place.ports;
  },
  async Consul(): Promise<Place> {
    const { port } = await claimPorts(["echo", "sidecar"]);
    startSocat(port.echo);
    const agent = await startConsulAgent("ways");
    if (!agent) throw new Error("there was a Consul a moment ago");
    const sidecar = {
      Port: port.sidecar,
      Checks: [{ Name: "listens", TCP: `127.0.0.1:${port.sidecar}`, Interval: "1s" }],
    };
    const body = { Name: "socat", Port: port.echo, Connect: { SidecarService: sidecar } };
    await ask(agent.http, "PUT", "/v1/agent/service/register", body);
    return { http: agent.http, sidecar: port.sidecar };
  },
};

async function ask<T>(http: number, method: string, path: string, body?: unknown): Promise<T> {
  const res = await fetch(`http://127.0.0.1:${http}${path}`, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await res.text();
  if (!res.ok) throw new Error(`${method} ${path}: ${res.status} ${text}`);
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

/** The serial of the certificate that a proxy shows, in lower case without colons; empty while nothing answers. */
function shownSerial(port: number): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  // What a stranger is shown: the test has no certificate of the mesh and judges none.
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false, timeout: 2_000 }, () => {
    resolve(socket.getPeerX509Certificate()?.serialNumber.toLowerCase() ?? "");
    socket.destroy();
  });
  socket
    .on("error", () => resolve(""))
    .on("timeout", () => socket.destroy())
    .on("close", () => resolve(""));
  onTestFinished(() => void socket.destroy());
  return promise;
}

/** Whether a line comes back. Where a rule forbids it, Consul's calling proxy leaves its application's connection open, without a word. */
function isEchoed(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = dial({ host: "127.0.0.1", port, timeout: 1_000 }, () => void socket.write("hello"));
  socket.once("data", () => resolve(true)).on("error", () => resolve(false));
  socket.on("timeout", () => socket.destroy()).on("close", () => resolve(false));
  return promise.finally(() => socket.destroy());
}

const comesTo = (port: number, state: boolean) => expect.poll(() => isEchoed(port), { interval: 30 }).toBe(state);

const leafSerial = async (http: number): Promise<string> => {
  const { SerialNumber } = await ask<{ SerialNumber: string }>(http, "GET", "/v1/agent/connect/ca/leaf/socat");
  return SerialNumber.replaceAll(":", "").toLowerCase();
};
const withoutZeros = (serial: string) => serial.replace(/^0+/, "");

const WAYS = [
  { agent: "Heddle", caller: "Consul", server: "Heddle" },
  { agent: "Heddle", caller: "Heddle", server: "Consul" },
  { agent: "Consul", caller: "Consul", server: "Heddle" },
  { agent: "Consul", caller: "Heddle", server: "Consul" },
] as const;

for (const { agent, caller, server } of WAYS)
  test(`on an agent of ${agent}'s, ${caller}'s proxy calls and ${server}'s serves`, {
    timeout: 90_000,
  }, async (ctx) => {
    const programs = { Consul: needsConsul(ctx), Heddle: HEDDLE };
    const { http, sidecar } = await AGENTS[agent]();
    const { port } = await claimPorts(["upstream"]);
    const env = { CONSUL_HTTP_ADDR: `127.0.0.1:${http}`, HEDDLE_HTTP_ADDR: `127.0.0.1:${http}` };
    start(programs[server], ["connect", "proxy", "-sidecar-for", "socat"], { env });
    start(programs[caller], ["connect", "proxy", "-service", "web", "-upstream", `socat:${port.upstream}`], { env });
    await comesTo(port.upstream, true);

    const deny = { SourceName: "web", DestinationName: "socat", Action: "deny" };
    const { ID } = await ask<{ ID: string }>(http, "POST", "/v1/connect/intentions", deny);
    await comesTo(port.upstream, false);
    await ask(http, "DELETE", `/v1/connect/intentions/${ID}`);
    await comesTo(port.upstream, true);

    const before = await leafSerial(http);
    expect(withoutZeros(await shownSerial(sidecar))).toBe(withoutZeros(before));
    const config = await ask<{ Config: object }>(http, "GET", "/v1/connect/ca/configuration");
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const PrivateKey = privateKey.export({ type: "sec1", format: "pem" });
    const Config = { ...config.Config, PrivateKey };
    await ask(http, "PUT", "/v1/connect/ca/configuration", { Provider: "consul", Config });
    // Leaves of the new root are dealt out over a while, so that not all of them are asked for at once.
    await expect.poll(() => leafSerial(http), { timeout: 60_000, interval: 200 }).not.toBe(before);
    const isShown = async () => withoutZeros(await shownSerial(sidecar)) === withoutZeros(await leafSerial(http));
    await expect.poll(isShown, { timeout: 30_000, interval: 200 }).toBe(true);
    await comesTo(port.upstream, true);
  });
