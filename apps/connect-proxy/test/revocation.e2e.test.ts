/** What is revoked is cut and refused on both ends, with the reason; a new certificate makes it work again. */
import { X509Certificate } from "node:crypto";
import { NO_REVOCATIONS, type RevocationsAnswer } from "@heddle/tls";
import type { FakeAgent } from "@heddle/data-plane/testing";
import { describe, expect, test } from "vitest";
import { dialApp, isReady, startPair, startProxy } from "./harness.ts";

const AT = "2026-11-27T12:00:00Z";

async function serialOf(agent: FakeAgent, service: string): Promise<string> {
  const answer = await fetch(`http://${agent.address}/v1/agent/connect/ca/leaf/${service}`);
  return new X509Certificate(((await answer.json()) as { CertPEM: string }).CertPEM).serialNumber;
}

const serials = (...all: string[]): RevocationsAnswer => ({
  ...NO_REVOCATIONS,
  Serials: all.map((SerialNumber) => ({ SerialNumber, Service: "", Reason: "lost", RevokedAt: AT, ExpiresAt: AT })),
});

const service = (Service: string): RevocationsAnswer => ({
  ...NO_REVOCATIONS,
  Services: [{ Service, Reason: "compromised", RevokedAt: AT, Reinstated: false, ExpiresAt: null }],
});

async function open(port: number) {
  const app = await dialApp(port);
  app.socket.write("x");
  await app.sawText("x");
  return app;
}

async function echoes(port: number): Promise<boolean> {
  const app = await dialApp(port);
  app.socket.end("x");
  return (await app.ended) === "end" && app.received().toString() === "x";
}

/** A pair, and a second caller of the same service that nothing happens to. */
async function startThree() {
  const pair = await startPair();
  const other = await startProxy(["-service=api", "-upstream=db:0"], { agent: pair.agent.address });
  await isReady(other);
  return { ...pair, otherPort: other.running.listeners()[0]?.address?.port ?? 0 };
}

describe("a caller's certificate", () => {
  test("is cut within a second and refused after, by its reason on both ends, and others are left alone", async () => {
    const { agent, port, db, web, otherPort, service: app } = await startThree();
    const [live, kept] = [await open(port), await open(otherPort)];
    const serial = await serialOf(agent, "web");
    agent.change((state) => (state.revocations = serials(serial)));
    expect(await live.ended).toBe("ECONNRESET");
    const reason = /^the certificate of 'web' is revoked: certificate \S+ was revoked at 2026-11-27T12:00:00Z: lost$/;
    for (const proxy of [db, web]) {
      const fields = await proxy.logged("connection closed", { decision: "refused", source: "web" });
      expect(fields.reason).toMatch(reason);
    }
    const before = app.sockets.length;
    expect(await echoes(port)).toBe(false);
    expect((await web.logged("connection refused")).reason).toMatch(reason);
    expect(app.sockets).toHaveLength(before);
    const identity = () => web.running.health()["identity"];
    expect(identity()).toMatchObject({ ready: false, details: expect.stringMatching(/^our certificate is revoked: /) });

    // The agent has another one signed: the mesh is whole again.
    agent.change((state) => (state.signing = { ...state.signing }));
    await expect.poll(() => echoes(port)).toBe(true);
    expect(identity()).toMatchObject({ ready: true });
    kept.socket.write("y");
    await kept.sawText("xy");
  });

  test("of a revoked service is refused whatever its serial, until the service is let in again", async () => {
    const { agent, port, db, otherPort } = await startThree();
    const live = await open(port);
    agent.change((state) => (state.revocations = service("web")));
    expect(await live.ended).toBe("ECONNRESET");
    expect(await echoes(port)).toBe(false);
    agent.change((state) => (state.signing = { ...state.signing }));
    await expect.poll(() => db.count("Parsed TLS identity")).toBeGreaterThan(1);
    expect(await echoes(port)).toBe(false);
    expect(await echoes(otherPort)).toBe(true);
    agent.change((state) => (state.revocations = NO_REVOCATIONS));
    await expect.poll(() => echoes(port)).toBe(true);
  });
});

test("a service's own revoked certificate cuts its callers off, by its own proxy and by theirs", async () => {
  const { agent, port, db, web, otherPort } = await startThree();
  const [one, two] = [await open(port), await open(otherPort)];
  const serial = await serialOf(agent, "db");
  agent.change((state) => (state.revocations = serials(serial)));
  expect([await one.ended, await two.ended]).toEqual(["ECONNRESET", "ECONNRESET"]);
  await db.logged("our certificate is revoked: every connection is refused");
  expect(await echoes(port)).toBe(false);
  expect((await web.logged("connection refused")).reason).toMatch(/certificate of 'db' is revoked/);
});

test("with an agent that revokes nothing, as Consul's, a proxy works", async () => {
  const { agent, port, web } = await startPair();
  agent.change((state) => (state.revocations = undefined));
  const other = await startProxy(["-service=api", "-upstream=db:0"], { agent: agent.address });
  await isReady(other);
  expect(await echoes(other.running.listeners()[0]?.address?.port ?? 0)).toBe(true);
  expect(await echoes(port)).toBe(true);
  expect(web.count("the agent refuses what the proxy needs")).toBe(0);
});

test("a proxy that starts when its service's certificate is revoked already lets nothing through", async () => {
  const { agent, port } = await startPair();
  const serial = await serialOf(agent, "web");
  agent.change((state) => (state.revocations = serials(serial)));
  const late = await startProxy(["-service=web", "-upstream=db:0"], { agent: agent.address });
  await expect.poll(() => late.running.listeners().length).toBe(1);
  expect(await echoes(late.running.listeners()[0]?.address?.port ?? 0)).toBe(false);
  expect(await echoes(port)).toBe(false);
});
