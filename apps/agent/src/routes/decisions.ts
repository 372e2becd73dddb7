/** /v1/agent/connect/decisions: GET follows the node's decisions, POST is how its proxies report theirs. Not Consul's. */
import {
  type ApiRequest,
  type ApiTable,
  decodeBody,
  describeError,
  readBody,
  refusal,
  reply,
  type Spec,
  whenDraining,
} from "@heddle/daemon";
import { DECISION_OUTCOMES } from "@heddle/intentions";
import type { AgentDeps } from "../deps.ts";
import { type Decisions, MAX_FOLLOWERS, type NodeDecision } from "../decisions.ts";

const MAX_BACKLOG_BYTES = 1024 * 1024; // who does not read is ended
const MAX_BODY = 1024 * 1024;
const MAX_REPORTED = 1_000;
const MAX_TEXT = 2_048;
const TEXTS = ["Time", "Source", "Destination", "SourceURI", "Peer", "Rule", "Reason"] as const;

export const REPORT_FIELDS: Record<string, Spec> = {
  Missed: "integer",
  Decisions: {
    list: { object: { ...Object.fromEntries(TEXTS.map((name) => [name, "string" as const])), Outcome: "string" } },
  },
};

export function decisionTable({ decisions }: Pick<AgentDeps, "decisions">): ApiTable {
  return {
    "/v1/agent/connect/decisions": {
      GET: (request) => follow(decisions, request),
      POST: (request) => report(decisions, request),
    },
  };
}

function follow(decisions: Decisions, { res }: ApiRequest): void {
  const end = decisions.follow((decision) => {
    if (res.writableLength > MAX_BACKLOG_BYTES) return void res.destroy();
    res.write(`${JSON.stringify(decision)}\n`);
  });
  if (!end) throw refusal(429, `${MAX_FOLLOWERS} callers follow the decisions already`);
  res.once("close", end);
  whenDraining(res, () => {
    end();
    res.end();
  });
  res.writeHead(200, { "Content-Type": "application/x-ndjson", "X-Content-Type-Options": "nosniff" });
  res.flushHeaders();
}

async function report(decisions: Decisions, request: ApiRequest): Promise<void> {
  const bytes = await readBody(request.req, MAX_BODY);
  const { Decisions: reported, Missed = 0 } = decodeReport(bytes);
  if (reported.length > MAX_REPORTED)
    throw refusal(400, `Decisions has ${reported.length} elements, at most ${MAX_REPORTED} are accepted`);
  const checked = reported.map((one, i) => toDecision(one, `Decisions[${i}]`));
  const [first, ...others] = checked;
  if (first) decisions.tell(Missed > 0 ? { ...first, Missed } : first);
  for (const decision of others) decisions.tell(decision);
  reply(request, { Followed: decisions.isFollowed });
}

function decodeReport(bytes: Buffer): { Decisions: Record<string, unknown>[]; Missed?: number } {
  try {
    const { Decisions: reported = [], Missed } = decodeBody(bytes, REPORT_FIELDS);
    return { Decisions: reported as Record<string, unknown>[], Missed: Number(Missed ?? 0) };
  } catch (error) {
    throw refusal(400, `Bad request: ${describeError(error)}`);
  }
}

function toDecision(one: Record<string, unknown>, where: string): NodeDecision {
  const text = (name: (typeof TEXTS)[number]): string => {
    const value = (one[name] as string | undefined) ?? "";
    if (value.length > MAX_TEXT)
      throw refusal(400, `${where}.${name} is ${value.length} characters long, at most ${MAX_TEXT} are accepted`);
    return value;
  };
  const Outcome = DECISION_OUTCOMES.find((outcome) => outcome === one["Outcome"]);
  if (!Outcome)
    throw refusal(
      400,
      `${where}.Outcome is ${JSON.stringify(one["Outcome"])}, want one of ${DECISION_OUTCOMES.join(", ")}`,
    );
  return {
    Time: text("Time"),
    By: "proxy",
    Outcome,
    Source: text("Source"),
    Destination: text("Destination"),
    SourceURI: text("SourceURI"),
    Peer: text("Peer"),
    Rule: text("Rule"),
    Reason: text("Reason"),
  };
}
