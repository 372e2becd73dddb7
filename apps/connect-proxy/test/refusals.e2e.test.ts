/** Every refused connection says why, on both ends; what is no longer allowed is cut, what is allowed is left alone. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { createMeshClient } from "@heddle/tls";
import { badClientCertificates, createTestMesh } from "@heddle/tls/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { startFakeAgent } from "@heddle/data-plane/testing";
import { fakeIntention } from "@heddle/intentions/testing";
import { type App, deny, dialApp, freePort, isReady, startPair, startProxy } from "./harness.ts";

/** How a short exchange ends: "end" where it is allowed. */
async function howEnds(port: number): Promise<string> {
  const app = await dialApp(port);
  app.socket.end("x");
  return app.ended;
}

/** A connection that has echoed, once the rules allow it. */
async function allowed(port: number): Promise<App> {
  for (;;) {
    const app = await dialApp(port);
    app.socket.write("x");
    if (await Promise.race([app.sawText("x").then(() => true), app.ended.then(() => false)])) return app;
  }
}

const RULE = "DENY default/web => default/db (ID: 11111111-2222-3333-4444-555555555555, Precedence: 9)";

describe("intentions", () => {
  test("a denied caller is refused, both ends log the rule, and it works again without it", async () => {
    const { agent, port, db, web, service } = await startPair();
    agent.change((state) => state.intentions.push(deny("web", "db")));
    await expect.poll(() => howEnds(port)).toBe("ECONNRESET");
    const said = {
      decision: "refused",
      rule: RULE,
      reason: `Matched intention: ${RULE}`,
      source: "web",
      destination: "db",
    };
    expect(await db.logged("connection refused")).toMatchObject({ ...said, direction: "inbound" });
    expect(await web.logged("connection refused")).toMatchObject({ ...said, direction: "outbound" });
    expect(service.sockets).toHaveLength(0);

    agent.change((state) => state.intentions.splice(0));
    await expect
      .poll(async () => {
        const app = await dialApp(port);
        app.socket.end("again");
        return [await app.ended, app.received().toString()];
      })
      .toEqual(["end", "again"]);
  });

  test("a new deny cuts live connections within a second, busy ones too, and leaves others alone", async () => {
    const { agent, port, db, web, publicPort } = await startPair();
    const other = await startProxy(["-service=api", "-upstream=db:0"], { agent: agent.address });
    await isReady(other);
    const kept = await dialApp(other.running.listeners()[0]?.address?.port ?? 0);
    kept.socket.write("x");
    await kept.sawText("x");
    const idle = await dialApp(port);
    idle.socket.write("x");
    await idle.sawText("x");
    const busy = await dialApp(port);
    const pump = () => {
      while (!busy.socket.destroyed && busy.socket.write(Buffer.alloc(32 * 1024))) {}
    };
    busy.socket.on("drain", pump);
    pump();
    await expect.poll(() => busy.received().length).toBeGreaterThan(1_000_000);

    const at = performance.now();
    agent.change((state) => state.intentions.push(deny("web", "db")));
    expect(await idle.ended).toBe("ECONNRESET");
    expect(await busy.ended).toMatch(/ECONNRESET|EPIPE/);
    expect(performance.now() - at).toBeLessThan(1_000);
    const said = { decision: "refused", rule: RULE, reason: `Matched intention: ${RULE}` };
    for (const proxy of [db, web]) {
      await expect.poll(() => proxy.count("connection closed")).toBe(2);
      expect(await proxy.logged("connection closed", said)).toBeDefined();
      for (const entry of proxy.entries.filter((e) => e.sentence === "connection closed"))
        expect(entry.fields).toMatchObject(said);
    }
    kept.socket.write("y");
    await kept.sawText("xy");
    expect(publicPort).toBeGreaterThan(0);
  });

  test("INT-01: a thousand open connections are cut by one deny, new ones are refused, and others go on", async () => {
    const { agent, port, db } = await startPair();
    const other = await startProxy(["-service=api", "-upstream=db:0"], { agent: agent.address });
    await isReady(other);
    const greeted = async (at: number) => {
      const app = await dialApp(at);
      app.socket.write("x");
      await app.sawText("x");
      return app;
    };
    const many = [];
    for (let i = 0; i < 10; i++) many.push(...(await Promise.all(Array.from({ length: 100 }, () => greeted(port)))));
    const apiPort = other.running.listeners()[0]?.address?.port ?? 0;
    const kept = await Promise.all(Array.from({ length: 10 }, () => greeted(apiPort)));

    agent.change((state) => state.intentions.push(deny("web", "db")));
    expect(new Set(await Promise.all(many.map((app) => app.ended)))).toEqual(new Set(["ECONNRESET"]));
    expect(await howEnds(port)).toBe("ECONNRESET");
    expect(db.count("connection closed")).toBe(1_000);
    for (const app of kept) {
      app.socket.write("y");
      await app.sawText("xy");
    }
  });

  test("INT-05: rules on requests or tokens and actions that nobody knows deny, new connections and open ones", async () => {
    const { agent, port } = await startPair();
    for (const rule of [
      fakeIntention({ Action: "", Permissions: [{ Action: "allow", HTTP: { PathPrefix: "/" } }] }),
      fakeIntention({ Action: "audit" }),
      fakeIntention({ Action: "allow", JWT: { Providers: [{ Name: "okta" }] } }),
    ]) {
      agent.change((state) => void (state.intentions = []));
      const open = await allowed(port);
      agent.change((state) => void (state.intentions = [rule]));
      expect(await open.ended).toBe("ECONNRESET");
      expect(await howEnds(port)).toBe("ECONNRESET");
    }
  });

  test("a default policy of deny refuses whoever no rule allows", async () => {
    const { agent, port, web, db } = await startPair();
    await agent.stop();
    for (const proxy of [web, db]) await proxy.logged("the agent is away, going on with what is known");
    agent.change((state) => void (state.defaultPolicy = "deny"));
    await agent.restart();
    await expect.poll(() => howEnds(port)).toBe("ECONNRESET");
    expect(await howEnds(port)).toBe("ECONNRESET"); // the first may have been cut, rather than refused
    // Whichever of the two heard of it first; the caller's tells it either way.
    expect((await web.logged("connection refused")).reason).toBe("Default behavior configured by ACLs");
  });
});

