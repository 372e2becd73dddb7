/** The change stream against clients that mean no good: the others' answers go on in time. */
import { beforeAll, expect, test } from "vitest";
import { daemon, freePort, get, metric, put, serve, until } from "./daemon.ts";
import { latencies, percentile } from "./tcp.ts";

const ports = { catalog: 0, agent: 0 };

beforeAll(async () => {
  ports.catalog = await freePort();
  ports.agent = await freePort();
  await serve("catalog", ports.catalog);
  await daemon(
    ["agent", "-dev", `-http-port=${ports.agent}`, `-server-port=${await freePort()}`, "-dns-port=-1"],
    ports.agent,
  );
});

interface Reply {
  id: number | null;
  index?: number;
  body?: unknown;
  error?: { code: string; message: string };
}

/** Node's own WebSocket client, with what it received and how it was closed. */
async function openStream(port: number) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`);
  const replies: Reply[] = [];
  const closed = new Promise<{ code: number; reason: string }>((resolve) =>
    socket.addEventListener("close", ({ code, reason }) => resolve({ code, reason })),
  );
  socket.addEventListener("message", ({ data }) => replies.push(JSON.parse(String(data)) as Reply));
  await Promise.race([new Promise((resolve) => socket.addEventListener("open", resolve)), closed]);
  const reply = (match: (reply: Reply) => boolean) =>
    until(
      async () => replies.find(match),
      (found) => found !== undefined,
    ).then((found) => found as Reply);
  return {
    socket,
    replies,
    closed,
    reply,
    send: (message: unknown) => socket.send(typeof message === "string" ? message : JSON.stringify(message)),
  };
}

test.each(Object.keys(ports) as (keyof typeof ports)[])(
  "%s: messages that mean nothing get an error, and the connection goes on",
  async (name) => {
    const stream = await openStream(ports[name]);
    const refused: [message: unknown, id: number | null, why: RegExp][] = [
      ["{", null, /not valid JSON/],
      ["null", null, /"id" must be a whole number/],
      ["[]", null, /"id" must be/],
      ['"x"', null, /"id" must be/],
      [{ id: 1.5, subscribe: "/v1/kv/a" }, null, /"id" must be/],
      [{ id: 2 }, 2, /"subscribe" must be the path of a blocking read/],
      [{ id: 3, subscribe: {} }, 3, /"subscribe" must be/],
      [{ id: 4, subscribe: "/v1/nothing" }, 4, /cannot be subscribed to/],
      [{ id: 5, subscribe: "/v1/kv/a", index: -1 }, 5, /"index" must be/],
      [{ id: 6, subscribe: "http://[" }, 6, /\S/],
      [{ id: 7, subscribe: "/v1/kv/%zz" }, 7, /\S/],
      [{ id: 8, subscribe: "/v1/catalog/service/" }, 8, /\S/],
      [{ id: 9, subscribe: "/__proto__" }, 9, /cannot be subscribed to/],
      [{ id: 10, subscribe: "/constructor" }, 10, /cannot be subscribed to/],
      [{ id: 11, subscribe: "/v1/agent/services/../../x" }, 11, /cannot be subscribed to/],
    ];
    for (const [message, id, why] of refused) {
      const before = stream.replies.length;
      stream.send(message);
      await until(
        async () => stream.replies.length,
        (n) => n > before,
      );
      const reply = stream.replies[before] as Reply;
      expect([message, reply]).toEqual([
        message,
        { id, error: { code: expect.not.stringMatching(/^internal$/), message: expect.stringMatching(why) } },
      ]);
    }
    stream.send({ id: 100, unsubscribe: true }); // never subscribed: nothing to say
    stream.send({ id: 101, subscribe: "/v1/kv/stream-good" });
    await stream.reply((r) => r.id === 101 && r.body === null);
    stream.send({ id: 101, subscribe: "/v1/kv/stream-good" });
    expect((await stream.reply((r) => r.id === 101 && r.error !== undefined)).error?.message).toMatch(
      /id 101 is in use/,
    );
    await put(`http://127.0.0.1:${ports[name]}/v1/kv/stream-good`, "1");
    await stream.reply((r) => r.id === 101 && Array.isArray(r.body));
    stream.socket.close();
  },
);

