/** What goes past Node's response must be, to the byte, what Node's response would have sent, and leave the connection as it would. */
import { once } from "node:events";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { Agent, get } from "node:https";
import { connect, type Socket } from "node:net";
import { createTestMesh } from "@heddle/tls/testing";
import { expect, onTestFinished, test } from "vitest";
import { reply } from "./api.ts";
import { type HttpServerOptions, startHttpServer } from "./http.ts";
import { silentLog } from "./log.ts";
import { SharedAnswer } from "./shared-answer.ts";

const BODY = Buffer.from("grün\n");
const PARTS = { status: 200, head: ["X-Index", "7", "Content-Length", String(BODY.length)], body: BODY };

async function serve(handler: RequestListener, options: Partial<HttpServerOptions> = {}) {
  const server = await startHttpServer({ host: "127.0.0.1", port: 0, log: silentLog, handler, ...options });
  onTestFinished(() => server.close());
  return server;
}

function open(port: number): { socket: Socket; received: () => Buffer } {
  const socket = connect(port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", () => {});
  return { socket, received: () => Buffer.concat(chunks) };
}

/** All that is answered to these requests, each sent when the one before it is answered, or all at once. */
async function converse(port: number, requests: string[], atOnce: boolean): Promise<string> {
  const { socket, received } = open(port);
  const closed = once(socket, "close");
  const text = () => received().toString("latin1");
  if (atOnce) socket.write(requests.join(""));
  else
    for (const [i, request] of requests.entries()) {
      socket.write(request);
      if (i < requests.length - 1) await expect.poll(() => text().split("\r\n\r\n").length - 1).toBeGreaterThan(i);
    }
  await closed;
  return text().replaceAll(/Date: .*/g, "Date");
}

const GET = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const LAST = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
test.each([
  ["kept connections", [GET, GET, GET, LAST]],
  ["HTTP/1.0", ["GET / HTTP/1.0\r\n\r\n"]],
  ["HTTP/1.0 that is to be kept", ["GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", LAST]],
  ["HEAD", ["HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", GET, LAST]],
  ["bodies that nobody reads", ["PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", GET, LAST]],
  ["a body that is to come", ["PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", LAST]],
  ["an answer with a header of its own", ["GET /own HTTP/1.1\r\nHost: h\r\n\r\n", GET, LAST]],
])("%s: the bytes are Node's, one request after the other and all at once", async (_name, requests) => {
  const shared = new SharedAnswer(PARTS);
  const own: RequestListener = (req, res) => void (req.url === "/own" && res.setHeader("X-Own", "yes"));
  const ours = await serve((req, res) => (own(req, res), shared.send(res)));
  const node = await serve((req, res) => (own(req, res), res.writeHead(200, PARTS.head).end(BODY)));
  for (const atOnce of [false, true]) {
    const expected = await converse(node.port, requests, atOnce);
    expect(expected).toContain("X-Index: 7");
    expect(await converse(ours.port, requests, atOnce)).toBe(expected);
  }
});

test.each([
  ["kept connections", [GET, GET, GET, LAST]],
  ["HTTP/1.0", ["GET / HTTP/1.0\r\n\r\n"]],
  ["HEAD", ["HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", GET, LAST]],
])("%s: answers that are made for one request are Node's to the byte, too", async (_name, requests) => {
  const query = new URLSearchParams();
  const ours = await serve((_req, res) => (reply({ res, query }, "grün", { "X-Index": 7 }), undefined));
  const node = await serve((_req, res) => {
    const body = JSON.stringify("grün");
    const head = {
      "Content-Type": "application/json",
      "Content-Length": Buffer.byteLength(body),
      Vary: "Accept-Encoding",
    };
    res.writeHead(200, { ...head, "X-Content-Type-Options": "nosniff", "X-Index": 7 }).end(body);
  });
  for (const atOnce of [false, true])
    expect(await converse(ours.port, requests, atOnce)).toBe(await converse(node.port, requests, atOnce));
});

test("waiters get one answer each in one turn, and a caller that went away keeps nobody from it", async () => {
  const waiting: ServerResponse[] = [];
  let finished = 0;
  const server = await serve((_req, res) => void waiting.push(res.on("finish", () => finished++)));
  const callers = Array.from({ length: 20 }, () => open(server.port));
  for (const { socket } of callers) socket.write(GET);
  await expect.poll(() => waiting.length).toBe(20);
  waiting[7]?.destroy();
  const shared = new SharedAnswer(PARTS);
  for (const res of waiting) shared.send(res);
  await expect.poll(() => callers.filter(({ received }) => received().includes(BODY)).length).toBe(19);
  expect(finished).toBe(19);
  // The connections are as good as new.
  waiting.length = 0;
  for (const { socket } of callers) if (socket.writable) socket.write(GET);
  await expect.poll(() => waiting.length).toBe(19);
});

test("who reads slowly gets every answer whole and in order, also while the server closes", async () => {
  const body = Buffer.alloc(60_000, "0123456789");
  const shared = new SharedAnswer({ status: 200, head: ["Content-Length", String(body.length)], body });
  let asked = 0;
  const server = await serve((_req, res) => (asked++, shared.send(res)));
  const { socket, received } = open(server.port);
  socket.pause();
  socket.write(GET.repeat(150)); // 9 MB: more than the kernel takes for one that does not read
  await expect.poll(() => asked).toBeGreaterThan(10);
  const closed = server.close();
  socket.resume();
  await closed;
  const text = received().toString("latin1");
  const answers = text.split("HTTP/1.1 200 OK\r\n").slice(1);
  expect(answers.length).toBeGreaterThan(10);
  for (const answer of answers) expect(answer.endsWith(`\r\n\r\n${body.toString("latin1")}`)).toBe(true);
});

test("over TLS, too", async () => {
  const { certPem, keyPem } = (await createTestMesh()).identity("web");
  const shared = new SharedAnswer(PARTS);
  const server = await serve((_req, res) => shared.send(res), { tls: { key: keyPem, cert: certPem } });
  const agent = new Agent({ keepAlive: true, rejectUnauthorized: false });
  onTestFinished(() => agent.destroy());
  for (let i = 0; i < 3; i++) {
    const [res] = (await once(get(server.url, { agent }), "response")) as [IncomingMessage];
    expect(Buffer.concat(await res.toArray())).toEqual(BODY);
  }
});
