/**
 * One process for all sidecars of a node: those that are registered with its agent, as long as they are. What was saved of
 * them stands in for an agent that is away when the process starts.
 */
import type { ApiClient } from "@heddle/api-client";
import { describeError, type Logger } from "@heddle/daemon";
import type { AgentLink, AgentService } from "@heddle/data-plane";
import { answers, type Proxies } from "./proxies.ts";
import { createSnapshotFile, loadSnapshots, type Saved } from "./saved.ts";

const POLL_MS = 1_000; // the list of an agent's services cannot be waited for; it is on this machine
const RETRY_MAX_MS = 800;

export interface NodeOptions {
  client: ApiClient;
  link: AgentLink;
  proxies: Proxies;
  log: Logger;
  drainMs: number;
  /** Where snapshots are saved. */
  dir: string | undefined;
  /** What tells this node's files from others'. */
  owner: (proxyId: string) => string;
}

/** Starts and ends proxies until `signal` aborts. */
export async function followNode(options: NodeOptions, signal: AbortSignal): Promise<void> {
  const { client, link, proxies, log, drainMs, dir, owner } = options;
  const fileOf = (id: string) => (dir === undefined ? undefined : createSnapshotFile({ dir, owner: owner(id), log }));
  const busy = new Set<string>(); // being started or ended
  let wanted = new Set<string>();

  const start = async (id: string, saved?: Saved) => {
    log.info("a sidecar more", { proxy: id });
    const file = fileOf(id);
    const last = saved ?? (await file?.load());
    await proxies.start({ id, origin: { proxyId: id }, file, saved: last, log: log.child(id) });
  };
  const end = async (id: string) => {
    log.info("a sidecar less", { proxy: id });
    await proxies.end(id, drainMs);
    await fileOf(id)?.remove();
  };
  const reconcile = () => {
    if (signal.aborted) return;
    const change = (id: string, act: (id: string) => Promise<void>) => {
      busy.add(id);
      act(id)
        .catch((error: unknown) =>
          log.error("a sidecar could not be changed", { proxy: id, error: describeError(error) }),
        )
        .finally(() => {
          busy.delete(id);
          reconcile(); // it may have come or gone meanwhile
        })
        .catch(() => {});
    };
    for (const id of proxies.all.keys()) if (!wanted.has(id) && !busy.has(id)) change(id, end);
    for (const id of wanted) if (!proxies.all.has(id) && !busy.has(id)) change(id, start);
  };

  if (dir !== undefined && !(await answers(client)))
    for (const saved of await loadSnapshots(dir, owner, log)) await start(saved.proxyId, saved);
  const name = "services of the node";
  const watching = client.watch<Record<string, AgentService>>("/v1/agent/services", {
    signal,
    pollMs: POLL_MS,
    retryMaxMs: RETRY_MAX_MS,
    onError: (failure) => link.failed(name, failure),
    onAnswer: () => link.answered(name),
  });
  for await (const { body } of watching) {
    wanted = new Set(
      Object.values(body)
        .filter(isSidecar)
        .map(({ ID }) => ID),
    );
    reconcile();
  }
}

/** A proxy that registered itself (`-register`) stands for no instance of this agent's, and runs already. */
function isSidecar({ Kind, Proxy }: AgentService): boolean {
  return Kind === "connect-proxy" && (Proxy?.DestinationServiceID ?? "") !== "";
}
