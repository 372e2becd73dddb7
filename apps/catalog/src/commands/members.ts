/** Members of the mesh as commands: nodes whose agents hold a lease. Each keeps the node's `serfHealth` check in step. */
import type { Command, View, Write } from "@heddle/store";
import {
  CHECKS,
  checkKey,
  type CheckRecord,
  type MemberRecord,
  MEMBERS,
  nodeKey,
  NODES,
  type NodeRecord,
  SERF_HEALTH,
} from "../records.ts";
import { checkWrites, nodeRemoval, same } from "./register.ts";

const ALIVE_OUTPUT = "Agent alive and reachable"; // Consul's words, as those below
const FAILED_OUTPUT = "Agent not live or unreachable";

export type MemberFacts = Pick<MemberRecord, "Address" | "ID" | "Node" | "Server">;

/** A node's agent has its lease: what was under another name with the same id is the same node no more. */
export function memberAlive(facts: MemberFacts, now: number): Command<{ wasFailed: boolean; isNew: boolean }> {
  return (view) => {
    const before = view.get<MemberRecord>(MEMBERS, nodeKey(facts.Node))?.value;
    const isSame = before?.Status === "alive";
    const record: MemberRecord = { ...facts, Status: "alive", Since: isSame ? before.Since : now, Reason: "" };
    // Only who is new here may have been another: the list of all is one that every other join is in the way of.
    const isKnown = facts.ID === "" || before?.ID === facts.ID;
    const members = isKnown ? [] : view.list<MemberRecord>(MEMBERS);
    const renamed = members.filter((m) => m.value.ID === facts.ID && m.key !== nodeKey(facts.Node));
    return {
      writes: [
        ...(same(before, record) ? [] : [memberWrite(record)]),
        ...renamed.map(({ table, key }) => ({ table, key })),
        ...serfHealth(view, facts.Node, { status: "passing", output: ALIVE_OUTPUT }),
      ],
      result: { wasFailed: before?.Status === "failed", isNew: before === undefined || before.Status === "left" },
    };
  };
}

/** A node is dead or cut off: its instances are left out from here on, its sessions end. */
export function memberFailed(node: string, reason: string, now: number): Command<boolean> {
  return (view) => {
    const before = view.get<MemberRecord>(MEMBERS, nodeKey(node))?.value;
    if (before?.Status !== "alive") return { writes: [], result: false };
    const output = `${FAILED_OUTPUT}: ${reason}`;
    return {
      writes: [
        memberWrite({ ...before, Status: "failed", Since: now, Reason: reason }),
        ...serfHealth(view, node, { status: "critical", output }),
      ],
      result: true,
    };
  };
}

/** A node has left, or was made to: all that it had is taken away; its name is listed for a while, or forgotten at once. */
export function memberLeft(node: string, now: number, { forget = false } = {}): Command<boolean> {
  return (view) => {
    const before = view.get<MemberRecord>(MEMBERS, nodeKey(node))?.value;
    const isThere = view.get(NODES, nodeKey(node)) !== undefined;
    const removed = isThere ? nodeRemoval(view, node) : [];
    if (!before) return { writes: removed, result: false };
    const left: Write = forget
      ? { table: MEMBERS, key: nodeKey(node) }
      : memberWrite({ ...before, Status: "left", Since: before.Status === "left" ? before.Since : now, Reason: "" });
    return { writes: [...removed, left], result: true };
  };
}

const memberWrite = (value: MemberRecord): Write => ({ table: MEMBERS, key: nodeKey(value.Node), value });

function serfHealth(
  view: View,
  node: string,
  { status, output }: { status: "critical" | "passing"; output: string },
): Write[] {
  const found = view.get<NodeRecord>(NODES, nodeKey(node))?.value;
  if (!found) return []; // its agent registers it, with the check
  const before = view.get<CheckRecord>(CHECKS, checkKey(node, SERF_HEALTH))?.value;
  return checkWrites(view, {
    Node: found.Node,
    CheckID: SERF_HEALTH,
    Name: "Serf Health Status",
    Notes: "",
    ServiceID: "",
    ServiceName: "",
    ServiceTags: [],
    Type: "",
    Definition: {},
    ...before,
    Status: status,
    Output: output,
  });
}
