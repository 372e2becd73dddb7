import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { createTestMesh } from "@heddle/tls/testing";
import { describe, expect, it, onTestFinished } from "vitest";
import { parseHttpHandler, tellHttpHandler } from "./http-handler.ts";

const CHANGE = { id: "c1", index: 7, value: null, json: "null" };
const never = new AbortController().signal;

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

describe("http_handler_config", () => {
  it("has Consul's defaults", () => {
    expect(parseHttpHandler({ path: "http://localhost/x" })).toEqual({
      url: "http://localhost/x",
      method: "POST",
      headers: {},
      timeoutMs: 10_000,
      tlsSkipVerify: false,
    });
  });

  it.each<[Record<string, unknown>, string]>([
    [{}, "Requires 'path' to be set"],
    [{ path: "ftp://x" }, "path: invalid value 'ftp://x': want an http:// or https:// URL"],
    [{ path: "http://x", timeout: "soon" }, "Failed to parse timeout"],
    [{ path: "http://x", method: "A B" }, "method: invalid value 'A B'"],
    [{ path: "http://x", header: { "a b": ["x"] } }, "header: invalid value for 'a b'"],
    [{ path: "http://x", header: { a: ["x\r\ny: z"] } }, "header: invalid value for 'a'"],
    [{ path: "http://x", bogus: 1 }, "unknown key 'bogus'"],
  ])("%j is refused: %s", (config, message) => {
    expect(() => parseHttpHandler(config)).toThrow(message);
  });
});

describe("telling", () => {
  it("sends the view, its index, its id and the headers, and gives the answer back", async () => {
    const seen: { method?: string | undefined; headers: IncomingHttpHeaders; body: string }[] = [];
    const port = await listen(
      createServer((req, res) => {
        let body = "";
        req.on("data", (chunk: Buffer) => (body += chunk.toString()));
        req.on("end", () => {
          seen.push({ method: req.method, headers: req.headers, body });
          res.end("noted");
        });
      }),
    );
    const handler = parseHttpHandler({
      path: `http://127.0.0.1:${port}/`,
      method: "put",
      header: { "x-foo": ["a", "b"] },
    });
    expect(await tellHttpHandler(handler, CHANGE, never)).toBe("noted");
    expect(seen[0]).toMatchObject({ method: "PUT", body: "null\n" });
    expect(seen[0]?.headers).toMatchObject({
      "content-type": "application/json",
      "x-consul-index": "7",
      "x-heddle-index": "7",
      "x-heddle-change-id": "c1",
      "x-foo": "a, b",
    });
  });

  it("fails where the endpoint refuses, is late or is not there", async () => {
    const port = await listen(
      createServer((req, res) => {
        if (req.url === "/late") return;
        res.writeHead(500).end("no");
      }),
    );
    const tell = (path: string, more = {}) =>
      tellHttpHandler(parseHttpHandler({ path: `http://127.0.0.1:${port}${path}`, ...more }), CHANGE, never);
    await expect(tell("/")).rejects.toThrow("answered 500: no");
    await expect(tell("/late", { timeout: "30ms" })).rejects.toThrow("no answer within 30 ms");
    await expect(tellHttpHandler(parseHttpHandler({ path: "http://127.0.0.1:1" }), CHANGE, never)).rejects.toThrow(
      "cannot tell http://127.0.0.1:1",
    );
  });

  it("checks the endpoint's certificate unless told otherwise", async () => {
    const mesh = await createTestMesh();
    const { certPem: cert, keyPem: key } = mesh.identity("web");
    const port = await listen(createTlsServer({ cert, key }, (_req, res) => res.end("tls")));
    const path = `https://127.0.0.1:${port}/`;
    await expect(tellHttpHandler(parseHttpHandler({ path }), CHANGE, never)).rejects.toThrow("cannot tell");
    expect(await tellHttpHandler(parseHttpHandler({ path, tls_skip_verify: true }), CHANGE, never)).toBe("tls");
  });
});
