/**
 * `?explain` on lists of instances: beside those that the question finds, those that it leaves out, each with every filter that
 * leaves it out and what that filter wanted. Not Consul's; see docs/api-additions.md.
 */
import type { CheckRecord, NodeRecord } from "../records.ts";

/** What a candidate is judged by. */
export interface Candidate<Row> {
  node: NodeRecord | undefined;
  id: string;
  name: string;
  tags: readonly string[];
  checks: readonly CheckRecord[];
  row: Row;
}

/** The same predicates that the list itself is made with. */
export interface Judges<Row> {
  hasTags: (tags: readonly string[]) => boolean;
  isWanted: (node: NodeRecord) => boolean;
  passing: boolean;
  isKept: (row: Row) => boolean;
}

interface Reason {
  Filter: "filter" | "node-meta" | "passing" | "tag";
  /** What the request asked for. */
  Wanted: string[];
  /** What the instance has instead. */
  Has?: string[] | Record<string, string>;
  /** With `passing`: the checks that are not. */
  Checks?: Pick<CheckRecord, "CheckID" | "Name" | "Output" | "ServiceID" | "Status">[];
}

export interface Explanation<Row> {
  Service: string;
  /** How many instances are registered under the name. */
  Candidates: number;
  /** What the question is answered with. */
  Instances: Row[];
  LeftOut: { Node: string; ServiceID: string; ServiceName: string; Reasons: Reason[] }[];
  /** What decides on the order; it leaves nothing out. */
  Order: string;
}

/** Tells the candidates that are found from those that are not, and why. */
export function explain<Row>(
  service: string,
  candidates: readonly Candidate<Row>[],
  query: URLSearchParams,
  { sort, ...judges }: Judges<Row> & { sort: (rows: Row[]) => Row[] },
): Explanation<Row> {
  const judged = candidates.map((candidate) => ({ candidate, reasons: reasonsAgainst(candidate, query, judges) }));
  const near = query.get("near") ?? "";
  return {
    Service: service,
    Candidates: candidates.length,
    Instances: sort(judged.filter(({ reasons }) => reasons.length === 0).map(({ candidate }) => candidate.row)),
    LeftOut: judged
      .filter(({ reasons }) => reasons.length > 0)
      .map(({ candidate: { node, id, name }, reasons }) => ({
        Node: node?.Node ?? "",
        ServiceID: id,
        ServiceName: name,
        Reasons: reasons,
      })),
    Order: near === "" ? "by node and id" : `by round-trip time from ${near}`,
  };
}

function reasonsAgainst<Row>(candidate: Candidate<Row>, query: URLSearchParams, judges: Judges<Row>): Reason[] {
  const { node, tags, checks, row } = candidate;
  const reasons: Reason[] = [];
  if (!judges.hasTags(tags)) reasons.push({ Filter: "tag", Wanted: query.getAll("tag"), Has: [...tags] });
  if (!node || !judges.isWanted(node))
    reasons.push({ Filter: "node-meta", Wanted: query.getAll("node-meta"), Has: node?.Meta ?? {} });
  const failing = checks.filter((check) => check.Status !== "passing");
  if (judges.passing && failing.length > 0) {
    reasons.push({
      Filter: "passing",
      Wanted: ["passing"],
      Checks: failing.map(({ CheckID, Name, Status, ServiceID, Output }) => ({
        CheckID,
        Name,
        Status,
        ServiceID,
        Output,
      })),
    });
  }
  if (!judges.isKept(row)) reasons.push({ Filter: "filter", Wanted: [query.get("filter") ?? ""] });
  return reasons;
}

/** True for `?explain`, `?explain=true`; false without it. */
export const wantsExplanation = (query: URLSearchParams): boolean =>
  query.has("explain") && !/^(?:0|f|false)$/i.test(query.get("explain") ?? "");
