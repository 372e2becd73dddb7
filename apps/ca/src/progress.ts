/**
 * How far the mesh has followed the active root: what each agent reports of its proxies. In memory: agents report anew within a
 * minute, and an agent that has gone is soon no longer waited for.
 */
import type { Clock } from "@heddle/daemon";

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
}

export interface Following extends Omit<AgentReport, "root"> {
  agents: number;
  /** Of them, those that know the active root. */
  informed: number;
  /** Those that are behind, at most ten. */
  waitsFor: string[];
}

export interface Progress {
  report(caller: string, report: AgentReport): void;
  /** Of all agents that have reported lately, towards the root that is active. */
  following(root: string): Following;
}

const MAX_NAMED = 10;

export function createProgress(clock: Clock): Progress {
  const reports = new Map<string, AgentReport & { at: number }>();
  return {
    report(caller, report) {
      reports.delete(caller); // to the end: the first is the oldest
      reports.set(caller, { ...report, at: clock.now() });
      if (reports.size > MAX_AGENTS) reports.delete(reports.keys().next().value as string);
    },
    following(root) {
      const sum: Following = { agents: 0, informed: 0, proxies: 0, trusting: 0, leaves: 0, renewed: 0, waitsFor: [] };
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
        const behind = report.proxies - trusting + report.leaves - renewed;
        if ((behind > 0 || !isInformed) && sum.waitsFor.length < MAX_NAMED) sum.waitsFor.push(caller);
      }
      return sum;
    },
  };
}

/** How much of what is to follow has followed: 1 is all. Undefined where nobody is known who is to follow. */
export function followed({ proxies, trusting, leaves, renewed }: Following): number | undefined {
  const all = proxies + leaves;
  return all === 0 ? undefined : (trusting + renewed) / all;
}
