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

test("64 MiB in random chunks arrive unchanged, both ways at once", { timeout: 60_000 }, async () => {
  const total = 64 * MIB;
  /** Writes `total` random bytes in chunks of odd sizes, with back-pressure, and returns their hash. */
  const send = async (socket: Socket): Promise<string> => {
    const hash = createHash("sha256");
    const pool = randomBytes(MIB + 17);
    for (let left = total; left > 0; ) {
      const size = Math.min(left, 1 + Math.floor(Math.random() * 200_000));
      const from = Math.floor(Math.random() * (pool.length - size));
      const chunk = pool.subarray(from, from + size);
      hash.update(chunk);
      left -= size;
      if (!socket.write(chunk)) await once(socket, "drain");
    }
    socket.end();
    return hash.digest("hex");
  };
  const receive = (socket: Socket): Promise<string> => {
    const hash = createHash("sha256");
    socket.on("data", (chunk: Buffer) => hash.update(chunk));
    return new Promise((resolve, reject) => {
      socket.once("end", () => resolve(hash.digest("hex")));
      socket.once("error", reject);
    });
  };
  let serviceSide: Promise<[string, string]> | undefined;
  const { port } = await startPair({
    service: (socket) => {
      serviceSide = Promise.all([send(socket), receive(socket)]);
    },
  });
  const app = await dialApp(port);
  const [sent, received] = await Promise.all([send(app.socket), receive(app.socket)]);
  const [serviceSent, serviceReceived] = await (serviceSide as Promise<[string, string]>);
  expect(serviceReceived).toBe(sent);
  expect(received).toBe(serviceSent);
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
