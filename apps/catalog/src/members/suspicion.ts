/**
 * When silence means death. A node whose lease ran out is suspected first; the more agents confirm that they do not reach
 * it either, the sooner it is declared failed, and one that some agent reaches is given more time. The idea is SWIM's.
 */

/** How often an agent says that it lives. */
export const HEARTBEAT_MS = 1_000;
/** Silence on an open connection before a node is suspected: four heartbeats late, which a busy machine may be. */
export const LEASE_MS = 5_000;
/** After a catalog's start its agents have this long to find it again before anybody is suspected: they try every 2 s. */
export const RESTART_GRACE_MS = 15_000;
/** A node that other agents reach but that does not report: what it says of its checks is not true for longer than this. */
export const MAX_UNHEARD_MS = 30_000;
/** How many other agents are asked. */
export const PROBERS = 3;
export const PROBE_TIMEOUT_MS = 1_500;
export const DEFAULT_RECONNECT_TIMEOUT_MS = 72 * 3_600_000; // Consul's reconnect_timeout
export const MIN_RECONNECT_TIMEOUT_MS = 8 * 3_600_000; // Consul's least

const SUSPICION_MS = [5_000, 3_000, 2_000] as const; // by confirmations; the least still covers an agent's restart

/** An agent whose connection has ended and whose port is closed, as often as this in a row, is gone: as good as two other agents. */
const REFUSALS = 3;

/** How long a node stays suspected before it is declared failed. */
export function suspicionMs(confirmations: number): number {
  return SUSPICION_MS[Math.min(confirmations, SUSPICION_MS.length - 1)] as number;
}

export interface Suspect {
  /** Since the last heartbeat, or the end of the connection. */
  silentMs: number;
  suspectedMs: number;
  /** Agents that could not reach it either. */
  confirmations: number;
  /** How often in a row this server found its port closed. */
  refusals: number;
  /** Whether an agent has reached it since it is suspected. */
  isReached: boolean;
}

/** What a suspicion has come to: wait, declare the node failed, or ask the other agents once more. */
export function judgeSuspect(suspect: Suspect): "ask" | "failed" | "wait" {
  const { silentMs, suspectedMs, confirmations, refusals, isReached } = suspect;
  const known = refusals >= REFUSALS ? confirmations + 2 : confirmations;
  if (suspectedMs < suspicionMs(isReached ? 0 : known)) return "wait";
  return isReached && silentMs < MAX_UNHEARD_MS ? "ask" : "failed";
}
