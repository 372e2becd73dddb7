import { createInternalCa, createInternalCertificate } from "@heddle/tls";
import { createSecureServer, createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { createSecureContext } from "node:tls";
import { describe, expect, test } from "vitest";
import type { Check } from "../check.ts";
import { freePort, listen, tcpServer, testContext, type TestServer } from "../testing.ts";
import { probe as grpc } from "./grpc.ts";
import { probe as h2ping } from "./h2ping.ts";

const SERVING: Record<string, number> = { "": 1, up: 1, down: 2, unknown: 0, "service-unknown": 3 };

function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** A gRPC server whose services are answers, right and wrong. */
function health(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  const chunks: Buffer[] = [];
  const grpcHead = { ":status": 200, "content-type": "application/grpc" };
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("end", () => {
    const request = Buffer.concat(chunks);
    const service = request.subarray(7).toString("utf8");
    if (headers[":path"] !== "/grpc.health.v1.Health/Check") return stream.close(1);
    if (service === "hang") return;
    if (service === "reset") return stream.close(2);
    if (service === "html")
      return void (stream.respond({ ":status": 404, "content-type": "text/html" }), stream.end("<x>"));
    if (service === "no-trailers") return void (stream.respond(grpcHead), stream.end(frame(Buffer.from([8, 1]))));
    if (service === "error")
      return stream.respond({ ...grpcHead, "grpc-status": "13", "grpc-message": "boom%20x" }, { endStream: true });
    if (!Object.hasOwn(SERVING, service))
      return stream.respond(
        { ...grpcHead, "grpc-status": "5", "grpc-message": "unknown service" },
        { endStream: true },
      );
    stream.respond(grpcHead, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    const status = SERVING[service] as number;
    stream.end(frame(status === 0 ? Buffer.alloc(0) : Buffer.from([8, status])));
  });
}
const grpcServer = (): Promise<TestServer> =>
  listen(
    createServer()
      .on("stream", health)
      .on("sessionError", () => {}),
  );
const run = (GRPC: string, fields: Partial<Check> = {}, context = testContext()) =>
  grpc({ CheckID: "c", GRPC, TimeoutMs: 500, ...fields }, context);

describe("gRPC", () => {
  // Texts of Consul 1.8.7.
  test.each([
    ["", "passing", "gRPC check ADDRESS: success"],
    ["/", "passing", "gRPC check ADDRESS/: success"],
    ["/up", "passing", "gRPC check ADDRESS/up: success"],
    ["/down", "critical", "gRPC application didn't report service healthy"],
    ["/unknown", "critical", "gRPC application didn't report service healthy"],
    ["/service-unknown", "critical", "gRPC application didn't report service healthy"],
    ["/nope", "critical", "rpc error: code = NotFound desc = unknown service"],
    ["/error", "critical", "rpc error: code = Internal desc = boom x"],
    [
      "/reset",
      "critical",
      "rpc error: code = Internal desc = stream terminated by RST_STREAM with error code: INTERNAL_ERROR",
    ],
    ["/no-trailers", "critical", "rpc error: code = Internal desc = server closed the stream without sending trailers"],
    [
      "/html",
      "critical",
      'rpc error: code = Unimplemented desc = Not Found: HTTP status code 404; transport: received the unexpected content-type "text/html"',
    ],
    ["/hang", "critical", "rpc error: code = DeadlineExceeded desc = context deadline exceeded"],
  ])("'%s'", async (service, status, output) => {
    await using server = await grpcServer();
    expect(await run(server.address + service)).toEqual({ status, output: output.replace("ADDRESS", server.address) });
  });

  test("nobody, nothing and something else", async () => {
    const nobody = `127.0.0.1:${await freePort()}`;
    const transport = (why: string) =>
      `rpc error: code = Unavailable desc = connection error: desc = "transport: ${why}"`;
    expect((await run(nobody)).output).toBe(
      transport(`Error while dialing dial tcp ${nobody}: connect: connection refused`),
    );
    expect((await run("127.0.0.1")).output).toBe(
      transport("Error while dialing dial tcp: address 127.0.0.1: missing port in address"),
    );
    await using silent = await tcpServer();
    expect((await run(silent.address)).output).toBe(
      "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
    );
    await using other = await tcpServer((socket) => socket.end("not http\r\n\r\n"));
    expect((await run(other.address)).output).toBe("rpc error: code = Unavailable desc = connection closed");
    expect((await run(other.address, { GRPCUseTLS: true })).output).toBe(
      transport("authentication handshake failed: tls: first record does not look like a TLS handshake"),
    );
  });
});

describe("TLS", async () => {
  const ca = await createInternalCa();
  const roots = () => createSecureContext({ ca: ca.certPem });
  const { certPem, keyPem } = createInternalCertificate({ ca, role: "health", dc: "dc1" });
  const secureServer = () =>
    listen(
      createSecureServer({ cert: certPem, key: keyPem })
        .on("stream", health)
        .on("sessionError", () => {}),
    );

  test("gRPC verifies the target unless that very check skips it", async () => {
    await using server = await secureServer();
    expect((await run(server.address, { GRPCUseTLS: true })).output).toContain(
      "x509: certificate signed by unknown authority",
    );
    expect((await run(server.address, { GRPCUseTLS: true }, testContext({ roots }))).status).toBe("passing");
    expect((await run(server.address, { GRPCUseTLS: true, TLSSkipVerify: true })).status).toBe("passing");
    expect(
      (await run(server.address, { GRPCUseTLS: true, TLSServerName: "other.test" }, testContext({ roots }))).output,
    ).toContain("not other.test");
  });

  test("H2PING uses TLS unless the check says not", async () => {
    await using server = await secureServer();
    await using plain = await grpcServer();
    const ping = (H2PING: string, fields: Partial<Check> = {}) =>
      h2ping({ CheckID: "c", H2PING, TimeoutMs: 500, ...fields }, testContext({ roots }));
    const success = { status: "passing", output: "HTTP2 ping was successful" };
    expect(await ping(server.address)).toEqual(success);
    expect(await ping(plain.address, { H2PingUseTLS: false })).toEqual(success);
    expect((await ping(plain.address)).output).toBe(
      `Failed to dial to ${plain.address}: tls: first record does not look like a TLS handshake`,
    );
    await using silent = await tcpServer();
    expect(await ping(silent.address, { H2PingUseTLS: false })).toEqual({
      status: "critical",
      output: "HTTP2 ping failed: context deadline exceeded",
    });
    await using other = await tcpServer((socket) => socket.end("HTTP/1.1 200 OK\r\n\r\n"));
    expect((await ping(other.address, { H2PingUseTLS: false })).output).toMatch(/^HTTP2 ping failed: /);
    const nobody = `127.0.0.1:${await freePort()}`;
    expect((await ping(nobody)).output).toBe(
      `Failed to dial to ${nobody}: dial tcp ${nobody}: connect: connection refused`,
    );
  });
});
