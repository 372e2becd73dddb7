import { createInternalCa, createInternalCertificate } from "@heddle/tls";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createSecureContext } from "node:tls";
import { describe, expect, test } from "vitest";
import type { Check } from "../check.ts";
import { freePort, httpServer, listen, tcpServer, testContext } from "../testing.ts";
import { probe } from "./http.ts";

const run = (HTTP: string, fields: Partial<Check> = {}, context = testContext()) =>
  probe({ CheckID: "c", HTTP, TimeoutMs: 5_000, ...fields }, context);

/** Answers with what it was asked; "/to?…" redirects. */
async function echo(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const url = new URL(req.url ?? "/", "http://x");
  const [, first, second] = url.pathname.split("/");
  let body = "";
  for await (const chunk of req as AsyncIterable<Buffer>) body += chunk.toString("utf8");
  if (first === "status") return void res.writeHead(Number(second)).end(`s${second}`);
  if (first === "to")
    return void res.writeHead(Number(second), { Location: url.searchParams.get("url") ?? "" }).end("moved");
  if (first === "big") return void res.end(`${"a".repeat(5_000)}END`);
  if (first === "hang") return;
  if (first === "endless") {
    const flood = () => {
      while (res.write("x".repeat(65_536)));
    };
    res.on("drain", flood);
    return flood();
  }
  if (first === "part") return void res.write("part");
  if (first === "reset") return void req.socket.destroy();
  res.end(JSON.stringify({ method: req.method, url: req.url, headers: req.headers, raw: req.rawHeaders, body }));
}
const target = () => httpServer((req, res) => void echo(req, res));
const asked = (output: string) =>
  JSON.parse(output.slice(output.indexOf("Output: ") + 8)) as {
    method: string;
    url: string;
    headers: Record<string, string>;
    raw: string[];
    body: string;
  };

describe("status", () => {
  test.each([
    [200, "OK", "passing"],
    [201, "Created", "passing"],
    [299, "unknown", "passing"],
    [300, "Multiple Choices", "critical"],
    [404, "Not Found", "critical"],
    [429, "Too Many Requests", "warning"],
    [500, "Internal Server Error", "critical"],
  ])("%i", async (code, text, status) => {
    await using server = await target();
    const url = `http://${server.address}/status/${code}`;
    expect(await run(url)).toEqual({ status, output: `HTTP GET ${url}: ${code} ${text} Output: s${code}` });
  });
});

describe("the request", () => {
  test("is Consul's: headers, agent, a closed connection", async () => {
    await using server = await target();
    const { output } = await run(`http://${server.address}/x?a=b#f`);
    expect(asked(output)).toMatchObject({
      method: "GET",
      url: "/x?a=b",
      headers: {
        host: server.address,
        "user-agent": "Consul Health Check",
        accept: "text/plain, text/*, */*",
        connection: "close",
      },
    });
  });

  test("carries method, body, repeated headers and Host", async () => {
    await using server = await target();
    const { output } = await run(`http://${server.address}/`, {
      Method: "POST",
      Body: "ping",
      Header: { Host: ["other.test"], "X-A": ["1", "2"], "user-agent": ["me"] },
    });
    const got = asked(output);
    expect(got).toMatchObject({
      method: "POST",
      body: "ping",
      headers: { host: "other.test", "x-a": "1, 2", "user-agent": "me", "content-length": "4" },
    });
    expect(got.raw.filter((name) => name === "X-A")).toHaveLength(2);
  });

  test("cannot be framed by the check", async () => {
    await using server = await target();
    const { output } = await run(`http://${server.address}/`, {
      Header: { "Content-Length": ["77"], "Transfer-Encoding": ["chunked"], Connection: ["keep-alive"] },
    });
    expect(asked(output).headers).toMatchObject({ connection: "close" });
    expect(asked(output).headers["content-length"]).toBeUndefined();
  });

  test("sends a URL's credentials and does not show the password", async () => {
    await using server = await target();
    const { output } = await run(`http://u:p%40ss@${server.address}/`);
    expect(asked(output).headers.authorization).toBe(`Basic ${Buffer.from("u:p@ss").toString("base64")}`);
    expect(output).toContain(`HTTP GET http://u:***@${server.address}/: 200 OK`);
  });

  test.each([
    [{ Method: "F O" }, 'net/http: invalid method "F O"'],
    [{ Header: { "X Y": ["1"] } }, 'Get "URL": net/http: invalid header field name "X Y"'],
    [{ Header: { X: ["1\n2"] } }, 'Get "URL": net/http: invalid header field value for "X"'],
  ])("what cannot be sent: %j", async (fields, output) => {
    await using server = await target();
    const url = `http://${server.address}/`;
    expect(await run(url, fields)).toEqual({ status: "critical", output: output.replace("URL", url) });
  });
});

