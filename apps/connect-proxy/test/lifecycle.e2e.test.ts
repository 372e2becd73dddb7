/** A proxy lives on its snapshot: through an absent agent, changed configuration, taken ports, renewed leaves, shutdown. */
import { once } from "node:events";
import { createServer } from "node:net";
import { connect as connectTls } from "node:tls";
import { createMeshClient } from "@heddle/tls";
import { describe, expect, onTestFinished, test } from "vitest";
import { startFakeAgent } from "@heddle/data-plane/testing";
import {
  deny,
  dialApp,
  echo,
  echoes,
  freePort,
  isReady,
  isRefused,
  sidecar,
  startPair,
  startProxy,
  startService,
} from "./harness.ts";

describe("without an agent", () => {
  test("open and new connections go on, and the absence is told once", async () => {
    const { agent, port, db, web } = await startPair();
    const open = await dialApp(port);
    open.socket.write("a");
    await open.sawText("a");
    await agent.stop();
    for (const proxy of [db, web]) await proxy.logged("the agent is away, going on with what is known");
    open.socket.write("b");
    await open.sawText("ab");
    for (let i = 0; i < 20; i++) expect(await echoes(port, `new ${i}`)).toBe(true);
    for (const proxy of [db, web]) {
      expect(proxy.count("the agent is away, going on with what is known")).toBe(1);
      expect(proxy.running.health().agent).toMatchObject({ ready: true, details: "away, last snapshot in use" });
    }
  });

  test("a rule that changed meanwhile is enforced within a second of the agent's return", async () => {
    const { agent, port, db } = await startPair();
    const open = await dialApp(port);
    open.socket.write("a");
    await open.sawText("a");
    await agent.stop();
    await db.logged("the agent is away, going on with what is known");
    agent.change((state) => state.intentions.push(deny("web", "db")));
    expect(await echoes(port, "last known rules")).toBe(true);
    await agent.restart();
    const at = performance.now();
    expect(await open.ended).toBe("ECONNRESET");
    expect(performance.now() - at).toBeLessThan(1_000);
    await db.logged("the agent answers again");
  });

  test("a sidecar waits for its agent and says so", async () => {
    const agent = await startFakeAgent();
    onTestFinished(() => agent.stop());
    const service = await startService(echo);
    const publicPort = await freePort();
    agent.change((state) => {
      state.services["db-sidecar-proxy"] = sidecar(publicPort, service.port);
    });
    await agent.stop();
    const starting = startProxy(["-sidecar-for=db"], { agent: agent.address });
    await agent.restart();
    const db = await starting;
    await isReady(db);
    expect(db.running.listeners()).toEqual([
      { name: "public listener", address: { host: "127.0.0.1", port: publicPort } },
    ]);
  });
});

describe("configuration", () => {
  test("the public listener moves, the service's address changes, and open connections stay", async () => {
    const { agent, port, db, publicPort, service } = await startPair();
    const open = await dialApp(port);
    open.socket.write("a");
    await open.sawText("a");
    const moved = await freePort();
    const second = await startService((socket) => socket.once("data", () => socket.end("second")));
    agent.change((state) => {
      state.services["db-sidecar-proxy"] = sidecar(moved, second.port);
      state.endpoints.db = [{ host: "127.0.0.1", port: moved }];
    });
    await db.logged("Stopping listener", { bind_addr: `127.0.0.1:${publicPort}` });
    await db.logged("Starting listener", { bind_addr: `127.0.0.1:${moved}` });
    await expect
      .poll(async () => {
        const app = await dialApp(port);
        app.socket.write("x");
        await app.ended;
        return app.received().toString();
      })
      .toBe("second");
    open.socket.write("b");
    await open.sawText("ab");
    expect(service.sockets).toHaveLength(1);
  });

  test("one that cannot be is refused by name, and what runs goes on", async () => {
    const { agent, port, db, publicPort, service } = await startPair();
    agent.change((state) => {
      state.services["db-sidecar-proxy"] = sidecar(publicPort, service.port, { handshake_timeout_ms: "soon" });
    });
    const { error } = await db.logged("cannot use what the agent sent, keeping what is known");
    expect(error).toBe('proxy.config.handshake_timeout_ms: invalid value "soon": want milliseconds, at most a day');
    expect(await echoes(port, "fine")).toBe(true);
  });

  test("a port in use is named with its holder, tried again, and ends nothing", async () => {
    const { agent, port, db, service, publicPort } = await startPair();
    const holder = createServer().listen(0, "127.0.0.1");
    await once(holder, "listening");
    const { port: taken } = holder.address() as { port: number };
    agent.change((state) => {
      state.services["db-sidecar-proxy"] = {
        ...sidecar(publicPort, service.port),
        Proxy: {
          ...sidecar(publicPort, service.port).Proxy,
          Upstreams: [{ DestinationName: "db", LocalBindPort: taken }],
        },
      };
    });
    const { error } = await db.logged("cannot open a listener, trying again");
    expect(error).toContain(`cannot listen on 127.0.0.1:${taken} (tcp): the port is in use`);
    expect(db.running.health().listeners?.ready).toBe(false);
    expect(await echoes(port, "fine")).toBe(true);
    holder.close();
    await db.logged("Starting listener", { bind_addr: `127.0.0.1:${taken}` });
    expect(await echoes(taken, "through itself")).toBe(true);
  });
});

