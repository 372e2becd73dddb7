/** Bytes cross two proxies as they were sent: FINs, resets, back-pressure, every byte in its place. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { dialApp, startPair } from "./harness.ts";

const MIB = 1024 * 1024;

test("bytes are echoed, and each end logs one line", async () => {
  const { port, db, web, agent } = await startPair();
  const app = await dialApp(port);
  app.socket.write("hello");
  await app.sawText("hello");
  app.socket.end();
  expect(await app.ended).toBe("end");
  const common = {
    source: "web",
    destination: "db",
    source_id: agent.mesh.spiffeId("web"),
    destination_id: agent.mesh.spiffeId("db"),
    decision: "allowed",
    reason: "closed by both ends",
    bytes_in: 5,
    bytes_out: 5,
  };
  expect(await db.logged("connection closed")).toMatchObject({ ...common, direction: "inbound" });
  const outbound = await web.logged("connection closed");
  expect(outbound).toMatchObject({ ...common, direction: "outbound" });
  expect(outbound.tls).toMatch(/^TLSv1\.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768$/);
  expect(web.entries.find((e) => e.sentence === "connection closed")?.component).toBe("proxy.access");
});

test("a reply of 1 MiB after the client's FIN arrives whole, many times", async () => {
  const reply = randomBytes(MIB);
  const { port } = await startPair({
    service: (socket) => {
      socket.resume();
      socket.once("end", () => socket.end(reply));
    },
  });
  const request = randomBytes(MIB);
  for (let round = 0; round < 10; round++) {
    const apps = await Promise.all(Array.from({ length: 5 }, () => dialApp(port)));
    for (const app of apps) app.socket.end(request);
    for (const app of apps) {
      expect(await app.ended).toBe("end");
      expect(app.received().equals(reply)).toBe(true);
    }
  }
});

test("the service's FIN leaves the other direction open", async () => {
  let got = "";
  const { port, service } = await startPair({
    service: (socket) => {
      socket.end("greeting");
      socket.on("data", (chunk: Buffer) => (got += chunk.toString()));
    },
  });
  const app = await dialApp(port);
  expect(await app.ended).toBe("end");
  app.socket.write("still ");
  app.socket.end("here");
  await expect.poll(() => got).toBe("still here");
  await expect.poll(() => (service.sockets[0] as Socket).destroyed).toBe(true);
});

test("a reset by the application reaches the service as a reset", async () => {
  const { port, service, db } = await startPair();
  const app = await dialApp(port);
  app.socket.write("x");
  await app.sawText("x");
  const error = once(service.sockets[0] as Socket, "error");
  app.socket.resetAndDestroy();
  expect(await error).toMatchObject([{ code: "ECONNRESET" }]);
  expect((await db.logged("connection closed")).reason).toBe("reset by the caller");
});

test("a reset by the service reaches the application as a reset", async () => {
  const { port, web, db } = await startPair({
    service: (socket) => socket.once("data", () => socket.resetAndDestroy()),
  });
  const app = await dialApp(port);
  app.socket.write("x");
  expect(await app.ended).toBe("ECONNRESET");
  expect((await db.logged("connection closed")).reason).toBe("reset by the service");
  expect((await web.logged("connection closed")).reason).toBe("reset by the far proxy");
});

/** Writes `total` random bytes in chunks of odd sizes, with back-pressure and a pause now and then; returns their hash. */
async function send(socket: Socket, total: number): Promise<string> {
  const hash = createHash("sha256");
  const pool = randomBytes(300_000);
  for (let left = total; left > 0; ) {
    const size = Math.min(left, 1 + Math.floor(Math.random() ** 3 * 250_000));
    const from = Math.floor(Math.random() * (pool.length - size));
    const chunk = pool.subarray(from, from + size);
    hash.update(chunk);
    left -= size;
    if (!socket.write(chunk)) await once(socket, "drain");
    if (Math.random() < 0.02) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  socket.end();
  return hash.digest("hex");
}

function receive(socket: Socket): Promise<string> {
  const hash = createHash("sha256");
  socket.on("data", (chunk: Buffer) => {
    hash.update(chunk);
    if (Math.random() > 0.005) return;
    socket.pause();
    setTimeout(() => socket.resume(), 2);
  });
  return new Promise((resolve, reject) => {
    socket.once("end", () => resolve(hash.digest("hex")));
    socket.once("error", reject);
  });
}

test.each([
  { tunnels: 1, total: 64 * MIB },
  { tunnels: 100, total: MIB },
])("$tunnels tunnel(s) of $total bytes each way arrive unchanged", { timeout: 60_000 }, async ({ tunnels, total }) => {
  const serviceSide: Promise<[string, string]>[] = [];
  const { port } = await startPair({
    service: (socket) => {
      serviceSide.push(Promise.all([send(socket, total), receive(socket)]));
    },
  });
  const apps = await Promise.all(Array.from({ length: tunnels }, () => dialApp(port)));
  const appSide = await Promise.all(apps.map(({ socket }) => Promise.all([send(socket, total), receive(socket)])));
  const served = await Promise.all(serviceSide);
  expect(served.map(([sent]) => sent).sort()).toEqual(appSide.map(([, received]) => received).sort());
  expect(served.map(([, received]) => received).sort()).toEqual(appSide.map(([sent]) => sent).sort());
});

test("a slow reader holds its writer back", async () => {
  let written = 0;
  const { port } = await startPair({
    service: (socket) => {
      const chunk = Buffer.alloc(64 * 1024);
      const fill = () => {
        while (!socket.destroyed && written < 256 * MIB && socket.write(chunk)) written += chunk.length;
        written += chunk.length;
      };
      socket.on("drain", fill);
      fill();
    },
  });
  const app = await dialApp(port);
  app.socket.pause();
  let last = -1;
  await expect
    .poll(
      () => {
        const isStill = written === last;
        last = written;
        return isStill;
      },
      { interval: 200, timeout: 10_000 },
    )
    .toBe(true);
  // What the kernel's buffers take on three hops, far below the 256 MiB on offer.
  expect(written).toBeLessThan(64 * MIB);
});
