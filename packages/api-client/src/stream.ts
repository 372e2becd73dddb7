/**
 * Client of the change stream (`/v1/stream`): one WebSocket that carries any number of subscriptions, connects again by
 * itself and resumes each by its index, so that nothing is missed and nothing is sent twice.
 */
import { backoffMs, describeError, type Logger } from "@heddle/daemon";
import { type ClientOptions, WebSocket } from "ws";
import { toTarget } from "./server-names.ts";
import { serverList } from "./servers.ts";
import { type TlsSource, tlsOptions } from "./transport.ts";

const RETRY_BASE_MS = 50;
const RETRY_MAX_MS = 2_000;
const SILENCE_MS = 40_000; // the server pings each 15 s: two lost pings mean that it is gone
const HANDSHAKE_TIMEOUT_MS = 5_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

export interface StreamAnswer<T = unknown> {
  index: number;
  /** The JSON answer; null for not found. */
  body: T;
}

export interface StreamHandlers<T> {
  onAnswer: (answer: StreamAnswer<T>) => void;
  /** The server refused the path: the subscription is over. */
  onError?: (error: Error) => void;
}

export interface StreamClient {
  readonly connected: boolean;
  subscribe<T = unknown>(path: string, handlers: StreamHandlers<T>): { close(): void };
  /** Called at each change of `connected`; returns its undoing. */
  onState(listener: (connected: boolean) => void): () => void;
  close(): void;
}

export interface StreamClientOptions {
  /** The catalog's or the agent's address: "http://127.0.0.1:8300"; several with commas between them. */
  url: string;
  tls?: TlsSource | undefined;
  log: Logger;
}

interface Subscription {
  path: string;
  index: number;
  handlers: StreamHandlers<unknown>;
}

export function createStreamClient({ url, tls, log }: StreamClientOptions): StreamClient {
  const servers = serverList(url);
  // ws passes what it does not know on to tls.connect; its types say otherwise of checkServerIdentity.
  const secure = (): ClientOptions => (url.startsWith("https:") ? (tlsOptions(tls) as ClientOptions) : {});
  const options: ClientOptions = {
    perMessageDeflate: false,
    maxPayload: MAX_ANSWER_BYTES,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  };
  const subscriptions = new Map<number, Subscription>();
  const listeners = new Set<(connected: boolean) => void>();
  let socket: WebSocket | undefined;
  let isConnected = false;
  let attempt = 0;
  let nextId = 1;
  /** Of the server that the indexes are of; another one (or the same, started again) is asked for everything. */
  let instance: unknown;
  let timer: NodeJS.Timeout | undefined;
  let silence: NodeJS.Timeout | undefined;
  let isClosed = false;

  const setConnected = (value: boolean) => {
    if (isConnected === value) return;
    isConnected = value;
    for (const listener of listeners) listener(value);
  };
  const ask = (id: number, { path, index }: Subscription) =>
    socket?.send(JSON.stringify({ id, subscribe: path, index }));
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => socket?.terminate(), SILENCE_MS);
    silence.unref();
  };
  const connect = () => {
    if (isClosed) return;
    timer = undefined;
    const server = servers.current;
    const target = toTarget(server);
    const current = new WebSocket(`${target.url.replace(/^http/, "ws").replace(/\/$/, "")}/v1/stream`, {
      ...options,
      ...target.options,
      ...secure(),
    });
    socket = current;
    current.on("upgrade", ({ headers }) => {
      if (headers["x-heddle-instance"] === instance) return;
      instance = headers["x-heddle-instance"];
      for (const subscription of subscriptions.values()) subscription.index = 0;
    });
    current.on("open", () => {
      if (attempt > 0) log.info("connected to the catalog's stream again", { url: server });
      attempt = 0;
      heard();
      for (const [id, subscription] of subscriptions) ask(id, subscription);
      setConnected(true);
    });
    current.on("ping", heard);
    current.on("message", (data: Buffer) => {
      heard();
      try {
        receive(data);
      } catch (error) {
        // Out of here it would end the process; on a new connection everything is asked for again.
        log.error("cannot take over what the catalog's stream says, connecting anew", { error: describeError(error) });
        for (const subscription of subscriptions.values()) subscription.index = 0;
        current.terminate();
      }
    });
    current.on("error", (error) => {
      if (attempt === 0)
        log.warn("lost the catalog's stream, trying again", { url: server, error: describeError(error) });
    });
    current.on("close", () => {
      clearTimeout(silence);
      setConnected(false);
      if (isClosed) return;
      servers.failed(server);
      timer = setTimeout(connect, backoffMs(attempt++, RETRY_BASE_MS, RETRY_MAX_MS));
      timer.unref();
    });
  };
  const receive = (data: Buffer) => {
    const message = JSON.parse(data.toString("utf8")) as {
      id: number | null;
      index?: number;
      body?: unknown;
      error?: { code: string; message: string };
    };
    const subscription = message.id === null ? undefined : subscriptions.get(message.id);
    if (!subscription) return;
    if (message.error) {
      subscriptions.delete(message.id as number);
      const error = new Error(`${subscription.path}: ${message.error.message}`);
      if (subscription.handlers.onError) subscription.handlers.onError(error);
      else log.error("the catalog refused a subscription", { path: subscription.path, error: error.message });
      return;
    }
    subscription.index = message.index ?? 0;
    subscription.handlers.onAnswer({ index: subscription.index, body: message.body });
  };
  // Somebody else has found that the server is gone, which this connection may not notice for long.
  const off = servers.onMove((left) => {
    if (left === servers.current) attempt = Math.min(attempt, 1); // it is there: no long pause now
    if (left !== servers.current || !timer) return socket?.terminate();
    clearTimeout(timer);
    connect();
  });
  connect();
  return {
    get connected() {
      return isConnected;
    },
    subscribe<T>(path: string, handlers: StreamHandlers<T>) {
      const id = nextId++;
      const subscription: Subscription = { path, index: 0, handlers: handlers as StreamHandlers<unknown> };
      subscriptions.set(id, subscription);
      if (isConnected) ask(id, subscription);
      return {
        close() {
          if (subscriptions.delete(id) && isConnected) socket?.send(JSON.stringify({ id, unsubscribe: true }));
        },
      };
    },
    onState(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      isClosed = true;
      off();
      clearTimeout(timer);
      clearTimeout(silence);
      socket?.terminate();
    },
  };
}