describe("the answer", () => {
  test("its last bytes are kept", async () => {
    await using server = await target();
    expect((await run(`http://${server.address}/big`, {}, testContext({ outputMaxBytes: 10 }))).output).toMatch(
      /200 OK Output: a{7}END$/,
    );
  });

  test("an endless body is given up, its status counts", async () => {
    await using server = await target();
    const startedAt = performance.now();
    expect((await run(`http://${server.address}/endless`)).status).toBe("passing");
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  test("a body that never ends within the timeout counts as far as it came", async () => {
    await using server = await target();
    expect((await run(`http://${server.address}/part`, { TimeoutMs: 200 })).output).toMatch(/200 OK Output: part$/);
  });

  test.each([
    ["HTTP/1.1 200 Fine Thanks\r\n\r\nbody", "passing", "HTTP GET URL: 200 Fine Thanks Output: body"],
    ["HTTP/1.1 200\r\n\r\nb", "passing", "HTTP GET URL: 200 Output: b"],
    ["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "passing", "HTTP GET URL: 200 OK Output: abc"],
    [
      "not http at all\r\n\r\n",
      "critical",
      'Get "URL": net/http: HTTP/1.x transport connection broken: Expected HTTP/, RTSP/ or ICE/',
    ],
    ["", "critical", 'Get "URL": EOF'],
    [
      `HTTP/1.1 200 OK\r\nX: ${"h".repeat(300_000)}\r\n\r\n`,
      "critical",
      'Get "URL": net/http: server response headers exceeded 262144 bytes; aborted',
    ],
  ])("raw bytes %#", async (bytes, status, output) => {
    await using server = await tcpServer((socket) => socket.once("data", () => socket.end(bytes)));
    const url = `http://${server.address}/`;
    expect(await run(url)).toEqual({ status, output: output.replace("URL", url) });
  });
});

describe("no answer", () => {
  test("refused", async () => {
    const url = `http://127.0.0.1:${await freePort()}/`;
    expect(await run(url)).toEqual({
      status: "critical",
      output: `Get "${url}": dial tcp ${url.slice(7, -1)}: connect: connection refused`,
    });
  });

  test("closed or silent", async () => {
    await using server = await target();
    expect((await run(`http://${server.address}/reset`)).output).toBe(`Get "http://${server.address}/reset": EOF`);
    expect((await run(`http://${server.address}/hang`, { TimeoutMs: 200 })).output).toBe(
      `Get "http://${server.address}/hang": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
    );
  });

  test.each([
    ["127.0.0.1:80/x", 'parse "127.0.0.1:80/x": first path segment in URL cannot contain colon'],
    ["::not a url", 'parse "::not a url": missing protocol scheme'],
    ["localhost/x", 'Get "localhost/x": unsupported protocol scheme ""'],
    ["ftp://127.0.0.1/", 'Get "ftp://127.0.0.1/": unsupported protocol scheme "ftp"'],
    ["http://127.0.0.1:99999/", 'Get "http://127.0.0.1:99999/": dial tcp: address 99999: invalid port'],
    [
      "http://no-such-host.invalid/",
      'Get "http://no-such-host.invalid/": dial tcp: lookup no-such-host.invalid: no such host',
    ],
  ])("%s", async (url, output) => {
    expect(await run(url)).toEqual({ status: "critical", output });
  });
});

describe("redirects", () => {
  test("are followed with what the check carries on the same host, as a GET", async () => {
    await using server = await target();
    const { output } = await run(`http://${server.address}/to/302?url=/x`, {
      Method: "PUT",
      Body: "b",
      Header: { "X-A": ["1"], Host: ["h.test"] },
    });
    expect(asked(output)).toMatchObject({
      method: "GET",
      url: "/x",
      body: "",
      headers: { "x-a": "1", host: "h.test" },
    });
  });

  test("307 and 308 repeat method and body", async () => {
    await using server = await target();
    const { output } = await run(`http://${server.address}/to/308?url=/x`, { Method: "PUT", Body: "abc" });
    expect(asked(output)).toMatchObject({ method: "PUT", body: "abc" });
  });

  test("lead to another port or scheme of the same host, and to another host only where that is asked for", async () => {
    await using server = await target();
    await using other = await target();
    const elsewhere = `http://${server.address}/to/302?url=http://localhost:${other.port}/x`;
    expect(await run(elsewhere)).toEqual({
      status: "critical",
      output: `Get "${elsewhere}": refusing to follow a redirect to another host, localhost:${other.port}: -follow-redirects-elsewhere allows it`,
    });
    const allowed = testContext({ redirectsElsewhere: true });
    expect((await run(elsewhere, {}, allowed)).status).toBe("passing");
    expect((await run(`http://${server.address}/to/302?url=http://${other.address}/x`)).status).toBe("passing");
  });

  test("carry nothing to another host", async () => {
    await using server = await target();
    await using other = await target();
    const Header = { Authorization: ["t"], Cookie: ["c=1"], "X-Token": ["secret"] };
    const { output } = await run(`http://u:p@${server.address}/to/302?url=http://${other.address}/x`, { Header });
    expect(Object.keys(asked(output).headers).sort()).toEqual(["accept", "connection", "host", "user-agent"]);
    const refused = await run(`http://${server.address}/to/307?url=http://${other.address}/x`, {
      Method: "POST",
      Body: "secret",
    });
    expect(refused.output).toContain("a redirect may not take a request to another host");
  });

  test("are not followed where the check says so", async () => {
    await using server = await target();
    expect((await run(`http://${server.address}/to/302?url=/x`, { DisableRedirects: true })).output).toMatch(
      /302 Found Output: moved$/,
    );
  });

  test("end after ten", async () => {
    await using server = await httpServer((_req, res) => res.writeHead(302, { Location: "/again" }).end());
    expect((await run(`http://${server.address}/`)).output).toBe(
      `Get "http://${server.address}/again": stopped after 10 redirects`,
    );
  });

  test.each([
    ["", "302 response missing Location header"],
    ["ftp://x/y", 'unsupported protocol scheme "ftp"'],
  ])("to '%s' are critical", async (location, why) => {
    await using server = await target();
    expect((await run(`http://${server.address}/to/302?url=${location}`)).output).toContain(why);
  });

  test.each(["http://169.254.169.254/latest", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/"])(
    "to %s are refused",
    async (location) => {
      await using server = await target();
      const allowed = testContext({ redirectsElsewhere: true });
      expect((await run(`http://${server.address}/to/302?url=${location}`, {}, allowed)).output).toContain(
        "link-local addresses are refused",
      );
      expect((await run(location)).output).toContain("link-local addresses are refused");
    },
  );
});

// SECURITY.md CHK-03
describe("TLS", async () => {
  const ca = await createInternalCa({ now: Date.now() - 10 * 86_400_000 });
  const roots = createSecureContext({ ca: ca.certPem });
  const serve = (days: number, now = Date.now()) => {
    const { certPem, keyPem } = createInternalCertificate({ ca, role: "health", dc: "dc1", days, now });
    return listen(createTlsServer({ cert: certPem, key: keyPem }, (_req, res) => void res.end("secure")));
  };

  test("a certificate of a known CA for the very name", async () => {
    await using server = await serve(1);
    expect((await run(`https://${server.address}/`, {}, testContext({ roots: () => roots }))).status).toBe("passing");
    expect(
      (await run(`https://${server.address}/`, { TLSServerName: "localhost" }, testContext({ roots: () => roots })))
        .status,
    ).toBe("passing");
  });

  test.each([
    ["of an unknown CA", 1, Date.now(), false, {}, "x509: certificate signed by unknown authority"],
    ["expired", 1, Date.now() - 3 * 86_400_000, true, {}, "x509: certificate has expired or is not yet valid"],
    [
      "for other names",
      1,
      Date.now(),
      true,
      { TLSServerName: "other.test" },
      "x509: certificate is valid for health.dc1.consul, localhost, not other.test",
    ],
    ["for other addresses", 1, Date.now(), true, { TLSServerName: "10.1.1.1" }, "not 10.1.1.1"],
  ])("%s is critical, unless that very check skips it", async (_title, days, now, isKnown, fields, why) => {
    await using server = await serve(days, now);
    const context = testContext(isKnown ? { roots: () => roots } : {});
    const refused = await run(`https://${server.address}/`, fields, context);
    expect(refused.status).toBe("critical");
    expect(refused.output).toContain(why);
    expect((await run(`https://${server.address}/`, { ...fields, TLSSkipVerify: true }, context)).status).toBe(
      "passing",
    );
    expect((await run(`https://${server.address}/`, fields, context)).status).toBe("critical");
  });

  test("skipping ends at a redirect to another host", async () => {
    await using server = await serve(1);
    await using other = await serve(1);
    const { certPem, keyPem } = createInternalCertificate({ ca, role: "health", dc: "dc1" });
    await using redirecting = await listen(
      createTlsServer(
        { cert: certPem, key: keyPem },
        (_req, res) => void res.writeHead(302, { Location: `https://${other.address}/` }).end(),
      ),
    );
    expect((await run(`https://${server.address}/`, { TLSSkipVerify: true })).status).toBe("passing");
    expect((await run(`https://${redirecting.address}/`, { TLSSkipVerify: true })).output).toContain(
      "certificate signed by unknown authority",
    );
  });

  test("a server that speaks no TLS", async () => {
    await using server = await target();
    expect((await run(`https://${server.address}/`)).output).toContain(
      "http: server gave HTTP response to HTTPS client",
    );
  });
});