test("a renewed leaf is presented to new connections and disturbs none", async () => {
  const { agent, port, publicPort, db } = await startPair();
  const presented = async () => {
    const client = createMeshClient(agent.mesh.identity("web"));
    const socket = connectTls({ ...client.options(), port: publicPort, host: "127.0.0.1" });
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    const serial = socket.getPeerX509Certificate()?.serialNumber;
    socket.destroy();
    return serial;
  };
  const open = await dialApp(port);
  open.socket.write("a");
  await open.sawText("a");
  const before = await presented();
  agent.change((state) => {
    state.signing = { ...state.signing };
  });
  await expect.poll(() => db.count("Parsed TLS identity")).toBe(2);
  expect(await presented()).not.toBe(before);
  open.socket.write("b");
  await open.sawText("ab");
});

test("a mesh client without our ALPN is served as plain mutual TLS", async () => {
  const { agent, publicPort, db } = await startPair();
  for (const protocols of [undefined, ["h2", "http/1.1"]]) {
    const socket = connectTls({
      ...createMeshClient(agent.mesh.identity("web")).options(),
      ...(protocols && { ALPNProtocols: protocols }),
      port: publicPort,
      host: "127.0.0.1",
    });
    await once(socket, "secureConnect");
    socket.write("plain");
    const [data] = (await once(socket, "data")) as [Buffer];
    expect(data.toString()).toBe("plain");
    agent.change((state) => state.intentions.push(deny("web", "db")));
    const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
    expect(error.code).toBe("ECONNRESET");
    await db.logged("connection closed", { decision: "refused" });
    agent.change((state) => state.intentions.splice(0));
    await expect.poll(() => db.count("connection closed")).toBeGreaterThan(0);
  }
});

describe("shutdown", () => {
  test("stops accepting at once, lets open connections finish, and resets what is left", async () => {
    const { port, db, web } = await startPair();
    const finishing = await dialApp(port);
    const staying = await dialApp(port);
    for (const app of [finishing, staying]) {
      app.socket.write("a");
      await app.sawText("a");
    }
    const closing = web.running.close();
    await web.logged("Stopping listener");
    finishing.socket.end("b");
    expect(await finishing.ended).toBe("end");
    await isRefused(port);
    expect(finishing.received().toString()).toBe("ab");
    expect(await staying.ended).toBe("ECONNRESET");
    await closing;
    await expect.poll(() => db.count("connection closed")).toBe(2);
  });

  test("is not ready, and says so, as long as connections finish", async () => {
    const { agent } = await startPair();
    const metrics = await freePort();
    const argv = ["-service=web", "-upstream=db:0", `-metrics-addr=127.0.0.1:${metrics}`, "-drain-time=30s"];
    const web = await startProxy(argv, { agent: agent.address });
    await isReady(web);
    const app = await dialApp(web.running.listeners()[0]?.address?.port ?? 0);
    app.socket.write("a");
    await app.sawText("a");
    const status = (path: string) => fetch(`http://127.0.0.1:${metrics}${path}`).then((res) => res.status);
    expect(await status("/readyz")).toBe(200);
    const closing = web.running.close();
    await web.logged("Stopping listener");
    expect([await status("/readyz"), await status("/metrics")]).toEqual([503, 200]);
    app.socket.end();
    await closing;
    await expect(status("/readyz")).rejects.toThrow();
  });
});

test("-drain-service drains the service first, and callers are served until that is told", async () => {
  const agent = await startFakeAgent();
  onTestFinished(() => agent.stop());
  const service = await startService(echo);
  const publicPort = await freePort();
  agent.change((state) => {
    state.services["db-sidecar-proxy"] = sidecar(publicPort, service.port);
  });
  const db = await startProxy(["-sidecar-for=db", "-drain-service"], { agent: agent.address });
  await isReady(db);
  const closing = db.running.close();
  await expect.poll(() => agent.calls.map(({ path }) => path)).toContain("/v1/agent/service/drain/db");
  expect(db.running.listeners()[0]?.address?.port).toBe(publicPort);
  await closing;
  expect(db.count("Stopping listener")).toBe(1);
});

