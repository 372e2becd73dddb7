import { once } from "node:events";
import { createServer as createHttp, get } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { createLogHub } from "@heddle/daemon";
import { type FakeAgent, startFakeAgent } from "@heddle/data-plane/testing";
import { fakeIntention } from "@heddle/intentions/testing";
import express from "express";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import { type Connect, type ConnectOptions, type MeshServer, RefusedError, startConnect } from "./index.ts";

let agent: FakeAgent;
beforeEach(async () => void (agent = await startFakeAgent()));
afterEach(() => agent.stop());

async function join(service: string, options: Partial<ConnectOptions> = {}): Promise<Connect> {
  const connect = await startConnect({ service, agent: { address: agent.address }, drainMs: 100, ...options });
  onTestFinished(() => connect.close());
  return connect;
}

/** A service `db` in the mesh, known to the agent. */
async function serve(start: (connect: Connect) => MeshServer): Promise<Connect> {
  const connect = await join("db");
  const { port } = await start(connect).listen(0, "127.0.0.1");
  agent.change((state) => void (state.endpoints["db"] = [{ host: "127.0.0.1", port }]));
  return connect;
}

test("a socket is dialled by a service's name, and its server knows who calls", async () => {
  await serve((db) =>
    db.createServer((socket) => {
      socket.write(`hello, ${socket.peer.service}: `);
      socket.pipe(socket);
    }),
  );
  const web = await join("web");
  const socket = await web.dial("db.service.consul");
  expect(socket.peer).toMatchObject({ service: "db", spiffeId: expect.stringMatching(/\/svc\/db$/) as string });
  socket.end("through the mesh");
  expect(await text(socket)).toBe("hello, web: through the mesh");
});

test("megabytes come as they were sent, both ways, with readers that are slow", async () => {
  await serve((db) => db.createServer((socket) => void socket.pipe(socket)));
  const web = await join("web");
  const socket = await web.dial("db", { allowHalfOpen: true });
  const sent = Buffer.alloc(8 * 1024 * 1024);
  for (let i = 0; i < sent.length; i += 4) sent.writeUInt32LE(i, i);
  socket.end(sent);
  const received: Buffer[] = [];
  for await (const chunk of socket) {
    received.push(chunk as Buffer);
    if (received.length % 50 === 0) await delay(1);
  }
  expect(Buffer.concat(received).equals(sent)).toBe(true);
});

test("fetch speaks to an express application, and keeps its connection for the next request", async () => {
  const app = express();
  app.get(
    "/hello",
    (req, res) => void res.send(`hello, ${(req.socket as unknown as { peer: { service: string } }).peer.service}`),
  );
  app.post("/upper", express.text(), (req, res) => void res.send((req.body as string).toUpperCase()));
  app.get("/moved", (_req, res) => res.redirect("/hello"));
  const db = await serve((connect) => connect.createHttpServer(app));
  const web = await join("web");
  for (let i = 0; i < 3; i++) await (await web.fetch("http://db.service.consul/hello")).text();
  const connections = /heddle_proxy_connections_total\{[^}]*source="web"[^}]*result="allowed"[^}]*\} 1\n/;
  expect(await db.registry.metrics()).toMatch(connections);
  const hello = await web.fetch("http://db.service.consul/hello");
  expect([hello.status, await hello.text()]).toEqual([200, "hello, web"]);
  const posted = await web.fetch("http://db/upper", {
    method: "POST",
    body: "loud",
    headers: { "content-type": "text/plain" },
  });
  expect(await posted.text()).toBe("LOUD");
  const moved = await web.fetch("http://db/moved");
  expect([moved.redirected, moved.url, await moved.text()]).toEqual([true, "http://db/hello", "hello, web"]);
});

test("clients that take an agent go through the mesh too", async () => {
  await serve((db) => db.createServer(createHttp((_req, res) => res.end("over http.get"))));
  const web = await join("web");
  const [res] = (await once(get("http://db/", { agent: web.httpAgent }), "response")) as [NodeJS.ReadableStream];
  expect(await text(res)).toBe("over http.get");
});

test("a deny is said with its rule: when dialling, and to both ends of what is cut", async () => {
  const ends: unknown[] = [];
  await serve((db) => db.createServer((socket) => void socket.on("error", (error) => ends.push(error))));
  const web = await join("web");
  const socket = await web.dial("db");
  socket.write("first");
  const cut = once(socket, "error") as Promise<[RefusedError]>;
  agent.change((state) => state.intentions.push(fakeIntention({ Action: "deny" })));
  const [error] = await cut;
  expect(error).toBeInstanceOf(RefusedError);
  expect(error.message).toContain("DENY default/web => default/db");
  await expect.poll(() => ends).toMatchObject([{ refusal: { code: "intention", source: "web" } }]);

  await expect(web.dial("db")).rejects.toMatchObject({
    code: "intention",
    refusal: { rule: expect.stringContaining("DENY default/web => default/db") as string },
  });
  await expect(web.fetch("http://db/")).rejects.toMatchObject({
    message: "fetch failed",
    cause: { code: "intention" },
  });
});

