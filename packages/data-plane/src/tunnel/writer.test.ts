import { once } from "node:events";
import { connect, createServer, type TLSSocket } from "node:tls";
import type { AddressInfo } from "node:net";
import { createMeshClient, meshServerOptions } from "@heddle/tls";
import { createTestMesh } from "@heddle/tls/testing";
import { expect, onTestFinished, test } from "vitest";
import { FRAME, FrameReader, HEADER_BYTES, MAX_DATA_BYTES, USUAL_DATA_BYTES } from "./frames.ts";
import { FrameWriter } from "./writer.ts";

const STREAMS = 40;
const LAST = 12; // frames of each stream

/** Both ends of a real TLS connection. */
async function startPair(): Promise<[near: TLSSocket, far: TLSSocket]> {
  const mesh = await createTestMesh();
  const server = createServer(meshServerOptions(mesh.identity("db"))).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, "secureConnection");
  const near = connect({ ...createMeshClient(mesh.identity("web")).options(), host: "127.0.0.1", port });
  const [far] = (await accepted) as [TLSSocket];
  onTestFinished(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return [near, far];
}

/** A stream whose frames are filled with their number, in a buffer that is used again as soon as it may be. */
function createSender(id: number) {
  const framed = Buffer.alloc(HEADER_BYTES + MAX_DATA_BYTES);
  return { id, framed, large: framed.subarray(HEADER_BYTES), sent: 0, isBlocked: false };
}

test("many fast streams and a far end that reads late: nothing is written over or out of order, and data is not taken for control frames", async () => {
  const [near, far] = await startPair();
  const senders = Array.from({ length: STREAMS }, (_, i) => createSender(i + 1));
  let pings = 0;
  let mostControl = 0;
  const sendAll = () => {
    for (const sender of senders) {
      while (!sender.isBlocked && sender.sent < LAST) {
        const number = ++sender.sent;
        const length = number % 3 === 0 ? 100 : writer.isBusy ? USUAL_DATA_BYTES : MAX_DATA_BYTES - number;
        sender.large.fill(number, 0, length);
        writer.data(sender.id, sender.large, length, sender.framed, true);
        sender.isBlocked = writer.isFull;
      }
      writer.control(FRAME.ping, 0, Buffer.from([++pings % 251]));
      mostControl = Math.max(mostControl, writer.waitingControl);
    }
  };
  const writer: FrameWriter = new FrameWriter(near, () => {
    if (writer.isFull) return;
    for (const sender of senders) sender.isBlocked = false;
    sendAll();
  });
  sendAll();

  const seen = new Map<number, number[]>();
  let seenPings = 0;
  const reader = new FrameReader({
    onData(stream, chunk, start, end) {
      const numbers = seen.get(stream) ?? [];
      seen.set(stream, numbers);
      for (let at = start; at < end; at++) {
        const number = chunk[at] as number;
        if (number !== numbers.at(-1)) numbers.push(number);
      }
      return undefined;
    },
    onControl: (_type, _stream, payload) => (payload[0] === ++seenPings % 251 ? undefined : "a ping out of order"),
  });
  const isWhole = () => [...seen.values()].filter((numbers) => numbers.at(-1) === LAST).length === STREAMS;
  const whole = new Promise<string | undefined>((resolve) => {
    far.on("data", (chunk: Buffer) => {
      const wrong = reader.push(chunk, 0, chunk.length);
      if (wrong !== undefined || isWhole()) resolve(wrong);
    });
  });
  expect(await whole).toBeUndefined();
  for (const numbers of seen.values()) expect(numbers).toEqual(Array.from({ length: LAST }, (_, i) => i + 1));
  expect(mostControl).toBeLessThan(STREAMS * 2 * (HEADER_BYTES + 1));
});

test("the last words go out, whatever is under way", async () => {
  const [near, far] = await startPair();
  const writer = new FrameWriter(near, () => {});
  const { framed, large } = createSender(1);
  writer.data(1, large, MAX_DATA_BYTES, framed, true);
  writer.control(FRAME.leave, 0, Buffer.from("why"));
  writer.end();
  writer.control(FRAME.ping, 0);
  const types: number[] = [];
  const reader = new FrameReader({
    onData: (_stream, _chunk, _start, _end, isLast) => void (isLast && types.push(FRAME.data)),
    onControl: (type, _stream, payload) => void types.push(type, payload.length),
  });
  far.on("data", (chunk: Buffer) => expect(reader.push(chunk, 0, chunk.length)).toBeUndefined());
  await once(far, "end");
  expect(types).toEqual([FRAME.data, FRAME.leave, 3]);
});
