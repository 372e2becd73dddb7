import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { ONE_CHUNK, plainLeg } from "./dial.ts";
import { pipe, type PipeEnd, type PipeOptions, unwritten } from "./pipe.ts";

/** Two connected sockets, both half-open. */
async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true, highWaterMark: ONE_CHUNK }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const near = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
  const [[far]] = (await Promise.all([once(server, "connection"), once(near, "connect")])) as [[Socket], unknown];
  server.close();
  for (const socket of [near, far]) socket.on("error", () => {});
  onTestFinished(() => [near, far].forEach((s) => s.destroy()));
  return [near, far];
}

async function piped(options: Partial<PipeOptions> = {}) {
  const [app, a] = await socketPair();
  const [b, service] = await socketPair();
  const { promise: ended, resolve } = Promise.withResolvers<PipeEnd>();
  const joined = pipe(plainLeg(a), plainLeg(b), { ...options, onEnd: resolve });
  return { app, a, b, service, joined, ended };
}

test("an end that came before the pipe is passed on all the same", async () => {
  const [app, a] = await socketPair();
  const [b, service] = await socketPair();
  app.end();
  await once(a, "end");
  const { promise: ended, resolve } = Promise.withResolvers<PipeEnd>();
  pipe(plainLeg(a), plainLeg(b), { onEnd: resolve });
  service.resume();
  await once(service, "end");
  service.end("late answer");
  expect((await once(app, "data")).toString()).toBe("late answer");
  expect((await ended).how).toBe("closed");
});

test("one direction closed and nothing moving in the other ends after the idle time, not before", async () => {
  const { app, service, ended, joined } = await piped({ halfOpenIdleMs: 100 });
  let closed = false;
  void ended.then(() => (closed = true));
  app.end("request");
  service.resume();
  await once(service, "end");
  const at = performance.now();
  while (performance.now() - at < 350) {
    service.write("."); // a slow answer, but an answer
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(closed).toBe(false);
  expect((await ended).how).toBe("half_open_idle");
  expect(joined.bytesFromA).toBe(7);
});

test("at most 128 KiB are held in each direction for a reader that does not read", async () => {
  const { app, a, b } = await piped();
  const chunk = Buffer.alloc(256 * 1024);
  const fill = () => {
    while (app.write(chunk)) {}
  };
  app.on("drain", fill);
  fill();
  await expect.poll(() => a.isPaused() && a.readableLength > 0).toBe(true);
  let most = 0;
  for (let i = 0; i < 20; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    most = Math.max(most, b.writableLength + a.readableLength);
  }
  expect(a.isPaused()).toBe(true);
  expect(most).toBeLessThanOrEqual(128 * 1024);
});

test("a reader that takes a little of a large chunk is seen to take it", async () => {
  const [near, far] = await socketPair();
  near.write(Buffer.alloc(64 * 1024 * 1024)); // more than kernels hold
  await new Promise((resolve) => setImmediate(resolve));
  const before = { told: near.writableLength, left: unwritten(near) };
  let read = 0;
  far.on("data", (chunk: Buffer) => (read += chunk.length) > 8 * 1024 * 1024 && far.pause());
  await expect.poll(() => unwritten(near)).toBeLessThan(before.left);
  expect(near.writableLength).toBe(before.told);
});
