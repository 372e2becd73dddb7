/** Many connections over one TLS connection between two proxies of ours: none of them notices the others. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from "node:tls";
import {
  ALPN,
  ALPNS,
  FRAME,
  type FrameType,
  HEADER_BYTES,
  INITIAL_WINDOW,
  USUAL_ALPN,
  USUAL_DATA_BYTES,
  writeHeader,
} from "@heddle/data-plane/testing";
import { createMeshClient, meshServerOptions } from "@heddle/tls";
import { describe, expect, onTestFinished, test } from "vitest";
import { deny, dialApp, echo, startPair, type TestMeshOptions } from "./harness.ts";

/** A pair with a wire between the proxies that counts connections and can be cut. */
async function startWiredPair(options: TestMeshOptions = {}) {
  const pair = await startPair(options);
  const wires: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port: pair.publicPort, host: "127.0.0.1", allowHalfOpen: true });
    wires.push(near, far);
    for (const socket of [near, far]) socket.on("error", () => {});
    near.pipe(far).pipe(near);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    for (const wire of wires) wire.destroy();
  });
  const { port } = server.address() as AddressInfo;
  pair.agent.change((state) => {
    state.endpoints.db = [{ host: "127.0.0.1", port }];
  });
  // Once the proxy dials through the wire.
  await expect
    .poll(async () => {
      const app = await dialApp(pair.port);
      app.socket.end("x");
      await app.ended;
      return wires.length;
    })
    .toBe(2);
  return { ...pair, connections: () => wires.length / 2, cut: () => wires.forEach((w) => w.resetAndDestroy()) };
}

function frame(type: FrameType, stream: number, payload = Buffer.alloc(0), length = payload.length): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  writeHeader(header, 0, type, stream, length);
  return Buffer.concat([header, payload]);
}

async function echoes(port: number, text: string): Promise<boolean> {
  const app = await dialApp(port);
  app.socket.end(text);
  return (await app.ended) === "end" && app.received().toString() === text;
}

test("a hundred connections share one TLS connection", async () => {
  const { port, connections, db, web } = await startWiredPair();
  const results = await Promise.all(Array.from({ length: 100 }, (_, i) => echoes(port, `number ${i}`)));
  expect(results.every(Boolean)).toBe(true);
  expect(connections()).toBe(1);
  for (const proxy of [db, web]) await expect.poll(() => proxy.count("connection closed")).toBeGreaterThan(100);
});

test("a reader that does not read stalls nobody else", async () => {
  let isFlooded = false;
  const { port, connections } = await startWiredPair({
    service: (socket) => {
      if (isFlooded) return echo(socket);
      const chunk = Buffer.alloc(256 * 1024);
      const fill = () => {
        while (socket.write(chunk)) {}
      };
      socket.on("drain", fill);
      socket.once("data", fill);
      socket.once("end", () => socket.end());
    },
  });
  const stalled = await Promise.all(Array.from({ length: 20 }, () => dialApp(port)));
  for (const { socket } of stalled) {
    socket.pause();
    socket.write("go");
  }
  await expect.poll(() => stalled.every(({ socket }) => socket.bytesRead > 0)).toBe(true);
  isFlooded = true;
  for (let i = 0; i < 50; i++) expect(await echoes(port, `past the stalled ${i}`)).toBe(true);
  expect(connections()).toBe(1);
});

test("a reset and a cut end their own stream alone", async () => {
  const { port, connections, agent, service } = await startWiredPair();
  const [kept, broken] = await Promise.all([dialApp(port), dialApp(port)]);
  for (const app of [kept, broken]) {
    app.socket.write("a");
    await app.sawText("a");
  }
  broken.socket.resetAndDestroy();
  await expect.poll(() => service.sockets.filter((s) => !s.destroyed).length).toBe(1);
  kept.socket.write("b");
  await kept.sawText("ab");
  agent.change((state) => state.intentions.push(deny("web", "db")));
  expect(await kept.ended).toBe("ECONNRESET");
  agent.change((state) => state.intentions.splice(0));
  await expect.poll(() => echoes(port, "again")).toBe(true);
  expect(connections()).toBe(1);
});

test("a broken tunnel resets what it carried, and the next connection has a new one", async () => {
  const { port, connections, cut, web } = await startWiredPair();
  const open = await dialApp(port);
  open.socket.write("abc");
  await open.sawText("abc");
  cut();
  expect(await open.ended).toBe("ECONNRESET");
  expect((await web.logged("connection closed", { bytes_in: 3 })).reason).toMatch(/^reset by the far proxy/);
  expect(await echoes(port, "on a new tunnel")).toBe(true);
  expect(connections()).toBe(2);
});