test.each(Object.keys(ports) as (keyof typeof ports)[])(
  "%s: a message too large closes the connection with 1009",
  async (name) => {
    const stream = await openStream(ports[name]);
    stream.send(`{"id":1,"subscribe":"${"x".repeat(70_000)}"}`);
    expect((await stream.closed).code).toBe(1009);
  },
);

test("the 10,001st subscription is refused by name, all others stand, and a write reaches them in time", async () => {
  const url = `http://127.0.0.1:${ports.catalog}`;
  const stop = new AbortController();
  const measuring = latencies(() => get(`${url}/v1/kv/stream-good`), stop.signal);
  const stream = await openStream(ports.catalog);
  for (let id = 0; id <= 10_000; id++) stream.send({ id, subscribe: `/v1/kv/many/${id}` });
  const refused = await stream.reply((r) => r.error !== undefined);
  expect(refused).toMatchObject({
    id: 10_000,
    error: { message: "too many subscriptions on one connection: the limit is 10000" },
  });
  await until(
    async () => stream.replies.length,
    (n) => n >= 10_001,
  );
  await put(`${url}/v1/kv/many/77`, "1");
  await stream.reply((r) => r.id === 77 && Array.isArray(r.body));
  // A hundred that touch all: each prefix is one topic of one subscription more.
  stream.send({ id: 0, unsubscribe: true });
  stream.send({ id: 20_000, subscribe: "/v1/kv/many/?recurse" });
  for (let n = 0; n < 100; n++) await put(`${url}/v1/kv/many/${n}`, String(n));
  await stream.reply((r) => r.id === 20_000 && Array.isArray(r.body) && r.body.length === 100);
  stop.abort();
  // Others are served meanwhile: how fast is for benchmarks.
  expect(percentile(await measuring, 99)).toBeLessThan(5_000);
  stream.socket.close();
  await stream.closed;
});

test("300 streams that are opened, used and dropped leave no descriptors and little memory", async () => {
  const url = `http://127.0.0.1:${ports.catalog}`;
  const descriptors = await metric(url, "process_open_fds");
  for (let round = 0; round < 3; round++) {
    const streams = await Promise.all(Array.from({ length: 100 }, () => openStream(ports.catalog)));
    for (const stream of streams)
      for (let id = 0; id < 20; id++) stream.send({ id, subscribe: `/v1/health/service/s${id}` });
    await Promise.all(
      streams.map((stream) =>
        until(
          async () => stream.replies.length,
          (n) => n === 20,
        ),
      ),
    );
    for (const stream of streams) stream.socket.close();
    await Promise.all(streams.map((s) => s.closed));
  }
  await until(
    () => metric(url, "process_open_fds"),
    (now) => now <= descriptors + 5,
  );
});

test("reads of keys that are not there, short and long, do not pile up", async () => {
  const url = `http://127.0.0.1:${ports.catalog}`;
  const ask = (n: number) => get(`${url}/v1/kv/none/${n}/${"x".repeat(n % 4 ? 10_000 : 400)}`);
  const some = async (from: number, count: number) => {
    for (let n = from; n < from + count; n += 50)
      await Promise.all(Array.from({ length: 50 }, (_, i) => ask(n + i).then((a) => expect(a.status).toBe(404))));
    return metric(url, "process_resident_memory_bytes");
  };
  const before = await some(0, 500);
  // 30,000 of 10 KB would be 300 MB; a heap that is not pressed grows by some of it.
  expect((await some(500, 40_000)) - before).toBeLessThan(200 * 1024 * 1024);
});
