import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { type ApiClientOptions, createApiClient } from "./client.ts";

async function listen(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function agentThat(handler: RequestListener, options: Partial<ApiClientOptions> = {}) {
  const server = createServer(handler);
  const address = await listen(server);
  onTestFinished(() => server.closeAllConnections());
  const client = createApiClient({ address, ...options });
  onTestFinished(() => client.close());
  return client;
}

describe("requests", () => {
  test("carry token, query and body, and answers are parsed", async () => {
    const client = await agentThat(
      (req, res) => {
        const chunks: Buffer[] = [];
        req.on("data", (chunk: Buffer) => chunks.push(chunk));
        req.on("end", () => {
          res.setHeader("Content-Type", "application/json");
          res.setHeader("X-Consul-Index", "42");
          res.end(
            JSON.stringify({
              url: req.url,
              token: req.headers["x-consul-token"],
              body: Buffer.concat(chunks).toString(),
            }),
          );
        });
      },
      { token: "s3cret", query: { dc: "dc1" } },
    );
    const answer = await client.put("/v1/kv/a", {
      query: { cas: 0, recurse: true, tag: ["x", "y z"] },
      body: { n: 1 },
    });
    expect(answer.index).toBe(42);
    expect(answer.body).toEqual({
      url: "/v1/kv/a?dc=dc1&cas=0&recurse&tag=x&tag=y%20z",
      token: "s3cret",
      body: '{"n":1}',
    });
  });

  test("an unexpected status is an error with the agent's own words, an allowed one is an answer", async () => {
    const client = await agentThat((_req, res) => {
      res.statusCode = 404;
      res.end("unknown proxy service ID: nope");
    });
    await expect(client.get("/v1/agent/service/nope")).rejects.toMatchObject({
      code: "not_found",
      status: 404,
      message: "GET /v1/agent/service/nope: the agent answered 404: unknown proxy service ID: nope",
    });
    expect((await client.get("/v1/agent/service/nope", { allow: [404] })).status).toBe(404);
  });

  test("nobody there says what to do", async () => {
    const server = createTcpServer();
    const address = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    await expect(createApiClient({ address }).get("/v1/agent/self")).rejects.toThrow(
      `cannot reach the agent at http://${address}: connection refused (is \`heddle agent\` running?)`,
    );
  });

  test.each([
    ["plain HTTP behind an https address", "https", "no TLS there (is the agent's listener plain HTTP?)"],
    ["something that is not HTTP", "http", "the answer is not HTTP (is the agent's listener HTTPS?)"],
  ])("%s says so", async (_title, scheme, words) => {
    const server = createTcpServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end("SSH-2.0-x\r\n"));
    });
    const address = await listen(server);
    await expect(createApiClient({ address: `${scheme}://${address}` }).get("/")).rejects.toThrow(words);
  });

  test("an answer past the limit is refused while it arrives", async () => {
    const client = await agentThat(
      (_req, res) => {
        const write = () => {
          while (!res.destroyed && res.write(Buffer.alloc(64 * 1024))) {}
        };
        res.on("drain", write);
        write();
      },
      { maxBodyBytes: 1_000_000 },
    );
    await expect(client.get("/")).rejects.toThrow("answered with more than 1000000 bytes");
  });

  test("a silent agent is an error after the timeout", async () => {
    const client = await agentThat(() => {});
    await expect(client.get("/", { timeoutMs: 50 })).rejects.toMatchObject({ code: "timeout" });
  });

  test("a kept connection that the agent has closed is replaced without a word", async () => {
    let connections = 0;
    const server = createTcpServer((socket) => {
      connections++;
      socket.on("error", () => {});
      let answered = 0;
      socket.on("data", () => {
        if (answered++ === 0) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        else socket.resetAndDestroy();
      });
    });
    const client = createApiClient({ address: await listen(server) });
    onTestFinished(() => client.close());
    await client.get("/a");
    expect((await client.get("/b")).body).toBe("ok");
    expect(connections).toBe(2);
  });

  test("an agent that was restarted leaves several kept connections: all are replaced, and a write is told", async () => {
    const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let isFirst = true;
    const waiting: (() => void)[] = [];
    const server = createTcpServer((socket) => {
      let answered = 0;
      socket.on("error", () => {});
      socket.on("data", () => {
        if (answered++ > 0) return void socket.resetAndDestroy();
        if (isFirst) waiting.push(() => socket.write(answer));
        else socket.write(answer);
        if (waiting.length < 3 || !isFirst) return;
        isFirst = false; // three at once: three connections are kept
        for (const go of waiting) go();
      });
    });
    const client = createApiClient({ address: await listen(server) });
    onTestFinished(() => client.close());
    await Promise.all(["/a", "/b", "/c"].map((path) => client.get(path)));
    expect((await client.get("/d")).body).toBe("ok");
    await expect(client.put("/e")).rejects.toThrow("the connection was reset");
  });

  test.each(["ftp://x", "http://", "http://a:b@c", "unix://", "host:port"])(
    "the address '%s' is refused",
    (address) => {
      expect(() => createApiClient({ address })).toThrow("invalid agent address");
    },
  );
});

