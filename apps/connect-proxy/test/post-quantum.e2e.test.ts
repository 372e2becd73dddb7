/** `require_pq`: who cannot agree on a key by a post-quantum hybrid is refused, at the service's end and at the caller's. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type ConnectionOptions } from "node:tls";
import { createMeshClient, meshServerOptions } from "@heddle/tls";
import { expect, onTestFinished, test } from "vitest";
import { dialApp, freePort, isReady, sidecar, startPair, startProxy } from "./harness.ts";

test("the service's proxy refuses classical key agreement while it is set, and what is open goes on", async () => {
  const { agent, service, db, web, port, publicPort } = await startPair();
  const reaches = async (options: ConnectionOptions) => {
    const socket = connect({ ...options, port: publicPort, host: "127.0.0.1" });
    onTestFinished(() => void socket.destroy());
    socket.on("error", () => {});
    socket.write("hello");
    const answer = await once(socket, "data").then(
      ([data]) => String(data),
      () => "",
    );
    const group = (socket.getEphemeralKeyInfo() as { name?: string } | null)?.name;
    socket.destroy();
    return answer === "hello" ? group : false;
  };
  const { certPem, keyPem } = agent.mesh.identity("web");
  const hybrid = createMeshClient(agent.mesh.identity("web")).options();
  const classical = (maxVersion: "TLSv1.2" | "TLSv1.3"): ConnectionOptions => ({
    cert: certPem,
    key: keyPem,
    ca: agent.state.roots,
    checkServerIdentity: () => undefined,
    ecdhCurve: "X25519",
    maxVersion,
  });
  expect(await reaches(classical("TLSv1.3"))).toBe("X25519");
  const open = await dialApp(port);
  open.socket.write("before");
  await open.sawText("before");

  const set = (require_pq: boolean) =>
    agent.change((state) => {
      state.services["db-sidecar-proxy"] = sidecar(publicPort, service.port, { require_pq });
    });
  set(true);
  await expect.poll(() => reaches(classical("TLSv1.3"))).toBe(false);
  await db.logged("connection refused", { decision: "refused", source: "" });
  expect(await reaches(classical("TLSv1.2"))).toBe(false);
  expect(await reaches(hybrid)).toBe("X25519MLKEM768");
  const fresh = await dialApp(port);
  fresh.socket.end("fresh");
  expect(await fresh.ended).toBe("end");
  const { tls } = await web.logged("connection closed", { bytes_in: 5 });
  expect(tls).toContain("X25519MLKEM768");
  open.socket.end(" and after");
  expect(await open.ended).toBe("end");
  expect(open.received().toString()).toBe("before and after");

  set(false);
  await expect.poll(() => reaches(classical("TLSv1.3"))).toBe("X25519");
});

test("the caller's proxy refuses an instance that offers no hybrid", async () => {
  const { agent } = await startPair();
  const old = createServer({ ...meshServerOptions(agent.mesh.identity("db")), ecdhCurve: "X25519" }, (socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  old.listen(0, "127.0.0.1");
  await once(old, "listening");
  onTestFinished(() => void old.close());
  const start = async (require_pq: boolean) => {
    const LocalBindPort = await freePort();
    agent.change((state) => {
      state.endpoints.db = [{ host: "127.0.0.1", port: (old.address() as AddressInfo).port }];
      state.services[`web-${require_pq}`] = {
        Kind: "connect-proxy",
        ID: `web-${require_pq}`,
        Proxy: {
          DestinationServiceName: "web",
          Config: { require_pq },
          Upstreams: [{ DestinationName: "db", LocalBindPort }],
        },
      };
    });
    const proxy = await startProxy([`-proxy-id=web-${require_pq}`], { agent: agent.address });
    await isReady(proxy);
    const app = await dialApp(LocalBindPort);
    app.socket.end("hello");
    return { proxy, how: await app.ended };
  };
  expect((await start(false)).how).toBe("end");
  const { proxy, how } = await start(true);
  expect(how).toBe("ECONNRESET");
  expect((await proxy.logged("connection refused")).reason).toMatch(/handshake failure|alert/);
});
