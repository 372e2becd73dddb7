/** Which instance of an upstream serves a connection: the dead, the silent, the failing, those that go, those of another datacenter. */
import { expect, test } from "vitest";
import { dialApp, echoes, freePort, isReady, sidecar, startPair, startProxy, startService } from "./harness.ts";

test("of several instances the dead and the silent are passed over", async () => {
  const { agent, publicPort, service } = await startPair();
  const dead = await freePort();
  const silent = await startService(() => {}); // accepts, and never answers the handshake
  const upstreamPort = await freePort();
  const { Proxy } = sidecar(await freePort(), service.port);
  const upstream = { DestinationName: "db", LocalBindPort: upstreamPort, Config: { connect_timeout_ms: 3_000 } };
  agent.change((state) => {
    state.services.web = {
      Kind: "connect-proxy",
      ID: "web",
      Proxy: { ...Proxy, DestinationServiceName: "web", Upstreams: [upstream] },
    };
    state.endpoints.db = [dead, silent.port, publicPort].map((port) => ({ host: "127.0.0.1", port }));
  });
  const web = await startProxy(["-proxy-id=web"], { agent: agent.address });
  await isReady(web);
  const results = await Promise.all(Array.from({ length: 30 }, (_, i) => echoes(upstreamPort, `text ${i}`)));
  expect(results.every(Boolean)).toBe(true);
  expect(silent.sockets.length).toBeGreaterThan(0);
  expect(web.count("connection refused")).toBe(0);
});

test("an upstream of our own datacenter works by its name, and one of another says why it cannot", async () => {
  const { agent, db, port } = await startPair();
  const [own, other] = [await freePort(), await freePort()];
  agent.change(({ services }) => {
    const upstreams = [
      { DestinationName: "db", Datacenter: "dc1", LocalBindPort: own },
      { DestinationName: "db", Datacenter: "dc2", LocalBindPort: other },
    ];
    const Proxy = { DestinationServiceName: "web", Upstreams: upstreams };
    services["web-proxy"] = { Kind: "connect-proxy", ID: "web-proxy", Service: "web-proxy", Port: 0, Proxy };
  });
  const web = await startProxy(["-proxy-id=web-proxy"], { agent: agent.address });
  await isReady(web);
  expect(await echoes(own, "text")).toBe(true);
  const { error } = await web.logged("the agent cannot give what the proxy needs, going on with what is known", {
    watch: "endpoints of db in datacenter 'dc2'",
  });
  expect(error).toContain("No path to datacenter");
  expect(await (await dialApp(other)).ended).toBe("ECONNRESET");
  await web.logged("connection refused", {
    reason:
      "no healthy instance of 'db' in datacenter 'dc2' is known (an agent without a path to that datacenter knows none)",
  });
  expect(await echoes(port, "text")).toBe(true);
  expect(db.count("connection refused")).toBe(0);
});

test("an instance that fails again and again is left out, and is tried again once it is back", async () => {
  const { agent, port, web, publicPort } = await startPair();
  const dead = await freePort();
  agent.change((state) => {
    state.endpoints.db = [dead, publicPort].map((at) => ({ host: "127.0.0.1", port: at }));
  });
  const isTold = async () => {
    expect(await echoes(port, "whatever")).toBe(true);
    return web.entries.some((e) => e.sentence.startsWith("an instance fails again and again"));
  };
  await expect.poll(isTold).toBe(true);
  const told = await web.logged("an instance fails again and again, leaving it out for a while");
  expect(told).toMatchObject({ destination: "db", address: `127.0.0.1:${dead}`, for_ms: 1_000 });
  expect(web.count("connection refused")).toBe(0);
});

test("an instance that leaves the catalog gets nothing new, and what is open there goes on", async () => {
  const { agent, port, web, db, service } = await startPair();
  const open = await dialApp(port);
  open.socket.write("before");
  await open.sawText("before");
  const otherPort = await freePort();
  agent.change((state) => {
    const { Proxy } = sidecar(otherPort, service.port);
    state.services.other = { Kind: "connect-proxy", ID: "other", Service: "db-sidecar-proxy", Port: otherPort, Proxy };
  });
  const other = await startProxy(["-proxy-id=other"], { agent: agent.address });
  await isReady(other);
  agent.change((state) => (state.endpoints.db = [{ host: "127.0.0.1", port: otherPort }]));
  const goesThere = async () => {
    expect(await echoes(port, "new")).toBe(true);
    return other.count("connection closed") > 0;
  };
  await expect.poll(goesThere).toBe(true);
  const served = db.count("connection closed");
  for (let i = 0; i < 10; i++) expect(await echoes(port, `new ${i}`)).toBe(true);
  expect(db.count("connection closed")).toBe(served);
  open.socket.write(", and after");
  await open.sawText("before, and after");
  expect(web.count("connection refused")).toBe(0);
});