describe("watch", () => {
  /** Answers each request by the next step and records what was asked. */
  async function scripted(
    steps: ({ index?: string; body: string; hash?: string } | "reset" | number)[],
    byHash = false,
  ) {
    const asked: string[] = [];
    const failures: number[] = [];
    const client = await agentThat((req, res) => {
      asked.push(new URL(req.url ?? "", "http://x").search);
      const step = steps[asked.length - 1];
      if (step === undefined) return; // the end of the script: the query blocks
      if (step === "reset") return void req.socket.resetAndDestroy();
      if (typeof step === "number") {
        res.statusCode = step;
        return void res.end("sorry");
      }
      if (step.index !== undefined) res.setHeader("X-Consul-Index", step.index);
      if (step.hash !== undefined) res.setHeader("X-Consul-ContentHash", step.hash);
      res.end(step.body);
    });
    const stop = new AbortController();
    const yielded: unknown[] = [];
    const done = (async () => {
      const watching = client.watch("/w", {
        signal: stop.signal,
        hash: byHash,
        waitMs: 10_000,
        retryMaxMs: 5,
        onError: ({ attempt }) => failures.push(attempt),
      });
      for await (const answer of watching) yielded.push(answer.body);
    })();
    await expect.poll(() => asked.length).toBe(steps.length + 1);
    stop.abort();
    await done;
    return { asked, yielded, failures };
  }

  test("waits on the last index and yields only what changed", async () => {
    const { asked, yielded } = await scripted([
      { index: "5", body: "a" },
      { index: "5", body: "a" },
      { index: "7", body: "b" },
    ]);
    expect(asked).toEqual(["", "?index=5&wait=10s", "?index=5&wait=10s", "?index=7&wait=10s"]);
    expect(yielded).toEqual(["a", "b"]);
  });

  test("an index that goes back starts again, and 0 counts as 1", async () => {
    const { asked, yielded } = await scripted([
      { index: "9", body: "a" },
      { index: "3", body: "b" },
      { index: "0", body: "c" },
    ]);
    expect(asked).toEqual(["", "?index=9&wait=10s", "", "?index=1&wait=10s"]);
    expect(yielded).toEqual(["a", "b", "c"]);
  });

  test("failures are retried and told, and the next question asks for an answer at once", async () => {
    const { asked, yielded, failures } = await scripted([
      { index: "9", body: "a" },
      500,
      "reset", // met on a kept connection: asked again at once, on a new one
      "reset",
      { index: "2", body: "b" },
    ]);
    expect(asked).toEqual(["", "?index=9&wait=10s", "", "", "", "?index=2&wait=10s"]);
    expect(yielded).toEqual(["a", "b"]);
    expect(failures).toEqual([1, 2]);
  });

  test("waits on a content hash where asked to", async () => {
    const { asked, yielded } = await scripted(
      [
        { hash: "f00", body: "a" },
        { hash: "f00", body: "a" },
        { hash: "ba7", body: "b" },
      ],
      true,
    );
    expect(asked).toEqual(["", "?hash=f00&wait=10s", "?hash=f00&wait=10s", "?hash=ba7&wait=10s"]);
    expect(yielded).toEqual(["a", "b"]);
  });
});