test("an answer that was cut is an error, not an end", async () => {
  await serve((db) =>
    db.createHttpServer((_req, res) => {
      res.writeHead(200);
      res.write("half of ");
    }),
  );
  const web = await join("web");
  const answer = await web.fetch("http://db/");
  agent.change((state) => state.intentions.push(fakeIntention({ Action: "deny" })));
  await expect(answer.text()).rejects.toThrow();
});

test("a new certificate is taken up at once, and what is open stays", async () => {
  await serve((db) => db.createServer((socket) => void socket.pipe(socket)));
  const hub = createLogHub({ write: () => {} });
  let identities = 0;
  hub.tap("info", ({ sentence }) => void (identities += Number(sentence === "Parsed TLS identity")));
  const web = await join("web", { log: hub.log });
  const socket = await web.dial("db");
  agent.change((state) => void (state.signing = { ...agent.mesh })); // new leaves, of the same root
  await expect.poll(() => identities).toBe(2);
  const second = await web.dial("db");
  for (const each of [socket, second]) {
    each.end("still here");
    expect(await text(each)).toBe("still here");
  }
});

test("a server that closes ends idle connections of HTTP with an end, and lets a request finish", async () => {
  const { promise: mayAnswer, resolve: answer } = Promise.withResolvers<void>();
  const { promise: asked, resolve: onAsked } = Promise.withResolvers<void>();
  let server: MeshServer | undefined;
  await serve(
    (db) =>
      (server = db.createHttpServer((req, res) => {
        if (req.url !== "/slow") return res.end("quick");
        onAsked();
        void mayAnswer.then(() => res.end("slow"));
      })),
  );
  const web = await join("web");
  const idle = await web.dial("db");
  idle.write("GET / HTTP/1.1\r\nHost: db\r\n\r\n");
  await once(idle, "data");
  const slow = await web.dial("db");
  slow.write("GET /slow HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n");
  await asked;
  idle.resume();
  const closed = server?.close();
  await once(idle, "end");
  answer();
  await expect(text(slow)).resolves.toContain("slow");
  await closed;
});

test("an agent that is away, and a service that nobody has, are said so", async () => {
  const web = await join("web");
  await expect(web.dial("db", { timeoutMs: 300 })).rejects.toThrow("no healthy instance of 'db' is known");
  await expect(web.dial("no such service")).rejects.toThrow("'no such service' is no service of the mesh");
  await expect(web.fetch("https://db/")).rejects.toThrow("the mesh encrypts by itself");
  await agent.stop();
  await expect(
    startConnect({ service: "web", agent: { address: agent.address }, readyTimeoutMs: 300 }),
  ).rejects.toThrow(/the agent at http:\/\/127.0.0.1:\d+ gave no leaf, roots.* within 300 ms \(.*refused.*\)/);
  await agent.restart();
});

test("a server registers as native to the mesh, and deregisters when it closes", async () => {
  const hub = createLogHub({ write: () => {} });
  const db = await join("db", { log: hub.log.child("connect") });
  const server = db.createServer(() => {}, { register: { Tags: ["v1"] } });
  const { port } = await server.listen(0, "127.0.0.1");
  const find = (path: string) => agent.calls.find((call) => call.path === path);
  await expect.poll(() => find("/v1/agent/check/pass/db-ttl")).toBeDefined();
  expect(find("/v1/agent/service/register")?.body).toMatchObject({
    Name: "db",
    Address: "127.0.0.1",
    Port: port,
    Tags: ["v1"],
    Connect: { Native: true },
  });
  await expect(server.listen(0)).rejects.toThrow("listens already");
  expect(() => db.createServer(() => {})).toThrow("has a server already");
  await server.close();
  expect(find("/v1/agent/service/deregister/db")).toBeDefined();
  expect(server.address).toBeUndefined();
});

test("a port that is taken, and a dial that nobody waits for, reject", async () => {
  await serve((db) => db.createServer((socket) => void socket.pipe(socket)));
  const taken = createHttp().listen(0, "127.0.0.1");
  await once(taken, "listening");
  onTestFinished(() => void taken.close());
  const web = await join("web");
  const { port } = taken.address() as AddressInfo;
  await expect(web.createServer(() => {}).listen(port, "127.0.0.1")).rejects.toThrow(String(port));
  await expect(web.dial("db", { signal: AbortSignal.abort(new Error("not wanted")) })).rejects.toThrow("not wanted");
});
