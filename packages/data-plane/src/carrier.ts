/**
 * What carries connections on one thread, for one proxy or for all of a node: functions of their snapshots, counted together.
 * Who fills the snapshots is another matter, and may be another thread.
 */
import { type Clock, type Logger, systemClock, type Timer } from "@heddle/daemon";
import type { Registry } from "prom-client";
import { type ConnectionTable, createConnectionTable } from "./connections.ts";
import { type Counts, createCounts } from "./counts.ts";
import type { DecisionReports } from "./decision-reports.ts";
import { createProxyMetrics } from "./metrics.ts";
import { Pairs } from "./pairs.ts";
import { createProxy, type Proxy, type ProxyDeps } from "./proxy.ts";
import type { SnapshotStore } from "./snapshot.ts";

const RECHECK_MS = 30_000; // for what time alone changes: a root that expires

export interface CarrierDeps {
  registry: Registry;
  /** Number of the thread, in metrics. */
  worker?: string;
  log: Logger;
  /** For the access log; by default a child of `log`. */
  accessLog?: Logger;
  reports: DecisionReports;
  /** What limits count; by default this thread alone. */
  counts?: Counts;
  /** How long the agent has been away, in milliseconds. */
  awayMs?: () => number;
  clock?: Clock;
}

/** One proxy, as far as this thread carries it. */
export interface Carried {
  readonly id: string;
  readonly store: SnapshotStore;
  readonly table: ConnectionTable;
  readonly proxy: Proxy;
}

export interface Carrier {
  readonly all: ReadonlySet<Carried>;
  /** One more, on a store that changes. `id` tells it from the others. */
  carry(options: { id: string; store: SnapshotStore } & Pick<ProxyDeps, "listeners" | "openService">): Carried;
  /** No more: what it carries has been ended. */
  drop(carried: Carried): Promise<void>;
  close(): void;
}

export function createCarrier(deps: CarrierDeps): Carrier {
  const { log, registry, worker, reports, counts = createCounts(), awayMs = () => 0, clock = systemClock } = deps;
  const { accessLog = log.child("access") } = deps;
  const all = new Set<Carried>();
  const following = new WeakMap<Carried, () => Promise<void>>();
  const metrics = createProxyMetrics({ registry, ...(worker !== undefined && { worker }), carried: () => all, awayMs });
  let timer: Timer;
  const recheck = () => {
    for (const { proxy } of all) proxy.recheck();
    timer = clock.after(RECHECK_MS, recheck);
  };
  timer = clock.after(RECHECK_MS, recheck);
  return {
    all,
    carry({ id, store, ...more }) {
      const pairs = new Pairs(clock);
      const table = createConnectionTable({ log: accessLog, metrics, reports, pairs });
      const proxy = createProxy({ ...more, id, store, table, metrics, counts, clock, log });
      const carried: Carried = { id, store, table, proxy };
      all.add(carried);
      following.set(carried, reports.follow({ id, store, table, pairs }));
      return carried;
    },
    async drop(carried) {
      all.delete(carried);
      await following.get(carried)?.();
    },
    close: () => timer.cancel(),
  };
}