test("a renewed leaf opens no stream under the old one, and leaves the open ones alone", async () => {
  const { port, connections, agent, web } = await startWiredPair();
  const open = await dialApp(port);
  open.socket.write("a");
  await open.sawText("a");
  const before = web.count("Parsed TLS identity");
  agent.change((state) => {
    state.signing = { ...state.signing };
  });
  await expect.poll(() => web.count("Parsed TLS identity")).toBe(before + 1);
  expect(await echoes(port, "under the new leaf")).toBe(true);
  expect(connections()).toBe(2);
  open.socket.write("b");
  await open.sawText("ab");
});

test("fast streams, whose frames grow long, few and many: every byte in its place, beside one that is reset", {
  timeout: 60_000,
}, async () => {
  const { port } = await startWiredPair();
  const pool = randomBytes(4 * 1024 * 1024);
  const MIB = 1024 * 1024; // up and back down: the windows grow after eight
  const one = async (n: number, total: number) => {
    const [sent, received] = [createHash("sha256"), createHash("sha256")];
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }).on("error", () => {});
    let bytes = 0;
    socket.on("data", (chunk: Buffer) => {
      received.update(chunk);
      const before = bytes;
      bytes += chunk.length;
      if (n === 1 && before < total / 2 && bytes >= total / 2) {
        socket.pause();
        setTimeout(() => socket.resume(), 300);
      }
      if (n === 2 && bytes > total / 2) socket.resetAndDestroy();
    });
    const closed = once(socket, "close");
    const ended = n === 2 ? closed : once(socket, "end");
    for (let at = 0; at < total && !socket.destroyed; ) {
      const length = Math.min(total - at, 1 + Math.floor(Math.random() * 1_000_000));
      const from = Math.floor(Math.random() * (pool.length - length));
      const piece = pool.subarray(from, from + length);
      sent.update(piece);
      at += length;
      if (!socket.write(piece)) await Promise.race([once(socket, "drain"), closed]);
    }
    socket.end();
    await ended;
    if (n !== 2) expect([bytes, received.digest("hex")]).toEqual([total, sent.digest("hex")]);
  };
  await Promise.all([0, 1, 2, 3].map((n) => one(n, 64 * MIB)));
  await Promise.all(Array.from({ length: 32 }, () => one(0, 12 * MIB)));
  expect(await echoes(port, "after them")).toBe(true);
});

test("a far end of before, which knows no long frames, gets none", async () => {
  const { agent, port } = await startPair();
  const TOTAL = 40 * 1024 * 1024;
  let [longest, received] = [0, 0];
  // A service's proxy by hand: it accepts the stream and grants all that comes, far beyond a long frame.
  const instance = createTlsServer(meshServerOptions(agent.mesh.identity("db"), { alpn: [USUAL_ALPN] }), (socket) => {
    let rest = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= HEADER_BYTES && rest.length >= HEADER_BYTES + rest.readUIntBE(1, 3)) {
        const [type, length, id] = [rest[0], rest.readUIntBE(1, 3), rest.readUInt32BE(4)];
        rest = rest.subarray(HEADER_BYTES + length);
        const more = Buffer.alloc(4);
        more.writeUInt32BE(2 * 1024 * 1024);
        if (type === FRAME.open) socket.write(Buffer.concat([frame(FRAME.accept, id), frame(FRAME.window, id, more)]));
        if (type === FRAME.fin) socket.write(frame(FRAME.fin, id));
        if (type !== FRAME.data) continue;
        received += length;
        longest = Math.max(longest, length);
        more.writeUInt32BE(length);
        socket.write(frame(FRAME.window, id, more));
      }
    });
  }).listen(0, "127.0.0.1");
  await once(instance, "listening");
  onTestFinished(() => void instance.close());
  agent.change((state) => {
    state.endpoints.db = [{ host: "127.0.0.1", port: (instance.address() as AddressInfo).port }];
  });
  await expect
    .poll(async () => {
      const app = await dialApp(port);
      app.socket.end(Buffer.alloc(TOTAL));
      await app.ended;
      return received;
    })
    .toBe(TOTAL);
  expect(longest).toBe(USUAL_DATA_BYTES);
});

