/** What a checker of external nodes has found, as a command: statuses of checks that are theirs to judge, and of nothing else. */
import type { HealthCheck } from "@heddle/service-definition";
import type { Command, Write } from "@heddle/store";
import { NODE_CHECK, NODE_CHECK_NAME } from "../external/external-checks.ts";
import { CHECKS, checkKey, type CheckRecord, nodeKey, NODES, type NodeRecord } from "../records.ts";
import { checkWrites } from "./register.ts";

export interface ExternalResult {
  node: string;
  check: string;
  status: HealthCheck["Status"];
  output: string;
}

/** Output that changes alone is not written: it would wake everybody who waits for the service. Results in what was written. */
export function judgeExternal(results: readonly ExternalResult[]): Command<ExternalResult[]> {
  return (view) => {
    const written: ExternalResult[] = [];
    const writes = results.flatMap((result): Write[] => {
      const { node, check, status, output } = result;
      const record = view.get<NodeRecord>(NODES, nodeKey(node))?.value;
      const known = view.get<CheckRecord>(CHECKS, checkKey(node, check))?.value;
      if (record?.Meta?.["external-node"] !== "true" || (!known && check !== NODE_CHECK)) return [];
      if (known?.Status === status) return [];
      written.push(result);
      return checkWrites(view, { ...(known ?? nodeCheck(record.Node)), Status: status, Output: output });
    });
    return { writes, result: written };
  };
}

const nodeCheck = (Node: string): Omit<CheckRecord, "Output" | "Status"> => ({
  ...{ Node, CheckID: NODE_CHECK, Name: NODE_CHECK_NAME, Notes: "", ServiceID: "", ServiceName: "", ServiceTags: [] },
  ...{ Type: "", Definition: {} },
});
