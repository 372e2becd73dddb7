/** `-register`: this proxy in the local agent's services, with a heartbeat, until it ends. */
import type { ApiClient } from "@heddle/api-client";
import { ApiError } from "@heddle/api-client";
import { describeError, type Logger, sleep } from "@heddle/daemon";
import { DEFAULT_BIND_ADDRESS, type HostPort } from "@heddle/data-plane";

const HEARTBEAT_MS = 10_000; // a third of the check's TTL; a beat that finds no registration makes it again
const TTL = "30s";
const RETRY_MS = 1_000;

export interface RegistrationOptions {
  service: string;
  idSuffix: string;
  bind: HostPort;
  client: ApiClient;
  /** False while the listener does not stand: the check then runs out. */
  isReady: () => boolean;
  log: Logger;
}

export function registrationId({ service, idSuffix }: Pick<RegistrationOptions, "service" | "idSuffix">): string {
  return `${service}-proxy${idSuffix === "" ? "" : `-${idSuffix}`}`;
}

/** Registers and keeps it so until `signal` aborts; then deregisters. */
export async function keepRegistered(options: RegistrationOptions, signal: AbortSignal): Promise<void> {
  const { client, log, isReady } = options;
  const id = registrationId(options);
  const checkId = `${id}-ttl`;
  let isRegistered = false;
  while (!signal.aborted) {
    try {
      if (!isRegistered) {
        await client.put("/v1/agent/service/register", { body: definition(options, id, checkId), signal });
        isRegistered = true;
        log.info("registered Consul service", { service: id });
      }
      if (isReady()) await client.put(`/v1/agent/check/pass/${encodeURIComponent(checkId)}`, { signal });
      await sleep(isReady() ? HEARTBEAT_MS : RETRY_MS / 4, signal);
    } catch (error) {
      if (signal.aborted) break;
      // The agent answered and knows no such check: it was restarted, or somebody removed the service.
      if (error instanceof ApiError) isRegistered = false;
      log.warn("cannot keep the registration, trying again", { service: id, error: describeError(error) });
      await sleep(RETRY_MS, signal).catch(() => {});
    }
  }
  if (!isRegistered) return;
  log.info("stop request received, deregistering");
  await client
    .put(`/v1/agent/service/deregister/${encodeURIComponent(id)}`, { timeoutMs: 2_000 })
    .catch((error: unknown) => {
      log.warn("cannot deregister", { service: id, error: describeError(error) });
    });
}

function definition({ service, bind }: RegistrationOptions, id: string, checkId: string) {
  return {
    Kind: "connect-proxy",
    ID: id,
    Name: `${service}-proxy`,
    Address: bind.host === DEFAULT_BIND_ADDRESS ? "" : bind.host,
    Port: bind.port,
    Proxy: { DestinationServiceName: service },
    Check: { CheckID: checkId, Name: "proxy heartbeat", Notes: "Built-in proxy will heartbeat this check.", TTL },
  };
}
