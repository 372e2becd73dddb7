import { once } from "node:events";
import { type IncomingMessage, request, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { whenDraining } from "./drain.ts";
import { startHttpServer } from "./http.ts";
import { silentLog } from "./log.ts";

/** A server whose callers wait for a change that never comes. */
async function startWaiting() {
  const waiting: ServerResponse[] = [];
  const server = await startHttpServer({
    host: "127.0.0.1",
    port: 0,
    log: silentLog,
    handler(_req, res) {
      waiting.push(res);
      whenDraining(res, () => res.end("as things stand"));
    },
  });
  onTestFinished(() => server.close());
  return { server, waiting };
}

async function ask(url: string): Promise<{ text: string; connection: string | undefined }> {
  const req = request(url).end();
  const [res] = (await once(req, "response")) as [IncomingMessage];
  let text = "";
  for await (const chunk of res) text += String(chunk);
  return { text, connection: res.headers.connection };
}

test("who waits is answered as soon as the server begins to close, and the close waits for nobody", async () => {
  const { server, waiting } = await startWaiting();
  const answers = [ask(server.url), ask(server.url)];
  await expect.poll(() => waiting.length).toBe(2);
  const begun = performance.now();
  await server.close();
  expect(performance.now() - begun).toBeLessThan(1_000);
  expect(await Promise.all(answers)).toEqual(
    Array.from({ length: 2 }, () => ({ text: "as things stand", connection: "close" })),
  );
});

test("a request that comes over an open connection while the server closes is answered at once", async () => {
  const { server, waiting } = await startWaiting();
  const socket = connect(server.port, "127.0.0.1");
  let received = "";
  socket.setEncoding("utf8").on("data", (chunk: string) => (received += chunk));
  // The first half of a request keeps its connection from counting as idle.
  socket.write("GET / HTTP/1.1\r\n");
  const held = ask(server.url);
  await expect.poll(() => waiting.length).toBe(1);
  const closed = server.close();
  await held;
  socket.write("Host: h\r\n\r\n");
  await once(socket, "close");
  await closed;
  expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*Connection: close\r\n[^]*as things stand/);
});

test("an answer that is out already is left alone, and one whose caller went away is forgotten", async () => {
  const { server, waiting } = await startWaiting();
  const answered = ask(server.url);
  await expect.poll(() => waiting.length).toBe(1);
  waiting[0]?.end("early");
  expect((await answered).text).toBe("early");
  const gone = request(server.url).end();
  gone.on("error", () => {});
  await expect.poll(() => waiting.length).toBe(2);
  gone.destroy();
  await expect.poll(() => waiting[1]?.destroyed).toBe(true);
  await server.close();
});
