/**
 * The agent's end of its lease: one WebSocket to the catalog, on which it says each second that it lives. On the same one the
 * catalog asks it to try to reach other agents that it does not hear of.
 */
import { serverList, toTarget } from "@heddle/api-client";
import { backoffMs, describeError, type Logger } from "@heddle/daemon";
import { type ClientOptions, WebSocket } from "ws";
import { watchWayBack } from "./way-back.ts";

const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 2_000;
const HANDSHAKE_TIMEOUT_MS = 5_000;
const SILENCE_MS = 5_000; // a catalog that answers no heartbeat for this long is connected to anew
const SILENCE_WITH_OTHERS_MS = 1_500; // another one may do better at once
const OVERDUE_MS = 300; // a heartbeat is answered at once: without an answer the way to the catalog is looked at
const MAX_MESSAGE_BYTES = 8 * 1024;
const MIN_HEARTBEAT_MS = 100;
const MAX_HEARTBEAT_MS = 10_000;

export interface LeaseFacts {
  Node: string;
  ID: string;
  Address: string;
  Server: boolean;
  /** Where other agents may ask whether this one lives; 0: nowhere. */
  ProbePort: number;
  ProbeTLS: boolean;
}

export interface LeaseOptions {
  /** The catalog's address: "http://127.0.0.1:8300"; several with commas between them. */
  url: string;
  /** Asked for each connection. */
  tls?: (() => ClientOptions) | undefined;
  facts: LeaseFacts;
  /** The way to the servers was cut and is whole again. */
  onWayBack: () => void;
  /** The catalog does not answer what it answers at once, whether the connection stands or not; and when it does again. */
  onSilence: (isSilent: boolean) => void;
  /** The catalog hears of this node again, after it did not. */
  onRegained: () => void;
  /** A check of a service was critical for as long as its `deregister_critical_service_after` allows. */
  onDeregister: (ask: { service: string; check: string }) => void;
  /** Tries to reach another agent; rejects with the reason where it does not. */
  probe: (target: { node: string; url: string; timeoutMs: number }) => Promise<void>;
  log: Logger;
}

export interface LeaseHolder {
  close(): void;
}

/** Holds this node's lease until it is closed. */
export function holdLease(options: LeaseOptions): LeaseHolder {
  const { url, tls, facts, onDeregister, onRegained, onSilence, onWayBack, probe, log } = options;
  const servers = serverList(url);
  const silenceMs = () => (servers.all.length > 1 ? SILENCE_WITH_OTHERS_MS : SILENCE_MS);
  let socket: WebSocket | undefined;
  let attempt = 0;
  let retry: NodeJS.Timeout | undefined;
  let beating: NodeJS.Timeout | undefined;
  let overdue: NodeJS.Timeout | undefined;
  let isClosed = false;

  const wayBack = watchWayBack(servers, () => {
    log.info("the way to the catalog is back, connecting anew", { url: servers.current });
    servers.renew();
    onWayBack();
  });

  const silent = () => {
    onSilence(true);
    wayBack.silent();
  };

  const connect = () => {
    retry = undefined;
    const server = servers.current;
    const target = toTarget(server);
    const current = new WebSocket(`${target.url.replace(/^http/, "ws").replace(/\/$/, "")}/internal/v1/lease`, {
      ...target.options,
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      ...tls?.(),
    });
    socket = current;
    let heardAt = performance.now();
    const send = (message: object) => {
      if (current.readyState === WebSocket.OPEN) current.send(JSON.stringify(message));
    };
    const beat = (everyMs: number) => {
      clearInterval(beating);
      beating = setInterval(() => {
        if (performance.now() - heardAt > silenceMs()) current.terminate();
        else send({ type: "beat" });
        overdue ??= setTimeout(silent, OVERDUE_MS).unref();
      }, everyMs);
      beating.unref();
    };
    current.on("open", () => send({ type: "hello", ...facts }));
    current.on("message", (data: Buffer) => {
      heardAt = performance.now();
      clearTimeout(overdue);
      overdue = undefined;
      onSilence(false);
      wayBack.heard();
      const message = parse(data);
      if (message["type"] === "lease") {
        if (attempt > 0) {
          log.info("the catalog hears of this node again", { url: server });
          onRegained();
        }
        attempt = 0;
        beat(
          Math.min(MAX_HEARTBEAT_MS, Math.max(MIN_HEARTBEAT_MS, Number(message["heartbeatMs"]) || MIN_HEARTBEAT_MS)),
        );
      } else if (message["type"] === "deregister")
        onDeregister({ service: String(message["service"]), check: String(message["check"]) });
      else if (message["type"] === "probe") void answerProbe(message, probe, send);
    });
    current.on("error", (error) => {
      if (attempt === 0)
        log.warn("cannot tell the catalog that this node lives, trying again", { error: describeError(error) });
    });
    current.on("close", (code, reason) => {
      clearInterval(beating);
      if (isClosed) return;
      silent();
      if (code !== 1000 && code !== 1008 && code < 4000) servers.failed(server);
      if (reason.length > 0 && (code === 1008 || code >= 4000))
        log.error("the catalog refuses this node's lease, trying again", { reason: reason.toString("utf8") });
      retry = setTimeout(connect, backoffMs(attempt++, RETRY_BASE_MS, RETRY_MAX_MS));
      retry.unref();
    });
  };
  const off = servers.onMove((left) => {
    if (left === servers.current) attempt = Math.min(attempt, 1); // it is there: no long pause now
    if (left !== servers.current || !retry) return socket?.terminate();
    clearTimeout(retry);
    connect();
  });
  connect();
  return {
    close() {
      isClosed = true;
      off();
      clearTimeout(retry);
      clearInterval(beating);
      clearTimeout(overdue);
      wayBack.close();
      socket?.terminate();
    },
  };
}

async function answerProbe(
  { id, node, url, timeoutMs }: Record<string, unknown>,
  probe: LeaseOptions["probe"],
  send: (message: object) => void,
): Promise<void> {
  const answer = { type: "probed", id };
  try {
    await probe({ node: String(node), url: String(url), timeoutMs: Number(timeoutMs) || 1_000 });
    send({ ...answer, isReached: true, reason: "" });
  } catch (error) {
    send({ ...answer, isReached: false, reason: describeError(error).slice(0, 200) });
  }
}

function parse(data: Buffer): Record<string, unknown> {
  try {
    return (JSON.parse(data.toString("utf8")) ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}