describe("-register", () => {
  test("registers itself, heartbeats, and deregisters at the end", async () => {
    const agent = await startFakeAgent();
    onTestFinished(() => agent.stop());
    const service = await startService(echo);
    const port = await freePort();
    const proxy = await startProxy(
      [
        "-service=web",
        `-service-addr=127.0.0.1:${service.port}`,
        `-listen=127.0.0.1:${port}`,
        "-register",
        "-register-id=two",
      ],
      { agent: agent.address },
    );
    await isReady(proxy);
    const paths = () => agent.calls.map((c) => c.path);
    await expect.poll(paths).toContain("/v1/agent/check/pass/web-proxy-two-ttl");
    expect(agent.calls[0]).toEqual({
      method: "PUT",
      path: "/v1/agent/service/register",
      body: {
        Kind: "connect-proxy",
        ID: "web-proxy-two",
        Name: "web-proxy",
        Address: "127.0.0.1",
        Port: port,
        Proxy: { DestinationServiceName: "web" },
        Check: {
          CheckID: "web-proxy-two-ttl",
          Name: "proxy heartbeat",
          Notes: "Built-in proxy will heartbeat this check.",
          TTL: "30s",
        },
      },
    });
    await proxy.running.close();
    expect(paths().at(-1)).toBe("/v1/agent/service/deregister/web-proxy-two");
  });
});

test("metrics count connections, refusals and bytes, and readiness is told", async () => {
  const { agent, service } = await startPair();
  const metricsPort = await freePort();
  const publicPort = await freePort();
  const db = await startProxy(
    [
      "-service=db",
      `-service-addr=127.0.0.1:${service.port}`,
      `-listen=127.0.0.1:${publicPort}`,
      `-metrics-addr=127.0.0.1:${metricsPort}`,
    ],
    { agent: agent.address },
  );
  await isReady(db);
  agent.change((state) => {
    state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
    state.intentions.push(deny("bad", "db"));
  });
  const webMetrics = await freePort();
  const web = await startProxy(["-service=web", "-upstream=db:0", `-metrics-addr=127.0.0.1:${webMetrics}`], {
    agent: agent.address,
  });
  const bad = await startProxy(["-service=bad", "-upstream=db:0"], { agent: agent.address });
  await Promise.all([isReady(web), isReady(bad)]);
  const portOf = (proxy: typeof web) => proxy.running.listeners()[0]?.address?.port ?? 0;
  const open = await dialApp(portOf(web));
  open.socket.write("12345");
  await open.sawText("12345");
  expect(await (await dialApp(portOf(bad))).ended).toBe("ECONNRESET");

  const get = async (path: string, of = db) => {
    const res = await fetch(`${of.running.url}${path}`);
    return { status: res.status, text: await res.text() };
  };
  const { text } = await get("/metrics");
  const labels = 'direction="inbound",source="web",destination="db"';
  expect(text).toContain(
    `heddle_proxy_connections_total{${labels},result="allowed",reason="",daemon="connect-proxy"} 1`,
  );
  expect(text).toContain(`heddle_proxy_connections_open{${labels},daemon="connect-proxy"} 1`);
  expect(text).toContain(`heddle_proxy_bytes_total{${labels},flow="in",daemon="connect-proxy"} 5`);
  expect(text).toContain(`source="bad",destination="db",result="refused",reason="intention",daemon="connect-proxy"} 1`);
  expect(text).toContain('heddle_proxy_tunnels_open{direction="inbound",daemon="connect-proxy"} 2');
  expect(text).toContain('heddle_proxy_snapshot_age_seconds{daemon="connect-proxy"} 0');
  expect(text).toContain('heddle_proxy_handshakes_total{direction="inbound",version="TLSv1.3",group=');
  expect(text).toMatch(/heddle_proxy_leaf_expiry_timestamp_seconds\{identity="db",daemon="connect-proxy"\} 1\d{9}/);
  const { text: outbound } = await get("/metrics", web);
  expect(outbound).toContain(
    'heddle_proxy_instances{source="web",destination="db",state="healthy",daemon="connect-proxy"} 1',
  );
  expect(outbound).toContain('version="TLSv1.3",group="X25519MLKEM768",daemon="connect-proxy"} 1');
  expect((await get("/readyz")).status).toBe(200);
  expect((await get("/healthz")).status).toBe(200);
});
