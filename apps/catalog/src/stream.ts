/**
 * The change stream: `/v1/stream`, a WebSocket on which any blocking read can be subscribed to, the CA's too. The first message is
 * the answer as it stands (or the first past the caller's index), then one for each change.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { describeError, type Followable, HeddleError, InvalidArgumentError, type Logger } from "@heddle/daemon";
import { loadRegexps, needsRegexps } from "@heddle/filter";
import { type WebSocket, WebSocketServer } from "ws";
import type { Answer, Question } from "./answers.ts";
import type { Ask } from "./blocking.ts";
import type { CatalogState } from "./state.ts";

const MAX_MESSAGE_BYTES = 64 * 1024;
const MAX_SUBSCRIPTIONS = 10_000; // a connection: a DNS server follows some thousands of services
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024; // a reader that falls this far behind is closed: it resumes by index
const PING_INTERVAL_MS = 15_000;
const ROUND_MS = 10 * 60_000; // a subscription asks anew this often; nothing is sent unless something changed

export interface StreamDeps {
  state: CatalogState;
  questions: Record<string, Ask>;
  /** Reads of other daemons, by path: they are followed without parameters. */
  beside: () => Readonly<Record<string, Followable>>;
  log: Logger;
}

export interface StreamServer {
  /** Takes the connection over when it asks for the stream. */
  upgrade(req: IncomingMessage, socket: Socket, head: Buffer): boolean;
  readonly connections: number;
  close(): void;
}

export function createStreamServer(deps: StreamDeps): StreamServer {
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES, perMessageDeflate: false });
  const pinger = setInterval(() => server.clients.forEach((client) => ping(client)), PING_INTERVAL_MS);
  pinger.unref();
  // Tells a client that comes back whether its indexes go on here: another life of the process may have counted anew.
  const { instance } = deps.state.store;
  server.on("headers", (headers) => void headers.push(`X-Heddle-Instance: ${instance}`));
  server.on("connection", (socket) => serveConnection(socket, deps));
  return {
    upgrade(req, socket, head) {
      if (req.url?.split("?")[0] !== "/v1/stream") return false;
      server.handleUpgrade(req, socket, head, (client) => server.emit("connection", client, req));
      return true;
    },
    get connections() {
      return server.clients.size;
    },
    close() {
      clearInterval(pinger);
      for (const client of server.clients) client.close(1001, "the catalog is closing");
      server.close();
    },
  };
}

const silent = new WeakSet<WebSocket>();
function ping(client: WebSocket): void {
  if (silent.has(client)) return client.terminate();
  silent.add(client);
  client.ping();
}

type Request = { id: number; subscribe?: string; index?: number; unsubscribe?: boolean };

