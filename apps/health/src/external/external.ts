/**
 * The checker's end of `/internal/v1/external`: it is told which nodes without an agent are its share, probes them, and says
 * what changed. When the catalog is away it goes on with nothing: another one may have its share by then.
 */
import { serverList, toTarget } from "@heddle/api-client";
import { backoffMs, describeError, type Health, type Logger } from "@heddle/daemon";
import { WebSocket } from "ws";
import { parseSync, type ResultMessage } from "../check.ts";
import type { CheckSet } from "../check-set.ts";

const PATH = "/internal/v1/external";
const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 2_000;
const SILENCE_MS = 6_000; // the catalog pings each second
const HANDSHAKE_TIMEOUT_MS = 5_000;
const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;
const GATHER_MS = 20; // results of one moment go together

export interface ExternalOptions {
  /** The catalog's address: "http://127.0.0.1:8300"; several with commas between them. One after another is tried. */
  url: string;
  /** What this checker is called among those that share the nodes. */
  id: string;
  maxChecks: number;
  /** TLS options of `ws`, asked for each connection. */
  tls?: (() => object) | undefined;
  openSet: (onResult: (checkId: string, status: ResultMessage["status"], output: string) => void) => CheckSet;
  log: Logger;
}

export interface ExternalChecks extends Disposable {
  health(): Health;
}

/** Keeps a connection to the catalog until it is disposed of. */
export function checkExternal({ url, id, maxChecks, tls, openSet, log }: ExternalOptions): ExternalChecks {
  let socket: WebSocket | undefined;
  let set: CheckSet | undefined;
  let attempt = 0;
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;

  const servers = serverList(url);
  const connect = () => {
    const server = servers.current;
    const target = toTarget(server);
    const options = { perMessageDeflate: false, maxPayload: MAX_MESSAGE_BYTES, handshakeTimeout: HANDSHAKE_TIMEOUT_MS };
    const address = `${target.url.replace(/^http/, "ws").replace(/\/$/, "")}${PATH}`;
    const current = new WebSocket(address, { ...target.options, ...options, ...tls?.() });
    socket = current;
    let results: Pick<ResultMessage, "checkId" | "output" | "status">[] = [];
    let gathering: NodeJS.Timeout | undefined;
    const flush = () => {
      gathering = undefined;
      if (current.readyState === WebSocket.OPEN) current.send(JSON.stringify({ type: "results", results }));
      results = [];
    };
    const mine = openSet((checkId, status, output) => {
      results.push({ checkId, status, output });
      gathering ??= setTimeout(flush, GATHER_MS);
    });
    set = mine;
    let silence: NodeJS.Timeout | undefined;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => current.terminate(), SILENCE_MS);
      silence.unref();
    };
    current.on("open", () => {
      heard();
      current.send(JSON.stringify({ type: "hello", id }));
    });
    current.on("ping", heard);
    current.on("message", (data: Buffer) => {
      heard();
      try {
        const sync = parseSync(data.toString("utf8"), maxChecks);
        attempt = 0;
        mine.sync(sync);
        log.info("external checks to run", { checks: sync.checks.length, refused: sync.refused.size });
      } catch (error) {
        log.error("the catalog sent external checks that cannot be read", { error: describeError(error) });
      }
    });
    current.on("error", (error) => {
      if (attempt === 0)
        log.warn("cannot ask for external checks, trying again", { url: server, error: describeError(error) });
    });
    current.on("close", (code, reason) => {
      clearTimeout(silence);
      clearTimeout(gathering);
      mine.close();
      if (isClosed) return;
      servers.failed(server);
      if (code === 1008) log.error("the catalog refuses this checker, trying again", { reason: reason.toString() });
      retry = setTimeout(connect, backoffMs(attempt++, RETRY_BASE_MS, RETRY_MAX_MS));
    });
  };
  connect();
  return {
    health() {
      const isOpen = socket?.readyState === WebSocket.OPEN;
      const details = isOpen
        ? `${set?.size ?? 0} checks of external nodes`
        : `no connection to the catalog at ${servers.all.join(", ")}`;
      return { started: true, live: true, ready: isOpen, details };
    },
    [Symbol.dispose]() {
      isClosed = true;
      clearTimeout(retry);
      set?.close();
      socket?.terminate();
    },
  };
}