test("sizes, pauses, half-closes and resets at random: every byte in its place", { timeout: 60_000 }, async () => {
  const pool = randomBytes(400_000);
  const sha = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
  // The service answers each connection with the hash of what it got, and then what it got.
  const { port, connections } = await startWiredPair({
    service: (socket) => {
      const chunks: Buffer[] = [];
      socket.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        if (Math.random() > 0.1) return;
        socket.pause();
        setTimeout(() => socket.resume(), 3);
      });
      socket.once("end", () => {
        const all = Buffer.concat(chunks);
        socket.end(Buffer.concat([Buffer.from(sha(all)), all]));
      });
    },
  });
  let whole = 0;
  const one = async (n: number) => {
    const size = Math.floor(Math.random() ** 4 * pool.length);
    const from = Math.floor(Math.random() * (pool.length - size));
    const bytes = pool.subarray(from, from + size);
    const app = await dialApp(port);
    for (let at = 0; at < size; ) {
      const next = at + 1 + Math.floor(Math.random() ** 3 * 100_000);
      if (n % 5 === 0 && Math.random() < 0.3) return void app.socket.resetAndDestroy();
      if (!app.socket.write(bytes.subarray(at, next))) await once(app.socket, "drain");
      if (Math.random() < 0.1) await new Promise((resolve) => setTimeout(resolve, 2));
      at = next;
    }
    app.socket.end();
    expect(await app.ended).toBe("end");
    const received = app.received();
    expect(received.subarray(0, 64).toString()).toBe(sha(bytes));
    expect(received.subarray(64).equals(bytes)).toBe(true);
    whole++;
  };
  for (let batch = 0; batch < 20; batch++) await Promise.all(Array.from({ length: 50 }, (_, i) => one(i)));
  expect(whole).toBeGreaterThanOrEqual(800);
  expect(connections()).toBeLessThanOrEqual(4); // tunnels to one instance at most: streams may pile up on a slow machine
});

test("a tunnel that its far end leaves while it is made, or is ended with a stream on its way, refuses nobody", async () => {
  const { agent, port, web } = await startPair();
  let tunnels = 0;
  // Leaves every other tunnel behind the handshake, and ends it with what is said on it first; on the others each stream is told its number.
  const instance = createTlsServer(meshServerOptions(agent.mesh.identity("db"), { alpn: ALPNS }), (socket) => {
    socket.on("error", () => {});
    const isLeft = tunnels++ % 2 === 0;
    if (isLeft && tunnels % 4 === 1) socket.end(frame(FRAME.leave, 0));
    else if (isLeft) socket.once("data", () => socket.end(frame(FRAME.leave, 0)));
    socket.on("data", (chunk: Buffer) => {
      if (isLeft || chunk[0] !== FRAME.open) return;
      const id = chunk.readUInt32BE(4);
      const answers = [frame(FRAME.accept, id), frame(FRAME.data, id, Buffer.from("served")), frame(FRAME.fin, id)];
      socket.end(Buffer.concat(answers));
    });
  }).listen(0, "127.0.0.1");
  await once(instance, "listening");
  onTestFinished(() => void instance.close());
  agent.change((state) => {
    state.endpoints.db = [{ host: "127.0.0.1", port: (instance.address() as AddressInfo).port }];
  });
  const told = async () => {
    const app = await dialApp(port);
    app.socket.end();
    return [await app.ended, app.received().toString()];
  };
  await expect.poll(told).toEqual(["end", "served"]);
  for (let i = 0; i < 40; i++) expect(await told()).toEqual(["end", "served"]);
  expect(tunnels).toBeGreaterThanOrEqual(80);
  expect(web.count("connection refused")).toBe(0);
});

describe("a peer that does not keep to the protocol", () => {
  const flood = Buffer.alloc(32 * 1024);

  test.each<[string, (socket: TLSSocket) => void]>([
    ["an unknown frame", (s) => s.write(frame(42 as FrameType, 1))],
    ["a reason without end", (s) => s.write(frame(FRAME.reset, 1, Buffer.alloc(0), 1_000_000))],
    ["data of a stream that nobody opened", (s) => s.write(frame(FRAME.data, 9, Buffer.from("x")))],
    ["a stream opened twice", (s) => s.write(Buffer.concat([frame(FRAME.open, 3), frame(FRAME.open, 3)]))],
    ["an answer to no question", (s) => s.write(frame(FRAME.accept, 1))],
    [
      "a window of three bytes",
      (s) => s.write(Buffer.concat([frame(FRAME.open, 1), frame(FRAME.window, 1, Buffer.alloc(3))])),
    ],
    [
      "more data than was granted",
      (s) => {
        s.write(frame(FRAME.open, 1));
        s.once("data", () => {
          for (let sent = 0; sent < 512 * INITIAL_WINDOW; sent += flood.length) s.write(frame(FRAME.data, 1, flood));
        });
      },
    ],
  ])("%s ends its tunnel, and nothing else", async (_, misbehave) => {
    const { agent, publicPort, port } = await startPair({ service: (socket) => void socket.pause() });
    const socket = connectTls({
      ...createMeshClient(agent.mesh.identity("web")).options(),
      ALPNProtocols: [ALPN],
      port: publicPort,
      host: "127.0.0.1",
    });
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    expect(socket.alpnProtocol).toBe(ALPN);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    misbehave(socket);
    socket.resume();
    await closed;
    const app = await dialApp(port);
    app.socket.write("fine");
    expect(app.socket.destroyed).toBe(false);
  });
});
