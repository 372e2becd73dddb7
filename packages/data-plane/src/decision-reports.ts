/**
 * Tells the agent what this proxy decides on its callers, in small batches, so that who follows the node's decisions sees them. An agent
 * that has no such path (Consul's) is told nothing. No connection waits for it.
 */
import { ApiError } from "@heddle/api-client";
import type { DecisionReport } from "@heddle/intentions";
import type { Connection, Parties } from "./connections.ts";
import type { Refusal } from "./refusal.ts";
import { createRuleReports, type Holder } from "./rule-reports.ts";

const PATH = "/v1/agent/connect/decisions";
const BATCH_MS = 250;
const MAX_WAITING = 1_000; // what comes on top within one batch is counted, not told

/** An agent's client, or who passes it on to one. */
export interface ReportsTo {
  /** Rejects with ApiError where the agent answered that it cannot. */
  post(path: string, options: { body: unknown; signal: AbortSignal }): Promise<unknown>;
}

export interface DecisionReports {
  allowed(connection: Connection): void;
  cut(connection: Connection, refusal: Refusal): void;
  refused(parties: Parties, refusal: Refusal): void;
  /** Tells which rules a proxy holds, too, until what is returned is called. */
  follow(holder: Holder): () => Promise<void>;
  close(): Promise<void>;
}

export function createDecisionReports(client: ReportsTo): DecisionReports {
  const rules = createRuleReports(client);
  let waiting: DecisionReport[] = [];
  let missed = 0;
  let timer: NodeJS.Timeout | undefined;
  let isSending = false;
  let isOff = false;
  const abort = new AbortController();

  const add = (
    parties: Parties,
    Outcome: DecisionReport["Outcome"],
    why: { rule?: string | undefined; reason?: string | undefined },
  ) => {
    if (isOff || parties.direction !== "inbound") return; // the far proxy decides, and tells its own agent
    if (waiting.length >= MAX_WAITING) return void missed++;
    waiting.push({
      Time: new Date().toISOString(),
      Outcome,
      Source: parties.source,
      Destination: parties.destination,
      SourceURI: parties.sourceId ?? "",
      Peer: parties.peer,
      Rule: why.rule ?? "",
      Reason: (why.reason ?? "").slice(0, MAX_REASON),
    });
    plan();
  };
  const plan = () => {
    if (timer || isSending || isOff || waiting.length === 0) return;
    timer = setTimeout(() => void send(), BATCH_MS);
    timer.unref();
  };
  const send = async () => {
    timer = undefined;
    isSending = true;
    const body = { Missed: missed, Decisions: waiting };
    [waiting, missed] = [[], 0];
    try {
      await client.post(PATH, { body, signal: abort.signal });
    } catch (error) {
      if (error instanceof ApiError && (error.status === 404 || error.status === 405)) stop();
      else missed += body.Decisions.length + body.Missed; // the agent is away: old news is not kept for it
    }
    isSending = false;
    plan();
  };
  const stop = () => {
    isOff = true;
    clearTimeout(timer);
    waiting = [];
  };
  return {
    allowed: (connection) => add(connection, "allowed", connection),
    cut: (connection, refusal) => add(connection, "cut", refusal),
    refused: (parties, refusal) => add(parties, "refused", refusal),
    follow: (holder) => rules.follow(holder),
    async close() {
      stop();
      abort.abort(new Error("the proxy is closing"));
      await rules.close();
    },
  };
}

const MAX_REASON = 2_000;
