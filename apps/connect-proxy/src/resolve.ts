/** Finds which registered proxy this process is: the one whose destination is the given service instance. */
import type { ApiClient } from "@heddle/api-client";
import { describeError, InvalidArgumentError, type Logger, sleep, UnavailableError } from "@heddle/daemon";
import type { AgentService } from "@heddle/data-plane";

const RETRY_MS = 500;
const SAY_EVERY_MS = 15_000;

export interface FindOptions {
  log: Logger;
  signal?: AbortSignal | undefined;
  /** What it was when an agent last answered; spares the wait for one that is away. */
  last?: string | undefined;
}

/** The ID of the sidecar of a service instance. Waits for an agent that is away; throws where it knows none, or several. */
export async function findSidecar(
  client: ApiClient,
  serviceId: string,
  { log, signal, last }: FindOptions,
): Promise<string> {
  let saidAt = Number.NEGATIVE_INFINITY;
  for (;;) {
    try {
      const { body } = await client.get<Record<string, AgentService>>("/v1/agent/services", { signal });
      return chooseSidecar(Object.values(body), serviceId);
    } catch (error) {
      // An answer that says no is final; silence is not.
      if (signal?.aborted || !(error instanceof UnavailableError)) throw error;
      if (last !== undefined) return last;
      if (performance.now() - saidAt >= SAY_EVERY_MS) {
        saidAt = performance.now();
        log.warn("waiting for the agent", { sidecar_for: serviceId, error: describeError(error) });
      }
      await sleep(RETRY_MS, signal);
    }
  }
}

export function chooseSidecar(services: AgentService[], serviceId: string): string {
  const found = services
    .filter((s) => s.Kind === "connect-proxy" && s.Proxy?.DestinationServiceID === serviceId)
    .map((s) => s.ID)
    .sort();
  if (found.length === 0) throw new InvalidArgumentError(`No sidecar proxy registered for ${serviceId}`);
  if (found.length > 1)
    throw new InvalidArgumentError(
      `More than one sidecar proxy registered for ${serviceId}.\n` +
        `    Start proxy with -proxy-id and one of the following IDs: ${found.join(", ")}`,
    );
  return found[0] as string;
}