describe("identity", () => {
  test("an upstream that is another service is refused before a byte of the application", async () => {
    const { agent, publicPort, service } = await startPair();
    agent.change((state) => {
      state.endpoints.cache = [{ host: "127.0.0.1", port: publicPort }];
    });
    const web = await startProxy(["-service=web", "-upstream=cache:0"], { agent: agent.address });
    await isReady(web);
    const app = await dialApp(web.running.listeners()[0]?.address?.port ?? 0);
    app.socket.write("secret");
    expect(await app.ended).toBe("ECONNRESET");
    const { reason } = await web.logged("connection refused");
    expect(reason).toBe(`expected '${agent.mesh.spiffeId("cache")}', but '${agent.mesh.spiffeId("db")}' was presented`);
    for (const socket of service.sockets) expect(socket.bytesRead).toBe(0);
  });

  test("every bad client certificate is refused with its reason, and no byte reaches the service", async () => {
    const { agent, publicPort, service, db } = await startPair();
    const cases = await badClientCertificates(agent.mesh);
    expect(cases.length).toBeGreaterThan(30);
    for (const { name: title, identity } of cases) {
      const before = db.count("connection refused");
      const socket = connectTls({
        ...createMeshClient({ ...identity, roots: [agent.mesh.root.certPem] }).options(),
        port: publicPort,
        host: "127.0.0.1",
      });
      socket.on("error", () => {});
      socket.once("secureConnect", () => socket.write("attack"));
      await new Promise<void>((resolve) => socket.once("close", () => resolve()));
      await expect.poll(() => db.count("connection refused"), { message: title }).toBe(before + 1);
      const last = db.entries.findLast((e) => e.sentence === "connection refused");
      expect(last?.fields.reason, title).toBeTruthy();
    }
    for (const socket of service.sockets) expect(socket.bytesRead).toBe(0);
  });

  test("a client without a certificate is told so by an alert, and the log says it", async () => {
    const { publicPort, agent, db } = await startPair();
    const socket = connectTls({
      port: publicPort,
      host: "127.0.0.1",
      ca: agent.mesh.root.certPem,
      checkServerIdentity: () => undefined,
    });
    const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
    expect(error.code).toBe("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED");
    expect((await db.logged("connection refused")).reason).toBe("peer did not return a certificate");
  });

  test("our dialler's certificate refused by the server is a reset for the application and a reason in both logs", async () => {
    const { agent, publicPort, db } = await startPair();
    // An agent of the same trust domain whose signer the server does not know, and which trusts the server's root.
    const stranger = await startFakeAgent(await createTestMesh());
    onTestFinished(() => stranger.stop());
    stranger.change((state) => {
      state.roots = [agent.mesh.root.certPem];
      state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
    });
    const web = await startProxy(["-service=web", "-upstream=db:0"], { agent: stranger.address });
    await isReady(web);
    const app = await dialApp(web.running.listeners()[0]?.address?.port ?? 0);
    expect(await app.ended).toBe("ECONNRESET");
    expect((await db.logged("connection refused")).reason).toMatch(/^its certificate was refused: /);
    expect((await web.logged("connection refused")).reason).toMatch(/^refused by the far proxy: /);
  });

  test("connections under a root that is removed are cut, those under the new one live", async () => {
    const { agent, port, db } = await startPair();
    const old = await dialApp(port);
    old.socket.write("x");
    await old.sawText("x");
    const next = await createTestMesh({ commonName: "next root" });
    agent.change((state) => state.roots.push(next.root.certPem));
    await expect.poll(() => db.count("Parsed TLS identity")).toBe(2);
    agent.change((state) => {
      state.signing = next;
    });
    await expect.poll(() => db.count("Parsed TLS identity")).toBeGreaterThanOrEqual(3);
    let fresh = await dialApp(port);
    await expect
      .poll(async () => {
        fresh = await dialApp(port);
        fresh.socket.write("y");
        await fresh.sawText("y");
        return true;
      })
      .toBe(true);
    old.socket.write("z");
    await old.sawText("xz");

    agent.change((state) => {
      state.roots = [next.root.certPem];
    });
    expect(await old.ended).toBe("ECONNRESET");
    expect((await db.logged("connection closed", { decision: "refused" })).reason).toMatch(/no longer valid: no root/);
    fresh.socket.write("w");
    await fresh.sawText("yw");
  });
});