function serveConnection(socket: WebSocket, { state, questions, beside, log }: StreamDeps): void {
  const subscriptions = new Map<number, { cancel: () => void }>();
  const send = (message: string) => {
    if (socket.bufferedAmount > MAX_BUFFERED_BYTES) {
      log.warn("a stream's reader is too slow, closing it; it resumes by index", { buffered: socket.bufferedAmount });
      return socket.close(1013, "too slow: resume by index");
    }
    socket.send(message);
  };
  const fail = (id: number | null, error: unknown) => {
    const code = error instanceof HeddleError ? error.code : "internal";
    send(JSON.stringify({ id, error: { code, message: describeError(error) } }));
  };
  const follow = (id: number, question: Question, index: number) => {
    const again = (after: number) => {
      const entry = { cancel: () => {} };
      subscriptions.set(id, entry);
      entry.cancel = state.answers.wait(question, after, ROUND_MS, (answer) => {
        // An answer at once comes before `wait` returns: the entry must not be cancelled by it.
        setImmediate(() => {
          if (subscriptions.get(id) !== entry) return;
          if (answer.index > after || after === 0) send(encode(id, answer));
          again(answer.index);
        });
      }).cancel;
    };
    again(index);
  };
  const followOther = (id: number, read: Followable, index: number) => {
    let sent = index > read.index() ? 0 : index;
    const tell = () => {
      const now = read.index();
      if (now <= sent) return;
      sent = now;
      send(`{"id":${id},"index":${now},"body":${JSON.stringify(read.answer())}}`);
    };
    subscriptions.set(id, { cancel: read.onChanged(tell) });
    tell();
  };
  socket.on("pong", () => silent.delete(socket));
  socket.on("error", (error) => log.debug("a stream failed", { error: describeError(error) }));
  const receive = (data: Buffer) => {
    let id: number | null = null;
    try {
      const message = parseMessage(data);
      id = message.id;
      const request = parseRequest(message);
      if (request.unsubscribe) {
        subscriptions.get(request.id)?.cancel();
        subscriptions.delete(request.id);
        return;
      }
      if (subscriptions.has(request.id))
        throw new InvalidArgumentError(`id ${request.id} is in use on this connection`);
      if (subscriptions.size >= MAX_SUBSCRIPTIONS)
        throw new InvalidArgumentError(`too many subscriptions on one connection: the limit is ${MAX_SUBSCRIPTIONS}`);
      const { subscribe = "", index: after = 0 } = request;
      const others = beside();
      const other = Object.hasOwn(others, subscribe) ? others[subscribe] : undefined;
      if (other) return followOther(request.id, other, after);
      const question = resolve(questions, subscribe);
      if (question.isBytes)
        throw new InvalidArgumentError(
          "?raw cannot be subscribed to: answers of the stream are JSON, with Value in base64",
        );
      // An index past ours is of an earlier life of this catalog, or of before a restore: what the caller has is not ours.
      follow(request.id, question, after > state.topics.index(question.topics) ? 0 : after);
    } catch (error) {
      fail(id, error);
    }
  };
  socket.on("message", (data: Buffer) => {
    if (needsRegexps(data.toString("latin1")))
      loadRegexps().then(
        () => receive(data),
        (error) => fail(null, error),
      );
    else receive(data);
  });
  socket.on("close", () => {
    for (const { cancel } of subscriptions.values()) cancel();
    subscriptions.clear();
  });
}

type Message = { id: number } & Record<string, unknown>;

function parseMessage(data: Buffer): Message {
  let message: unknown;
  try {
    message = JSON.parse(data.toString("utf8"));
  } catch (cause) {
    throw new InvalidArgumentError("a message is not valid JSON", { cause });
  }
  const { id } = (message ?? {}) as Record<string, unknown>;
  if (typeof id !== "number" || !Number.isSafeInteger(id))
    throw new InvalidArgumentError('"id" must be a whole number');
  return message as Message;
}

function parseRequest({ id, subscribe, index, unsubscribe }: Message): Request {
  if (unsubscribe === true) return { id, unsubscribe };
  if (typeof subscribe !== "string")
    throw new InvalidArgumentError('"subscribe" must be the path of a blocking read, such as "/v1/health/service/web"');
  if (index !== undefined && (typeof index !== "number" || index < 0))
    throw new InvalidArgumentError('"index" must be a number from 0');
  return { id, subscribe, ...(index !== undefined && { index }) };
}

/** The question that a path and query ask. Throws InvalidArgumentError for a path that cannot be followed. */
export function resolve(questions: Record<string, Ask>, target: string): Question {
  const { url, path } = parseTarget(target);
  const exact = questions[path];
  if (exact) return exact({ query: url.searchParams, rest: "" });
  for (let i = path.lastIndexOf("/"); i > 0; i = path.lastIndexOf("/", i - 1)) {
    const ask = questions[path.slice(0, i + 1)];
    if (ask) return ask({ query: url.searchParams, rest: path.slice(i + 1) });
  }
  throw notFollowable(target);
}

function parseTarget(target: string): { url: URL; path: string } {
  try {
    const url = new URL(target, "http://catalog");
    return { url, path: decodeURIComponent(url.pathname) };
  } catch (cause) {
    throw notFollowable(target, cause);
  }
}

const notFollowable = (target: string, cause?: unknown) =>
  new InvalidArgumentError(
    `'${target.slice(0, 200)}' cannot be subscribed to: want a blocking read such as "/v1/health/service/web"`,
    { cause },
  );

function encode(id: number, { index, status, body }: Answer): string {
  return `{"id":${id},"index":${index},"body":${status === 200 && body.length > 0 ? body.toString("utf8") : "null"}}`;
}
