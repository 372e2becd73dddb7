import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect, test } from "vitest";
import { deadline } from "./deadline.ts";
import { dialAddress } from "./dial.ts";

/** Keeps the loop from turning, as a machine that is full does. */
const block = (ms: number) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

test("a connection that came about in time is one, however late the loop looks", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const dialled = dialAddress({ host: "127.0.0.1", port }, 20);
  process.nextTick(block, 100); // after the tick in which it is dialled
  (await dialled).destroy();
  server.close();
});

test("it is told once the time is over, and not when it was called off", async () => {
  const told: string[] = [];
  deadline(1, () => told.push("off"))();
  await new Promise<void>((resolve) =>
    deadline(20, () => {
      told.push("on");
      resolve();
    }),
  );
  expect(told).toEqual(["on"]);
});