describe("what is not a caller", () => {
  test("a port check that says nothing is not logged as a refusal", async () => {
    const { publicPort, db } = await startPair();
    const probe = connect(publicPort, "127.0.0.1");
    await once(probe, "connect");
    probe.end();
    probe.resume();
    await once(probe, "close");
    await db.logged("closed without a word");
    expect(db.count("connection refused")).toBe(0);
  });

  test.each([
    ["plain HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
    ["zeros", Buffer.alloc(4096)],
    ["a TLS record with a bad length", Buffer.from([0x16, 3, 1, 0xff, 0xff, ...Buffer.alloc(64, 1)])],
  ])("%s is refused and the listener goes on", async (_title, bytes) => {
    const { publicPort, db, port } = await startPair();
    const socket: Socket = connect(publicPort, "127.0.0.1");
    socket.on("error", () => {});
    socket.end(bytes);
    socket.resume();
    await new Promise<void>((resolve) => socket.once("close", () => resolve()));
    await db.logged("connection refused");
    const app = await dialApp(port);
    app.socket.end("fine");
    expect(await app.ended).toBe("end");
    expect(app.received().toString()).toBe("fine");
  });

  test("a handshake that never ends is cut off after handshake_timeout_ms", async () => {
    const { publicPort, db } = await startPair({ proxyConfig: { handshake_timeout_ms: 150 } });
    const silent = connect(publicPort, "127.0.0.1");
    silent.on("error", () => {});
    const half = connect(publicPort, "127.0.0.1");
    half.on("error", () => {});
    half.write(Buffer.from([0x16, 3, 1, 2, 0, 1]));
    const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once("close", () => resolve()));
    await Promise.all([closed(silent), closed(half)]);
    await expect.poll(() => db.count("connection refused")).toBe(2);
  });
});

test("a local service that cannot be reached is told to the caller's proxy", async () => {
  const { port, service, db, web } = await startPair();
  service.server.close();
  const app = await dialApp(port);
  expect(await app.ended).toBe("ECONNRESET");
  const reason = `cannot reach 127.0.0.1:${service.port}: connection refused`;
  expect((await db.logged("connection refused")).reason).toBe(reason);
  expect((await web.logged("connection refused")).reason).toBe(reason);
});

test("no instance, and none that answers, are refusals with a reason", async () => {
  const { agent, port, web } = await startPair();
  const isRefusedWith = async (reason: string) => {
    const app = await dialApp(port);
    app.socket.end("x");
    await app.ended;
    return web.entries.some((e) => e.sentence === "connection refused" && e.fields.reason === reason);
  };
  agent.change((state) => {
    state.endpoints.db = [];
  });
  await expect.poll(() => isRefusedWith("no healthy instance of 'db' is known")).toBe(true);
  const dead = await freePort();
  agent.change((state) => {
    state.endpoints.db = [{ host: "127.0.0.1", port: dead }];
  });
  await expect.poll(() => isRefusedWith(`cannot reach 127.0.0.1:${dead}: connection refused`)).toBe(true);
});

test("one address may have no more than its share of handshakes under way", async () => {
  const { publicPort, db } = await startPair({ proxyConfig: { max_handshakes_per_source: 3 } });
  const silent = Array.from({ length: 4 }, () => connect(publicPort, "127.0.0.1"));
  for (const socket of silent) socket.on("error", () => {});
  onTestFinished(() => silent.forEach((s) => s.destroy()));
  const { reason } = await db.logged("connection refused");
  expect(reason).toMatch(/^127\.0\.0\.1 has 3 handshakes under way already/);
  expect(db.count("connection refused")).toBe(1);
});

test("limits refuse with a reason", async () => {
  const { port, db, web } = await startPair({ proxyConfig: { max_inbound_connections: 1 } });
  const first = await dialApp(port);
  first.socket.write("x");
  await first.sawText("x");
  expect(await (await dialApp(port)).ended).toBe("ECONNRESET");
  expect((await db.logged("connection refused")).reason).toMatch(/limit of 1 connections/);
  expect(await web.logged("connection refused")).toBeDefined();
});

test("a connection on which nothing moves is cut after local_idle_timeout_ms, and both ends say so", async () => {
  const { port, db, web } = await startPair({ proxyConfig: { local_idle_timeout_ms: 300 } });
  const app = await dialApp(port);
  app.socket.write("hello");
  await app.sawText("hello");
  expect(await app.ended).toBe("ECONNRESET");
  const reason = "no byte moved for 300 ms (local_idle_timeout_ms)";
  for (const proxy of [db, web]) await proxy.logged("connection closed", { reason, bytes_in: 5, bytes_out: 5 });
});
