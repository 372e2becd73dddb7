/** One agent's WebSocket: its set of checks lives as long as the connection; what it may not send, it is told, then closed. */
import { type Clock, describeError, HeddleError, InvalidArgumentError, type Logger } from "@heddle/daemon";
import type { WebSocket } from "ws";
import type { ErrorMessage, ResultMessage } from "./check.ts";
import { parseSync } from "./check.ts";
import type { CheckSet, CheckSetDeps } from "./check-set.ts";

const MAX_BUFFERED_BYTES = 32 * 1024 * 1024; // an agent that falls this far behind is closed: it syncs again and is told all
const MAX_REASON_BYTES = 123; // RFC 6455 §5.5: a close frame holds 125 bytes, two of them the code

export interface ConnectionDeps {
  clock: Clock;
  log: Logger;
  pingIntervalMs: number;
  /** How many checks this connection may have now. */
  allowance: () => number;
  openSet: (onResult: CheckSetDeps["onResult"]) => CheckSet;
  onClose: (reason: string) => void;
}

export function serveConnection(client: WebSocket, deps: ConnectionDeps): { size: () => number } {
  const { clock, log } = deps;
  let failure: string | undefined;
  let isAlive = true;
  const send = (message: ResultMessage | ErrorMessage) => {
    if (client.readyState !== client.OPEN) return;
    if (client.bufferedAmount > MAX_BUFFERED_BYTES) return close(1013, "too slow: connect and sync again");
    client.send(JSON.stringify(message));
  };
  const close = (code: number, reason: string) => {
    failure ??= reason;
    set.close();
    client.close(
      code,
      Buffer.from(reason)
        .subarray(0, MAX_REASON_BYTES)
        .toString("utf8")
        .replace(/\uFFFD+$/, ""),
    );
  };
  const set = deps.openSet((checkId, status, output) => send({ type: "result", checkId, status, output }));

  const ping = () => {
    if (!isAlive) return client.terminate(); // a vanished agent's checks must not run for ever
    isAlive = false;
    client.ping();
    timer = clock.after(deps.pingIntervalMs, ping);
  };
  let timer = clock.after(deps.pingIntervalMs, ping);
  client.on("pong", () => {
    isAlive = true;
  });
  client.on("message", (data: Buffer, isBinary) => {
    if (failure !== undefined) return;
    isAlive = true;
    try {
      if (isBinary) throw new InvalidArgumentError("a message is binary: want JSON text");
      set.sync(parseSync(data.toString("utf8"), Math.max(0, deps.allowance())));
    } catch (error) {
      const message = describeError(error);
      log.warn("closing an agent's connection for what it sent", { reason: message });
      send({ type: "error", error: { code: error instanceof HeddleError ? error.code : "internal", message } });
      close(1008, message);
    }
  });
  client.on("error", (error) => {
    failure ??= describeError(error); // ws has closed it by itself: too large a message is 1009
  });
  client.on("close", () => {
    timer.cancel();
    set.close();
    deps.onClose(failure ?? "closed");
  });
  return { size: () => set.size };
}
