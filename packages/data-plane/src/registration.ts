/** A service or proxy in the local agent's services, with a heartbeat, for as long as its process serves. */
import type { ApiClient } from "@heddle/api-client";
import { ApiError } from "@heddle/api-client";
import { describeError, type Logger, sleep } from "@heddle/daemon";

const HEARTBEAT_MS = 10_000; // a third of the check's TTL; a beat that finds no registration makes it again
const TTL = "30s";
const RETRY_MS = 1_000;

export interface RegistrationOptions {
  /** As `/v1/agent/service/register` takes it, but for the check. */
  service: { ID: string; Name: string } & Record<string, unknown>;
  /** Name and notes of the check that beats. */
  check: { Name: string; Notes: string };
  client: ApiClient;
  /** False while the listener does not stand: the check then runs out. */
  isReady: () => boolean;
  /** True where somebody else keeps it from here on: it is then left registered. */
  isKept?: () => boolean;
  log: Logger;
}

/** Registers and keeps it so until `signal` aborts; then deregisters. */
export async function keepRegistered(options: RegistrationOptions, signal: AbortSignal): Promise<void> {
  const { service, check, client, log, isReady } = options;
  const id = service.ID;
  const CheckID = `${id}-ttl`;
  let isRegistered = false;
  while (!signal.aborted) {
    try {
      if (!isRegistered) {
        const body = { ...service, Check: { CheckID, ...check, TTL } };
        await client.put("/v1/agent/service/register", { body, signal });
        isRegistered = true;
        log.info("registered Consul service", { service: id });
      }
      if (isReady()) await client.put(`/v1/agent/check/pass/${encodeURIComponent(CheckID)}`, { signal });
      await sleep(isReady() ? HEARTBEAT_MS : RETRY_MS / 4, signal);
    } catch (error) {
      if (signal.aborted) break;
      // The agent answered and knows no such check: it was restarted, or somebody removed the service.
      if (error instanceof ApiError) isRegistered = false;
      log.warn("cannot keep the registration, trying again", { service: id, error: describeError(error) });
      await sleep(RETRY_MS, signal).catch(() => {});
    }
  }
  if (!isRegistered || options.isKept?.()) return;
  log.info("stop request received, deregistering");
  await client
    .put(`/v1/agent/service/deregister/${encodeURIComponent(id)}`, { timeoutMs: 2_000 })
    .catch((error: unknown) => {
      log.warn("cannot deregister", { service: id, error: describeError(error) });
    });
}
