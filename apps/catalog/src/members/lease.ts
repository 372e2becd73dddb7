/** A node's lease, and what is held against it when it runs out. */
import { formatDuration } from "@heddle/daemon";
import type { MemberFacts } from "../commands/members.ts";

/** The outcome of one agent's try to reach another. */
export interface Probe {
  isReached: boolean;
  reason: string;
}

/** An agent's connection. */
export interface MemberLink {
  /** Has this agent try to reach another one; undefined where it did not say in time. */
  probe(target: { node: string; url: string }, timeoutMs: number): Promise<Probe | undefined>;
  /** Has this agent take one of its services away, whose check was critical for too long. */
  deregister(ask: { service: string; check: string }): void;
  close(reason: string): void;
}

export interface Lease {
  facts: MemberFacts;
  /** Where other agents reach this one; empty where they cannot. */
  probeUrl: string;
  link: MemberLink | undefined;
  /** Of the agent in this process: it does not run out. */
  isOwn: boolean;
  deregister: MemberLink["deregister"] | undefined;
  heardAt: number;
  /** On the leases' own time. Past it the node is suspect. */
  deadline: number;
  suspicion: Suspicion | undefined;
}

export interface Suspicion {
  since: number;
  why: string;
  /** What other agents found, by their names. */
  confirmed: Map<string, string>;
  reachedBy: string;
  /** How often in a row this server was told that nobody listens where the agent did. */
  refusals: number;
}

export const newSuspicion = (since: number, why: string): Suspicion => ({
  ...{ since, why, confirmed: new Map(), reachedBy: "", refusals: 0 },
});

/** What is told of a node that has failed. */
export function reasonOf({ why, confirmed, reachedBy, refusals }: Suspicion, silentMs: number): string {
  const others =
    reachedBy === ""
      ? [...confirmed].map(([node, reason]) => `${node} cannot reach it: ${reason}`)
      : [`${reachedBy} reaches it, but it does not report`];
  const heard = why.startsWith("no heartbeat")
    ? `no heartbeat for ${shown(silentMs)}`
    : `${why} ${shown(silentMs)} ago`;
  const gone = refusals > 0 && reachedBy === "" ? ["nobody listens where it did"] : [];
  return [heard, ...gone, ...others].join("; ");
}

export const shown = (ms: number): string => formatDuration(Math.round(ms / 1_000) * 1_000);
