import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { array, assert, bigInt, integer, nat, property, string, uint8Array } from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import {
  createChannel,
  createFrameReader,
  createGrpcServer,
  decodeStatusMessage,
  encodeStatusMessage,
} from "./index.ts";
import { GRPC, GrpcError, MessageReader, MessageWriter, toFrame } from "./index.ts";

test("what is written into a message is read from it", () => {
  assert(
    property(nat(), bigInt({ min: 1n, max: 2n ** 64n - 1n }), string({ minLength: 1 }), (int, big, text) => {
      const message = new MessageWriter()
        .int(1, int)
        .int(2, big)
        .message(3, new MessageWriter().bytes(4, text))
        .finish();
      const reader = new MessageReader(message);
      if (int !== 0) expect([reader.next(), reader.int()]).toEqual([1, int]);
      expect([reader.next(), reader.big()]).toEqual([2, big]);
      expect(reader.next()).toBe(3);
      const inner = new MessageReader(reader.bytes());
      expect([inner.next(), inner.text(), inner.next(), reader.next()]).toEqual([4, text, 0, 0]);
    }),
  );
});

test("a message that is cut short is an error, wherever it is cut", () => {
  const message = new MessageWriter().bytes(1, "abc").finish();
  for (let length = 1; length < message.length; length++)
    expect(() => {
      const reader = new MessageReader(message.subarray(0, length));
      reader.next();
      reader.skip();
    }).toThrow(RangeError);
});

test("messages come out of frames however these are cut into chunks", () => {
  assert(
    property(array(uint8Array({ maxLength: 300 })), integer({ min: 1, max: 50 }), (messages, size) => {
      const all = Buffer.concat(messages.map((message) => toFrame(Buffer.from(message))));
      const received: Buffer[] = [];
      const read = createFrameReader(
        300,
        (message) => received.push(Buffer.from(message)),
        () => expect.unreachable(),
      );
      for (let at = 0; at < all.length; at += size) read(all.subarray(at, at + size));
      expect(received).toEqual(messages.map((message) => Buffer.from(message)));
    }),
  );
});

test("a frame that is too long is told once, before its bytes are kept", () => {
  let told = 0;
  const read = createFrameReader(
    10,
    () => expect.unreachable(),
    () => void told++,
  );
  read(Buffer.from([0, 0, 0, 0, 11, 1]));
  read(Buffer.from([2]));
  expect(told).toBe(1);
});

test("a status message comes back as it was", () => {
  assert(
    property(string({ unit: "grapheme" }), (text) => {
      expect(decodeStatusMessage(encodeStatusMessage(text))).toBe(text);
    }),
  );
});

test("a channel hears a server's answers, and why it gives none", async () => {
  const server = createGrpcServer({
    "/test.Echo/Two": async ({ send }) => {
      send(Buffer.from("one"));
      send(Buffer.from("two"));
    },
    "/test.Echo/No": async () => {
      throw new GrpcError(GRPC.permissionDenied, "größer ist es nicht");
    },
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const channel = createChannel(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  onTestFinished(() => channel.close());
  const call = (path: string) => channel.call(path, Buffer.alloc(0), { timeoutMs: 10_000 });
  expect((await call("/test.Echo/Two")).toString()).toBe("one");
  await expect(call("/test.Echo/No")).rejects.toMatchObject({
    grpcCode: GRPC.permissionDenied,
    message: "größer ist es nicht",
  });
  await expect(call("/test.Echo/Other")).rejects.toMatchObject({ grpcCode: GRPC.unimplemented });
});

test("a connection that is made after its time ran out is given up quietly", async () => {
  const server = createGrpcServer({ "/test.Echo/One": async ({ send }) => send(Buffer.from("one")) });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const channel = createChannel(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  onTestFinished(() => channel.close());
  const call = () => channel.call("/test.Echo/One", Buffer.alloc(0), { timeoutMs: 10_000 });
  const late = expect(call()).rejects.toMatchObject({ grpcCode: GRPC.unavailable });
  await new Promise((resolve) => process.nextTick(resolve)); // the connection is under way
  for (const until = Date.now() + 1_100; Date.now() < until; ); // a busy machine: the timer is due before the connection is seen
  await late;
  expect((await call()).toString()).toBe("one");
});

/** A server that says something on its streams when it is told to, and never answers some calls. */
async function startSlow() {
  const streams = new Set<ServerHttp2Stream>();
  const server = createServer();
  server.on("stream", (stream: ServerHttp2Stream, { ":path": path }: IncomingHttpHeaders) => {
    stream.on("error", () => {});
    if (path === "/test.Slow/Never") return;
    const head = { ":status": 200, "content-type": "application/grpc" };
    if (path !== "/test.Slow/Watch") return stream.respond({ ...head, "grpc-status": "12" }, { endStream: true });
    streams.add(stream);
    stream.respond(head);
    stream.write(toFrame(Buffer.from("begun")));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const channel = createChannel(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  onTestFinished(() => channel.close());
  return { channel, sayAll: (text: string) => streams.forEach((stream) => stream.write(toFrame(Buffer.from(text)))) };
}

test("what is open on a connection that was given up goes on, where its server is slow and lives", async () => {
  const { channel, sayAll } = await startSlow();
  const heard: string[] = [];
  const ended: string[] = [];
  const stream = channel.stream(
    "/test.Slow/Watch",
    {},
    {
      onMessage: (message) => heard.push(message.toString()),
      onEnd: ({ message }) => ended.push(message),
    },
  );
  onTestFinished(() => stream.cancel());
  stream.send(Buffer.alloc(0));
  await expect.poll(() => heard).toEqual(["begun"]);
  const late = channel.call("/test.Slow/Never", Buffer.alloc(0), { timeoutMs: 50 });
  await expect(late).rejects.toMatchObject({ grpcCode: GRPC.deadlineExceeded });
  channel.reset();
  // On a connection of its own.
  await expect(channel.call("/test.Slow/Other", Buffer.alloc(0), { timeoutMs: 10_000 })).rejects.toMatchObject({
    grpcCode: GRPC.unimplemented,
  });
  sayAll("still here");
  await expect.poll(() => heard).toEqual(["begun", "still here"]);
  expect(ended).toEqual([]);
});

test("a reader that throws ends its call, and not the process", async () => {
  const { channel } = await startSlow();
  const why = await new Promise<GrpcError>((resolve) => {
    const stream = channel.stream(
      "/test.Slow/Watch",
      {},
      {
        onMessage: () => {
          throw new RangeError("a message is cut short");
        },
        onEnd: resolve,
      },
    );
    stream.send(Buffer.alloc(0));
  });
  expect(why.message).toMatch(/^cannot take what http:\S+ sent on \/test\.Slow\/Watch: a message is cut short$/);
});
