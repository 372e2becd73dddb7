/**
 * gRPC to one server over node:http2 (grpc.io, PROTOCOL-HTTP2): calls with one answer, and calls that go on in both ways.
 * Why not a package: docs/decisions/0014-etcd.md.
 */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type IncomingHttpHeaders } from "node:http2";
import type { SecureContextOptions } from "node:tls";
import { createFrameReader, toFrame } from "./frame.ts";
import { decodeStatusMessage, GRPC, GrpcError } from "./status.ts";

const MAX_MESSAGE_BYTES = 512 * 1024 * 1024; // a page of records, or one revision's events
const WINDOW_BYTES = 8 * 1024 * 1024; // HTTP/2's own 64 KiB would make each page of a load a round trip
const CONNECT_TIMEOUT_MS = 1_000;
const PING_TIMEOUT_MS = 500; // a server whose disk is slow answers at once, one that hangs does not

export interface CallOptions {
  timeoutMs: number;
  metadata?: Record<string, string>;
}

export interface GrpcStream {
  send(message: Buffer): void;
  /** Ends the call; no handler is called after. */
  cancel(): void;
}

export interface StreamHandlers {
  onMessage: (message: Buffer) => void;
  /** Called once, when the server ended the call or the connection broke. */
  onEnd: (error: GrpcError) => void;
}

export interface Channel {
  /** "http://host:port" or "https://…". */
  readonly url: string;
  call(path: string, message: Buffer, options: CallOptions): Promise<Buffer>;
  stream(path: string, metadata: Record<string, string>, handlers: StreamHandlers): GrpcStream;
  /**
   * Gives the connection up, so that the next call makes a new one: for one that does not answer in time. Where its server is slow
   * and lives, what is open on it goes on; where it answers no ping, all of that ends.
   */
  reset(): void;
  close(): void;
}

export interface ChannelOptions {
  tls?: SecureContextOptions | undefined;
}

/**
 * Node aborts where a stream or session is ended from a callback of its own that was reached from reading the socket
 * (nodejs/node#38964): it is done in a turn of its own.
 */
const inOwnTurn = (end: () => void): void => void setImmediate(end);

/** Connects with the first call, and again after the connection ended. */
export function createChannel(url: string, { tls }: ChannelOptions = {}): Channel {
  let session: ClientHttp2Session | undefined;
  let isClosed = false;

  const open = (): ClientHttp2Session => {
    if (isClosed) throw new GrpcError(GRPC.unavailable, `the connection to ${url} is closed`, { wasSent: false });
    if (session && !session.destroyed && !session.closed) return session;
    const next = connect(url, { ...tls, settings: { initialWindowSize: WINDOW_BYTES, enablePush: false } });
    session = next;
    const timer = setTimeout(() => next.destroy(new Error("the connection timed out")), CONNECT_TIMEOUT_MS);
    next.once("connect", () => {
      clearTimeout(timer);
      if (!next.destroyed) next.setLocalWindowSize(WINDOW_BYTES); // Node tells it of a session that was ended before, too
    });
    next.on("error", () => {}); // the streams are told
    next.once("close", () => {
      clearTimeout(timer);
      if (session === next) session = undefined;
    });
    next.on("goaway", () => {
      if (session === next) session = undefined;
      inOwnTurn(() => next.close());
    });
    return next;
  };

  const request = (path: string, metadata: Record<string, string>) => {
    const used = open();
    const head = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
    try {
      const stream = used.request({ ...head, "user-agent": "heddle", ...metadata }, { endStream: false });
      return { stream, wasConnected: () => !used.connecting };
    } catch (error) {
      // Node's own words for a session that is about to end.
      throw new GrpcError(GRPC.unavailable, `cannot ask ${url}: ${(error as Error).message}`, { wasSent: false });
    }
  };

  return {
    url,
    call(path, message, { timeoutMs, metadata = {} }) {
      return new Promise((resolve, reject) => {
        const { stream, wasConnected } = request(path, { ...metadata, "grpc-timeout": `${Math.ceil(timeoutMs)}m` });
        const messages: Buffer[] = [];
        const timer = setTimeout(() => {
          end(new GrpcError(GRPC.deadlineExceeded, `no answer from ${url} within ${timeoutMs} ms`));
          inOwnTurn(() => stream.close());
        }, timeoutMs);
        const end = (error: GrpcError | undefined) => {
          clearTimeout(timer);
          const [first] = messages;
          if (error) reject(error);
          else if (first) resolve(first);
          else reject(new GrpcError(GRPC.unknown, `${url} answered nothing to ${path}`));
        };
        receive(stream, { url, wasConnected, onMessage: (bytes) => messages.push(bytes), onEnd: end });
        stream.end(toFrame(message));
      });
    },
    stream(path, metadata, { onMessage, onEnd }) {
      const { stream, wasConnected } = request(path, metadata);
      let isOver = false;
      const end = (error: GrpcError) => {
        if (isOver) return;
        isOver = true;
        onEnd(error);
      };
      receive(stream, {
        ...{ url, wasConnected },
        onMessage: (bytes) => {
          if (isOver) return;
          try {
            onMessage(bytes);
          } catch (error) {
            // Out of a socket's callback it would end the process.
            inOwnTurn(() => stream.close());
            end(new GrpcError(GRPC.internal, `cannot take what ${url} sent on ${path}: ${(error as Error).message}`));
          }
        },
        onEnd: (error) => end(error ?? new GrpcError(GRPC.unavailable, `${url} ended ${path}`)),
      });
      return {
        send: (message) => void (stream.writable && stream.write(toFrame(message))),
        cancel: () => {
          isOver = true;
          inOwnTurn(() => stream.close());
        },
      };
    },
    reset() {
      const gone = session;
      session = undefined;
      if (gone) inOwnTurn(() => retire(gone));
    },
    close() {
      isClosed = true;
      inOwnTurn(() => session?.destroy());
    },
  };
}

function retire(session: ClientHttp2Session): void {
  if (session.destroyed) return;
  const timer = setTimeout(() => session.destroy(), PING_TIMEOUT_MS);
  const isSent = session.ping((error) => {
    clearTimeout(timer);
    inOwnTurn(() => (error ? session.destroy() : session.close()));
  });
  if (isSent) return;
  clearTimeout(timer);
  session.destroy();
}

interface Receiver {
  url: string;
  wasConnected: () => boolean;
  onMessage: (message: Buffer) => void;
  /** With undefined where the call ended well. */
  onEnd: (error: GrpcError | undefined) => void;
}

function receive(stream: ClientHttp2Stream, { url, wasConnected, onMessage, onEnd }: Receiver): void {
  let head: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders | undefined;
  let why = "the connection was closed";
  const frames = createFrameReader(MAX_MESSAGE_BYTES, onMessage, () => {
    why = `a message is longer than ${MAX_MESSAGE_BYTES} bytes`;
    inOwnTurn(() => stream.close());
  });
  stream.on("response", (headers) => (head = headers));
  stream.on("trailers", (headers: IncomingHttpHeaders) => (trailers = headers));
  stream.on("data", frames);
  stream.on("error", (error: NodeJS.ErrnoException) => (why = error.message));
  stream.once("close", () => {
    const ended = trailers ?? head; // an answer of headers alone carries its status there
    const status = ended["grpc-status"];
    if (status === "0") return onEnd(undefined);
    if (status === undefined)
      return onEnd(new GrpcError(GRPC.unavailable, `cannot ask ${url}: ${why}`, { wasSent: wasConnected() }));
    onEnd(new GrpcError(Number(status), decodeStatusMessage(String(ended["grpc-message"] ?? ""))));
  });
}
