/** gRPC's health protocol (grpc.health.v1.Health/Check) over node:http2: "host:port" or "host:port/service". */
import { STATUS_CODES } from "node:http";
import { constants, type IncomingHttpHeaders } from "node:http2";
import { decodeStatusMessage, FRAME_HEAD_BYTES, MessageWriter, toFrame } from "@heddle/grpc";
import { dial, HandshakeError, splitHostPort, targetTls } from "./dial.ts";
import { openSession } from "./http2-session.ts";
import { critical, passing, type Probe, ProbeError, type ProbeContext, timeoutOf } from "./probe.ts";

const PATH = "/grpc.health.v1.Health/Check";
const MAX_REPLY_BYTES = 4_096;
const SERVING = 1;
// The codes of gRPC by number.
const CODES = [
  "OK",
  "Canceled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated",
];
// What an HTTP status means where a server does not speak gRPC (gRPC over HTTP/2, "http-grpc-status-mapping").
const HTTP_CODES: Record<number, string> = {
  400: "Internal",
  401: "Unauthenticated",
  403: "PermissionDenied",
  404: "Unimplemented",
  429: "Unavailable",
  502: "Unavailable",
  503: "Unavailable",
  504: "Unavailable",
};

const failure = (code: string, description: string) =>
  new ProbeError(`rpc error: code = ${code} desc = ${description}`);
const unreachable = (why: string) => failure("Unavailable", `connection error: desc = "transport: ${why}"`);

export const probe: Probe = async (check, context) => {
  const target = check.GRPC ?? "";
  const slash = target.indexOf("/");
  const address = slash < 0 ? target : target.slice(0, slash);
  const service = slash < 0 ? "" : target.slice(slash + 1);
  const deadlineAt = context.clock.now() + timeoutOf(check);
  try {
    const tls = check.GRPCUseTLS
      ? { ...targetTls(check, splitHostPort(address).host, context), ALPNProtocols: ["h2"] }
      : undefined;
    const socket = await dial(address, { timeoutMs: timeoutOf(check), context, ...(tls && { tls }) }).catch(
      (error: Error) => {
        if (error instanceof HandshakeError) throw unreachable(`authentication handshake failed: ${error.message}`);
        if (error.message.endsWith("i/o timeout")) throw failure("DeadlineExceeded", "context deadline exceeded");
        throw unreachable(`Error while dialing ${error.message}`);
      },
    );
    const session = openSession(socket, address);
    try {
      const status = await ask(session, service, Math.max(0, deadlineAt - context.clock.now()), context);
      return status === SERVING
        ? passing(`gRPC check ${target}: success`)
        : critical("gRPC application didn't report service healthy");
    } finally {
      session.destroy();
      socket.destroy();
    }
  } catch (error) {
    const { message } = error as Error;
    return critical(message.startsWith("dial tcp") ? unreachable(`Error while dialing ${message}`).message : message);
  }
};

function ask(
  session: ReturnType<typeof openSession>,
  service: string,
  timeoutMs: number,
  context: ProbeContext,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const settle = (result: number | ProbeError) => {
      timer.cancel();
      context.signal.removeEventListener("abort", onAbort);
      if (typeof result === "number") resolve(result);
      else reject(result);
    };
    const timer = context.clock.after(timeoutMs, () =>
      settle(failure("DeadlineExceeded", "context deadline exceeded")),
    );
    const onAbort = () => settle(failure("Canceled", "context canceled"));
    context.signal.addEventListener("abort", onAbort, { once: true });
    session.once("close", () => settle(failure("Unavailable", "connection closed")));
    const stream = session.request(
      {
        ":method": "POST",
        ":path": PATH,
        "content-type": "application/grpc",
        te: "trailers",
        "user-agent": "heddle",
        "grpc-timeout": `${Math.ceil(timeoutMs)}m`,
      },
      { endStream: false },
    );
    const chunks: Buffer[] = [];
    let size = 0;
    let head: IncomingHttpHeaders & { ":status"?: number } = {};
    let trailers: IncomingHttpHeaders | undefined;
    stream.on("response", (headers) => (head = headers));
    stream.on("trailers", (headers: IncomingHttpHeaders) => (trailers = headers));
    stream.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_REPLY_BYTES)
        settle(failure("ResourceExhausted", `grpc: received message larger than max (${size} vs. ${MAX_REPLY_BYTES})`));
      else chunks.push(chunk);
    });
    stream.on("error", () => {}); // "close" follows
    stream.once("close", () => {
      if (stream.rstCode !== constants.NGHTTP2_NO_ERROR && head["grpc-status"] === undefined)
        return settle(
          session.destroyed
            ? failure("Unavailable", "connection closed")
            : failure("Internal", `stream terminated by RST_STREAM with error code: ${resetName(stream.rstCode)}`),
        );
      try {
        settle(readReply(head, trailers, Buffer.concat(chunks)));
      } catch (error) {
        settle(error as ProbeError);
      }
    });
    // HealthCheckRequest { string service = 1; }
    stream.end(toFrame(new MessageWriter().bytes(1, service).finish()));
  });
}

function readReply(
  head: IncomingHttpHeaders & { ":status"?: number },
  trailers: IncomingHttpHeaders | undefined,
  body: Buffer,
): number {
  const http = head[":status"] ?? 0;
  const type = head["content-type"] ?? "";
  if (http === 0) throw failure("Unavailable", "connection closed");
  if (!type.startsWith("application/grpc"))
    throw failure(
      HTTP_CODES[http] ?? "Unknown",
      `${STATUS_CODES[http] ?? ""}: HTTP status code ${http}; transport: received the unexpected content-type ${JSON.stringify(type)}`,
    );
  const ended = trailers ?? head; // an answer of headers alone carries its status there
  if (ended["grpc-status"] === undefined)
    throw failure("Internal", "server closed the stream without sending trailers");
  const code = Number(ended["grpc-status"]);
  if (code !== 0)
    throw failure(
      CODES[code] ?? `Code(${String(ended["grpc-status"]).slice(0, 8)})`,
      decodeStatusMessage(String(ended["grpc-message"] ?? "")),
    );
  const end = FRAME_HEAD_BYTES + (body.length < FRAME_HEAD_BYTES ? 0 : body.readUInt32BE(1));
  if (body.length < end) throw failure("Internal", "unexpected EOF");
  if (body[0] !== 0) throw failure("Internal", "grpc: compressed messages are not accepted");
  return servingStatus(body.subarray(FRAME_HEAD_BYTES, end));
}

// HealthCheckResponse { ServingStatus status = 1; }: absent means 0, unknown.
function servingStatus(message: Buffer): number {
  return message.length >= 2 && message[0] === 0x08 ? (message[1] as number) : 0;
}

const RESETS = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED",
];
const resetName = (code: number): string => RESETS[code] ?? String(code);
