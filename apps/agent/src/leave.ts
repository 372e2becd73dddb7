/** An agent that is told to end leaves the mesh first, where its configuration says so. */
import { describeError, type Logger } from "@heddle/daemon";
import type { AgentConfig } from "./config/index.ts";
import type { RunningAgent } from "./server.ts";

const LEAVE_TIMEOUT_MS = 2_000; // without a catalog there is nobody to leave

/** Takes the node out of the catalog if this signal is to do so; a catalog that is away holds up no end. */
export async function leaveOnSignal(
  running: Pick<RunningAgent, "leave">,
  { config, signal, log }: { config: AgentConfig; signal: NodeJS.Signals; log: Logger },
): Promise<void> {
  const isToLeave = signal === "SIGTERM" ? config.leaveOnTerminate : !config.skipLeaveOnInterrupt;
  if (!isToLeave) return;
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer in ${LEAVE_TIMEOUT_MS} ms`)), LEAVE_TIMEOUT_MS);
  await Promise.race([running.leave(), late]).catch((error: unknown) =>
    log.warn("cannot tell the catalog that this node leaves", { error: describeError(error) }),
  );
  clearTimeout(timer);
}
