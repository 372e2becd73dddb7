import { expect, test } from "vitest";
import { effective } from "./effective.ts";

const check = (CheckID: string, Status: string, ServiceID = "web") => ({
  ...{ Node: "n1", CheckID, ServiceID },
  Status: Status as "passing",
});
const TIMES: Record<string, number> = { serfHealth: 1_000, a: 2_000, b: 3_000 };
const judge = (...checks: ReturnType<typeof check>[]) => effective(checks, ({ CheckID }) => TIMES[CheckID]);
const at = (ms: number) => new Date(ms).toISOString();
const serf = (status: string) => check("serfHealth", status, "");

test.each([
  ["all pass, since the last came to it", [serf("passing"), check("b", "passing")], "passing", at(3_000), []],
  ["nothing is checked", [], "passing", null, []],
  ["one is of before the start", [serf("passing"), check("old", "passing")], "passing", null, []],
  ["the node is dead", [serf("critical"), check("a", "passing")], "critical", at(1_000), ["serfHealth node critical"]],
  [
    "both warn, since the first",
    [check("a", "warning"), check("b", "warning")],
    "warning",
    at(2_000),
    ["a service warning", "b service warning"],
  ],
  [
    "critical before warning",
    [check("a", "warning"), check("b", "critical")],
    "critical",
    at(3_000),
    ["b service critical"],
  ],
  ["any other word is no good", [check("a", "unknown")], "critical", at(2_000), ["a service unknown"]],
  [
    "maintenance before all",
    [serf("critical"), check("_service_maintenance:web", "critical")],
    "maintenance",
    null,
    ["_service_maintenance:web service critical"],
  ],
  [
    "maintenance of the node",
    [check("_node_maintenance", "critical", "")],
    "maintenance",
    null,
    ["_node_maintenance node critical"],
  ],
])("%s", (_, checks, status, since, because) => {
  const { Status, Since, Because } = judge(...checks);
  expect([Status, Since, Because.map((b) => `${b.CheckID} ${b.Of} ${b.Status}`)]).toEqual([status, since, because]);
});
