import { createSocket } from "node:dgram";
import { expect, test } from "vitest";
import { testContext } from "../testing.ts";
import { probe } from "./udp.ts";

const run = (UDP: string, TimeoutMs = 200) => probe({ CheckID: "c", UDP, TimeoutMs }, testContext());

async function udpServer(answers: boolean) {
  const socket = createSocket("udp4");
  if (answers) socket.on("message", (_data, from) => socket.send("pong", from.port, from.address));
  await new Promise<void>((resolve) => void socket.bind(0, "127.0.0.1", resolve));
  const { port } = socket.address();
  return {
    address: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => socket.close(resolve)),
  };
}

test("an answer passes at once", async () => {
  await using server = await udpServer(true);
  expect(await run(server.address, 10_000)).toEqual({
    status: "passing",
    output: `UDP connect ${server.address}: Success`,
  });
});

test("silence passes: nothing said that the port is closed", async () => {
  await using server = await udpServer(false);
  expect(await run(server.address)).toEqual({ status: "passing", output: `UDP connect ${server.address}: Success` });
});

test("a closed port is critical", async () => {
  const server = await udpServer(false);
  await server[Symbol.asyncDispose]();
  expect(await run(server.address, 10_000)).toEqual({
    status: "critical",
    output: `read udp ${server.address}: read: connection refused`,
  });
});

test.each([
  ["127.0.0.1", "dial udp: address 127.0.0.1: missing port in address"],
  ["127.0.0.1:0", "dial udp 127.0.0.1:0: Port should be > 0 and < 65536. Received type number (0)."],
  ["no-such-host.invalid:1", "dial udp: lookup no-such-host.invalid: no such host"],
])("%s", async (target, output) => {
  expect(await run(target)).toEqual({ status: "critical", output });
});
