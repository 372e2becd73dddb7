/**
 * A new process in place of a running one of the same proxies: it gets the sockets that the old one listens on, or listens beside it
 * on the same ports, and once all stand it tells the old one to accept nothing more. What the old one has open goes on until its
 * drain time is over.
 */
import { readFile } from "node:fs/promises";
import { describeError, type Logger } from "@heddle/daemon";
import type { Address } from "@heddle/data-plane";
import { findRunning, type RunningAdmin } from "../admin/client.ts";
import { adoptListeners, type Handle } from "./adopt.ts";

const MIGRATION = "/proc/sys/net/ipv4/tcp_migrate_req";

export interface Predecessor {
  readonly pid: number;
  /** True for ports and Unix sockets that it listens on. */
  has(bind: Address): boolean;
  /** Its sockets that listen at "127.0.0.1:9191", ours from here on. */
  adopt(at: string): Handle[];
  /** Ends its accepting. A predecessor that is gone meanwhile is as good. */
  relieve(): Promise<void>;
}

/** The running process that stands for the same proxies, if there is one. */
export async function findPredecessor(dir: string, owner: string, log: Logger): Promise<Predecessor | undefined> {
  const running = (await findRunning(dir)).filter(({ pid, status }) => pid !== process.pid && status.Owner === owner);
  const old: RunningAdmin | undefined = running.at(-1);
  if (!old) {
    log.info("nobody to take over from");
    return undefined;
  }
  const listeners = old.status.Proxies.flatMap(({ Listeners }) => Listeners);
  const places = listeners.map(({ Address }) => Address);
  const ports = new Set(places.map((place) => Number(/:(\d+)$/.exec(place)?.[1])));
  const adopted = await adoptListeners(old.path);
  log.info("taking over", { from_pid: old.pid, listeners: listeners.length, sockets: adopted.size });
  const isShared = adopted.size === 0;
  return {
    pid: old.pid,
    adopt: (at) => adopted.take(at),
    has: ({ path, port }) => (path === undefined ? ports.has(port) : places.includes(path)),
    async relieve() {
      adopted.close();
      const isMigrating = !isShared || (await readFile(MIGRATION, "utf8").catch(() => "0")).trim() === "1";
      if (!isMigrating)
        log.info("net.ipv4.tcp_migrate_req is 0: a connection that comes in the moment of the change may be reset");
      await old.takeOver().catch((error: unknown) => {
        log.warn("the process before did not answer", { pid: old.pid, error: describeError(error) });
      });
      log.info("took over", { from_pid: old.pid });
    },
  };
}
