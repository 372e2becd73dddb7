/** H2PING: an HTTP/2 connection, over TLS unless the check says not, and one PING that must be answered. */
import { dial, splitHostPort, targetTls } from "./dial.ts";
import { openSession } from "./http2-session.ts";
import { critical, passing, type Probe, ProbeError, type ProbeContext, timeoutOf } from "./probe.ts";

export const probe: Probe = async (check, context) => {
  const target = check.H2PING ?? "";
  const timeoutMs = timeoutOf(check);
  const deadlineAt = context.clock.now() + timeoutMs;
  try {
    const tls =
      check.H2PingUseTLS === false
        ? undefined
        : { ...targetTls(check, splitHostPort(target).host, context), ALPNProtocols: ["h2"] };
    const socket = await dial(target, { timeoutMs, context, ...(tls && { tls }) });
    try {
      await ping(openSession(socket, target), deadlineAt - context.clock.now(), context);
      return passing("HTTP2 ping was successful");
    } catch (error) {
      return critical(`HTTP2 ping failed: ${(error as Error).message}`);
    } finally {
      socket.destroy();
    }
  } catch (error) {
    return critical(`Failed to dial to ${target}: ${(error as Error).message}`);
  }
};

function ping(session: ReturnType<typeof openSession>, timeoutMs: number, context: ProbeContext): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error) => {
      timer.cancel();
      context.signal.removeEventListener("abort", onAbort);
      session.destroy();
      if (error) reject(error);
      else resolve();
    };
    const timer = context.clock.after(Math.max(0, timeoutMs), () =>
      settle(new ProbeError("context deadline exceeded")),
    );
    const onAbort = () => settle(new ProbeError("context canceled"));
    context.signal.addEventListener("abort", onAbort, { once: true });
    session.once("error", (error: Error) => settle(new ProbeError(error.message)));
    session.once("close", () => settle(new ProbeError("http2: client connection lost")));
    session.once("connect", () => {
      session.ping((error) => settle(error ?? undefined));
    });
  });
}
