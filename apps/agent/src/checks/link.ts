/** The agent's end of the link to a health checker: hands it the checks to run, takes their results over. */
import { backoffMs, describeError, type Health, type Logger } from "@heddle/daemon";
import { type CheckDefinition, type CheckStatus, checkType } from "@heddle/service-definition";
import { type ClientOptions, WebSocket } from "ws";
import type { LocalState } from "../local-state.ts";

const RETRY_BASE_MS = 50;
const RETRY_MAX_MS = 2_000;
const MAX_MESSAGE_BYTES = 1024 * 1024;
/** Checks that the agent judges itself, from what it is told or knows. */
const OWN_TYPES = new Set(["", "alias", "ttl"]);

export interface HealthLinkOptions {
  /** The health checker's address: "http://127.0.0.1:8320". */
  url: string;
  /** Asked for each connection. */
  tls?: (() => ClientOptions) | undefined;
  state: LocalState;
  log: Logger;
}

export interface HealthLink {
  health(): Health;
  close(): void;
}

/** Keeps a connection to the health checker, for as long as it is not closed. */
export function linkHealthChecker({ url, tls, state, log }: HealthLinkOptions): HealthLink {
  const target = `${url.replace(/^http/, "ws")}/internal/v1/checks`;
  let socket: WebSocket | undefined;
  let timer: NodeJS.Timeout | undefined;
  let attempt = 0;
  let isClosed = false;
  let isSyncPending = false;

  const sync = () => {
    isSyncPending = false;
    if (socket?.readyState !== WebSocket.OPEN) return;
    socket.send(JSON.stringify({ type: "sync", checks: probes(state) }));
  };
  // Registrations come in groups: one sync for all that changed in this turn of the event loop.
  const syncSoon = () => {
    if (isSyncPending) return;
    isSyncPending = true;
    setImmediate(sync);
  };
  const connect = () => {
    if (isClosed) return;
    const current = new WebSocket(target, {
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
      handshakeTimeout: 5_000,
      ...tls?.(),
    });
    socket = current;
    current.on("open", () => {
      if (attempt > 0) log.info("connected to the health checker again", { url });
      sync();
    });
    current.on("message", (data: Buffer) => {
      // Only a checker that works ends the backoff: one that refuses the checks closes each time.
      attempt = 0;
      receive(data, state, log);
    });
    current.on("error", (error) => {
      if (attempt === 0)
        log.warn("lost the health checker, trying again; checks keep their last status", {
          url,
          error: describeError(error),
        });
    });
    current.on("close", () => {
      if (isClosed) return;
      timer = setTimeout(connect, backoffMs(attempt++, RETRY_BASE_MS, RETRY_MAX_MS));
    });
  };
  const off = state.onChange((changes) => {
    if (changes.some((c) => c.kind === "check" && (c.what === "definition" || c.what === "removed"))) syncSoon();
  });
  connect();
  return {
    health: () => {
      const isOpen = socket?.readyState === WebSocket.OPEN;
      return {
        started: true,
        live: true,
        ready: isOpen,
        ...(!isOpen && { details: `no connection to the health checker at ${url}` }),
      };
    },
    close() {
      isClosed = true;
      off();
      clearTimeout(timer);
      socket?.terminate();
    },
  };
}

/** What the health checker is to run. */
function probes(state: LocalState): CheckDefinition[] {
  return (
    state
      .checks()
      .map((c) => c.definition)
      // What it probes decides, not `Type`: that is what answers show, and empty for a check that stands alone in a file.
      .filter((d) => !OWN_TYPES.has(checkType(d)))
      .map(({ Token: _, ...definition }) => definition)
  );
}

function receive(data: Buffer, state: LocalState, log: Logger): void {
  try {
    const message = JSON.parse(data.toString("utf8")) as {
      type: string;
      checkId?: string;
      status?: CheckStatus;
      output?: string;
      error?: { message: string };
    };
    if (message.type === "result" && message.checkId !== undefined && message.status !== undefined)
      state.setCheckState(message.checkId, message.status, message.output ?? "");
    else if (message.type === "error")
      log.error("the health checker refused a message", { error: message.error?.message });
  } catch (error) {
    log.error("the health checker sent what cannot be read", { error: describeError(error) });
  }
}
