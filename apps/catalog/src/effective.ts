/**
 * The status that counts, for `?effective`: of an instance, the worst of its node's checks and its own, or maintenance; of a
 * service's check, its own and its node's. Consul answers the raw statuses, and a check goes on passing on a dead node.
 */
import type { CheckRecord } from "./records.ts";

export type EffectiveStatus = "critical" | "maintenance" | "passing" | "warning";

type Judged = Pick<CheckRecord, "CheckID" | "Node" | "ServiceID" | "Status">;

export interface Effective {
  Status: EffectiveStatus;
  /** Since when, as far as this catalog has seen it; null where it was so when it started. */
  Since: string | null;
  /** The checks that make it so; none where it is passing. */
  Because: { CheckID: string; Of: "node" | "service"; Status: string }[];
}

const ORDER: readonly EffectiveStatus[] = ["maintenance", "critical", "warning"];

/** What a list of checks comes to: the node's and those of one service. `since` tells when a check came to its status. */
export function effective(checks: readonly Judged[], since: (check: Judged) => number | undefined): Effective {
  const judged = checks.map((check) => ({ check, status: statusOf(check) }));
  const status = ORDER.find((s) => judged.some((j) => j.status === s)) ?? "passing";
  const deciding = judged.filter((j) => j.status === status).map((j) => j.check);
  const times = deciding.map(since).filter((time) => time !== undefined);
  // It is passing since the last of all came to it, anything else since the first.
  const isKnown = status === "passing" ? times.length === deciding.length && times.length > 0 : times.length > 0;
  const at = status === "passing" ? Math.max(...times) : Math.min(...times);
  return {
    Status: status,
    Since: isKnown ? new Date(at).toISOString() : null,
    Because:
      status === "passing"
        ? []
        : deciding.map(({ CheckID, ServiceID, Status }) => ({
            CheckID,
            Of: ServiceID === "" ? "node" : "service",
            Status,
          })),
  };
}

function statusOf({ CheckID, Status }: Judged): EffectiveStatus {
  if (
    CheckID === "_node_maintenance" ||
    CheckID.startsWith("_service_maintenance:") ||
    CheckID.startsWith("_service_drain:")
  )
    return "maintenance";
  return Status === "passing" || Status === "warning" ? Status : "critical";
}
