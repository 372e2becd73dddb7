/**
 * Tells the agent which version of the rules this proxy holds, what it cut when it took it over, and who talks to whom through it:
 * at once when the version changes, else now and then. An agent that has no such path (Consul's) is told nothing.
 */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { ApiError } from "@heddle/api-client";
import type { RuleReport } from "@heddle/intentions";
import type { Connection, ConnectionTable } from "./connections.ts";
import type { ReportsTo } from "./decision-reports.ts";
import type { Pairs } from "./pairs.ts";
import type { SnapshotStore } from "./snapshot.ts";
import type { ProxySpec } from "./spec.ts";

const PATH = "/v1/agent/connect/proxies";
const LOOK_MS = 2_000; // pairs that changed are told within it
const BEAT_MS = 15_000; // without news; the agent forgets who is silent for several
const RETRY_MS = 500;
const SPREAD_MS = 100; // cuts first: a change reaches all proxies at once, and their reports would keep the last from it
const LAST_WORDS_MS = 1_000;
const MAX_CUTS = 64; // pairs of versions and callers that are remembered

/** What holds rules: one proxy, on one thread. */
export interface Holder {
  /** Its registered ID; empty where it has none. */
  id: string;
  store: SnapshotStore;
  table: ConnectionTable;
  pairs: Pairs;
}

export interface RuleReports {
  /** Reports on the holder until what is returned is called. */
  follow(holder: Holder): () => Promise<void>;
  /** Ends all. */
  close(): Promise<void>;
}

export function createRuleReports(agent: ReportsTo): RuleReports {
  const ends = new Set<() => Promise<void>>();
  let isOff = false;
  return {
    follow(holder) {
      const end = followHolder(holder, {
        isOff: () => isOff,
        async post(body, signal) {
          try {
            await agent.post(PATH, { body, signal });
          } catch (error) {
            isOff ||= error instanceof ApiError && (error.status === 404 || error.status === 405);
            throw error;
          }
        },
      });
      const endOnce = async () => {
        if (ends.delete(endOnce)) await end();
      };
      ends.add(endOnce);
      return endOnce;
    },
    async close() {
      await Promise.all([...ends].map((end) => end()));
    },
  };
}

interface Way {
  isOff: () => boolean;
  post: (body: RuleReport, signal: AbortSignal) => Promise<void>;
}

function followHolder({ id, store, table, pairs }: Holder, { isOff, post }: Way): () => Promise<void> {
  const ID = randomUUID();
  const abort = new AbortController();
  const counted = new WeakSet<Connection>();
  let cuts: RuleReport["Cuts"] = [];
  let version = 0;
  let told = { version: -1, changes: -1, at: Number.NEGATIVE_INFINITY };
  let isSending = false;
  let retry: NodeJS.Timeout | undefined;

  // The proxy has decided anew on all open connections by now: it hears of the change before us.
  const onRules = () => {
    version = store.current.rules?.version ?? 0;
    const bySource = new Map<string, number>();
    for (const connection of table.all) {
      if (connection.direction !== "inbound" || connection.cutBy?.code !== "intention") continue;
      if (counted.has(connection)) continue;
      counted.add(connection);
      bySource.set(connection.source, (bySource.get(connection.source) ?? 0) + 1);
    }
    cuts.push(...[...bySource].map(([Source, Count]) => ({ Version: version, Source, Count })));
    cuts = cuts.slice(-MAX_CUTS);
  };

  const report = ({ service: Service }: ProxySpec): RuleReport => {
    const Process = `${hostname()}:${process.pid}`;
    return { ID, Process, Proxy: id, Service, Version: version, Cuts: cuts, Pairs: pairs.list(table.all) };
  };

  const send = async (): Promise<void> => {
    const { spec } = store.current;
    if (isOff() || abort.signal.aborted || isSending || !spec) return;
    isSending = true;
    clearTimeout(retry);
    const telling = { version, changes: pairs.changes, at: performance.now() };
    const isTold = await post(report(spec), abort.signal).then(
      () => true,
      () => false,
    );
    isSending = false;
    if (isTold) {
      told = telling;
      if (version !== told.version) void send();
    } else {
      retry = setTimeout(() => void send(), RETRY_MS);
      retry.unref();
    }
  };
  const look = setInterval(() => {
    if (pairs.changes !== told.changes || performance.now() - told.at >= BEAT_MS) void send();
  }, LOOK_MS);
  look.unref();

  let planned: NodeJS.Timeout | undefined;
  const sendSoon = () => {
    planned ??= setTimeout(() => {
      planned = undefined;
      void send();
    }, Math.random() * SPREAD_MS);
    planned.unref();
  };
  store.onChange((part) => {
    if (part === "rules") onRules();
    if (part === "rules" || part === "spec") sendSoon();
  });
  onRules();
  sendSoon();

  return async () => {
    const { spec } = store.current;
    const wasTold = told.version >= 0;
    abort.abort(new Error("the proxy is closing"));
    clearInterval(look);
    clearTimeout(retry);
    clearTimeout(planned);
    if (isOff() || !wasTold || !spec) return;
    await post({ ...report(spec), Gone: true }, AbortSignal.timeout(LAST_WORDS_MS)).catch(() => {});
  };
}
