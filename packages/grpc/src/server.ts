/** As much of a gRPC server as streams of answers need (gRPC over HTTP/2), over node:http2 in plain text for a Unix socket. */
import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { toFrame } from "./frame.ts";
import { encodeStatusMessage, GRPC, GrpcError } from "./status.ts";

const MAX_REQUEST_BYTES = 4_096; // requests are empty
const MAX_BACKLOG_BYTES = 1024 * 1024; // who does not read is ended
const MAX_STREAMS = 32; // of one connection
const MAX_CONNECTIONS = 64;
const HEADERS = { ":status": 200, "content-type": "application/grpc" };

export interface GrpcCall {
  headers: IncomingHttpHeaders;
  /** Aborts when the caller has gone. */
  signal: AbortSignal;
  send: (message: Buffer) => void;
}

/** A method that answers with a stream; what it throws is the status. */
export type GrpcMethod = (call: GrpcCall) => Promise<void>;

/** Methods by their path. Listens nowhere yet. */
export function createGrpcServer(methods: Record<string, GrpcMethod>): Http2Server {
  const server = createServer({ settings: { maxConcurrentStreams: MAX_STREAMS } });
  server.maxConnections = MAX_CONNECTIONS;
  server.on("sessionError", ignore);
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on("error", ignore);
    answer(stream, headers, methods[headers[":path"] ?? ""]).catch(() => stream.close());
  });
  return server;
}

async function answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, method?: GrpcMethod): Promise<void> {
  if (headers[":method"] !== "POST" || !headers["content-type"]?.startsWith("application/grpc")) {
    stream.respond({ ":status": 415 }, { endStream: true });
    return;
  }
  const gone = new AbortController();
  stream.once("close", () => gone.abort());
  let isOpen = false;
  const send = (message: Buffer) => {
    if (stream.destroyed || stream.closed) return; // Node throws for one that was ended
    if (stream.writableLength > MAX_BACKLOG_BYTES) throw new GrpcError(GRPC.resourceExhausted, "answers are not read");
    if (!isOpen) stream.respond(HEADERS, { waitForTrailers: true });
    isOpen = true;
    stream.write(toFrame(message));
  };
  const status = await readRequest(stream)
    .then(() => {
      if (!method) throw new GrpcError(GRPC.unimplemented, "this is not served here");
      return method({ headers, signal: gone.signal, send });
    })
    .then(
      () => ({ "grpc-status": String(GRPC.ok) }),
      (error: unknown) => statusOf(error),
    );
  if (stream.destroyed || stream.closed) return;
  if (!isOpen) return stream.respond({ ...HEADERS, ...status }, { endStream: true });
  stream.once("wantTrailers", () => stream.sendTrailers(status));
  stream.end();
}

async function readRequest(stream: ServerHttp2Stream): Promise<void> {
  let length = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_REQUEST_BYTES) throw new GrpcError(GRPC.resourceExhausted, "the request is too long");
  }
}

function statusOf(error: unknown): Record<string, string> {
  const { grpcCode, message } = error instanceof GrpcError ? error : new GrpcError(GRPC.internal, "internal error");
  return { "grpc-status": String(grpcCode), "grpc-message": encodeStatusMessage(message) };
}

function ignore(): void {}
