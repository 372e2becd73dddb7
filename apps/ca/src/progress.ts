/**
 * How far the mesh has followed the active root, and whose clocks are apart: what each agent reports of its proxies and its time. In
 * memory: agents report anew within a minute, and an agent that has gone is soon no longer waited for.
 */
import type { Clock, Logger } from "@heddle/daemon";
import { CLOCK_SKEW_MS } from "@heddle/tls";

/** Half of what certificates are dated back by: with more, somebody will soon be refused. */
export const CLOCKS_APART_MS = CLOCK_SKEW_MS / 2;
const FORGOTTEN_MS = 180_000; // three reports that did not come
const MAX_AGENTS = 20_000;

/** What an agent reports. */
export interface AgentReport {
  /** The active root as the agent knows it. */
  root: string;
  /** Proxies that wait for changes of the roots, and those of them that know the list as the agent does. */
  proxies: number;
  trusting: number;
  /** Leaves that the agent holds, and those of them that the active root has signed. */
  leaves: number;
  renewed: number;
  /** By how much its clock is ahead of ours, in milliseconds, negative where it is behind; undefined where it did not say. */
  clockAheadMs?: number | undefined;
}

export interface Following extends Omit<AgentReport, "clockAheadMs" | "root"> {
  agents: number;
  /** Of them, those that know the active root. */
  informed: number;
  /** Those that are behind, at most ten. */
  waitsFor: string[];
  /** Those whose clocks are apart from ours, at most ten. */
  clocksApart: { agent: string; aheadMs: number }[];
}

export interface Progress {
  report(caller: string, report: AgentReport): void;
  /** Of all agents that have reported lately, towards the root that is active. */
  following(root: string): Following;
}

const MAX_NAMED = 10;

export function createProgress({ clock, log }: { clock: Clock; log: Logger }): Progress {
  const reports = new Map<string, AgentReport & { at: number }>();
  return {
    report(caller, report) {
      if (isApart(report) !== isApart(reports.get(caller))) {
        const fields = { agent: caller, ahead_ms: report.clockAheadMs };
        if (isApart(report)) log.warn("an agent's clock and this CA's are apart: certificates may be refused", fields);
        else log.info("an agent's clock and this CA's are together again", fields);
      }
      reports.delete(caller); // to the end: the first is the oldest
      reports.set(caller, { ...report, at: clock.now() });
      if (reports.size > MAX_AGENTS) reports.delete(reports.keys().next().value as string);
    },
    following(root) {
      const counts = { agents: 0, informed: 0, proxies: 0, trusting: 0, leaves: 0, renewed: 0 };
      const sum: Following = { ...counts, waitsFor: [], clocksApart: [] };
      for (const [caller, report] of reports) {
        if (clock.now() - report.at > FORGOTTEN_MS) {
          reports.delete(caller);
          continue;
        }
        const isInformed = report.root === root;
        const trusting = isInformed ? report.trusting : 0;
        const renewed = isInformed ? report.renewed : 0;
        sum.agents++;
        sum.informed += Number(isInformed);
        sum.proxies += report.proxies;
        sum.trusting += trusting;
        sum.leaves += report.leaves;
        sum.renewed += renewed;
        if (isApart(report) && sum.clocksApart.length < MAX_NAMED)
          sum.clocksApart.push({ agent: caller, aheadMs: report.clockAheadMs ?? 0 });
        const behind = report.proxies - trusting + report.leaves - renewed;
        if ((behind > 0 || !isInformed) && sum.waitsFor.length < MAX_NAMED) sum.waitsFor.push(caller);
      }
      return sum;
    },
  };
}

const isApart = (report: AgentReport | undefined): boolean => Math.abs(report?.clockAheadMs ?? 0) > CLOCKS_APART_MS;

/** How much of what is to follow has followed: 1 is all. Undefined where nobody is known who is to follow. */
export function followed({ proxies, trusting, leaves, renewed }: Following): number | undefined {
  const all = proxies + leaves;
  return all === 0 ? undefined : (trusting + renewed) / all;
}
