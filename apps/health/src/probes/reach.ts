/**
 * Whether a host is there at all, for nodes without an agent: a TCP connection to a port that hardly anybody has (7, echo) is
 * refused by a host that lives. Where nothing comes back `ping` is asked, for firewalls that drop the one and not the other.
 */
import { execFile } from "node:child_process";
import { connect, isIP } from "node:net";
import { critical, passing, type Probe, type ProbeContext, timeoutOf } from "./probe.ts";

const PORT = 7;
const MAX_WAIT_MS = 2_000;

export const probe: Probe = async (check, context) => {
  const address = check.Reach ?? "";
  const timeoutMs = Math.min(timeoutOf(check), MAX_WAIT_MS);
  const isThere = (await answersTcp(address, timeoutMs, context)) || (await answersPing(address, timeoutMs, context));
  // The words of consul-esm.
  return isThere ? passing("Node alive or reachable") : critical("Node not live or unreachable");
};

function answersTcp(host: string, timeoutMs: number, { clock, signal }: ProbeContext): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port: PORT });
    const settle = (isThere: boolean) => {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
      socket.destroy();
      resolve(isThere);
    };
    const onAbort = () => settle(false);
    const timer = clock.after(timeoutMs, onAbort);
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("connect", () => settle(true));
    socket.on("error", (error: NodeJS.ErrnoException) =>
      settle(error.code === "ECONNREFUSED" || error.code === "ECONNRESET"),
    );
  });
}

function answersPing(host: string, timeoutMs: number, { signal }: ProbeContext): Promise<boolean> {
  // An address that is none could be an option of ping's.
  if (isIP(host) === 0) return Promise.resolve(false);
  const args = ["-n", "-q", "-c", "1", "-W", String(Math.ceil(timeoutMs / 1_000)), host];
  return new Promise((resolve) => {
    execFile("ping", args, { timeout: timeoutMs + 1_000, signal, env: {} }, (error) => resolve(error === null));
  });
}
