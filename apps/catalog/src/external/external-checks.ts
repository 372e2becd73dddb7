/**
 * What there is to probe on nodes without an agent (`external-node` in their metadata): their checks that say how, and with
 * `external-probe` the node itself. The names are those of consul-esm, whose work this is.
 */
import { parseDuration } from "@heddle/daemon";
import type { CatalogState } from "../state.ts";
import { type CheckRecord, MEMBERS, type MemberRecord, nodeKey, NODES, type NodeRecord } from "../records.ts";

export const NODE_CHECK = "externalNodeHealth";
export const NODE_CHECK_NAME = "External Node Status";
const DEFAULT_INTERVAL_MS = 10_000;
const COPIED = [
  ...["HTTP", "Method", "Header", "Body", "TCP", "UDP", "GRPC", "GRPCUseTLS", "H2PING"],
  ...["TLSServerName", "TLSSkipVerify", "OutputMaxSize"],
];
/** What may be probed from another machine; programs are nobody's to run here (CHK-01). */
const PROBED = ["HTTP", "TCP", "UDP", "GRPC", "H2PING"];

/** A check as the checker gets it: its id is that of node and check together. */
export type ExternalCheck = { CheckID: string; IntervalMs: number } & Record<string, unknown>;

export const externalNodes = (state: CatalogState): NodeRecord[] =>
  state.store
    .list<NodeRecord>(NODES)
    .map(({ value }) => value)
    .filter((node) => isExternal(state, node));

/** A node whose metadata says so, and which has no agent that would know better. */
export function isExternal(state: CatalogState, { Node, Meta }: Pick<NodeRecord, "Meta" | "Node">): boolean {
  if (Meta?.["external-node"] !== "true") return false;
  return state.store.get<MemberRecord>(MEMBERS, nodeKey(Node))?.value.Status !== "alive";
}

export function externalChecks(state: CatalogState, node: NodeRecord): ExternalCheck[] {
  const found = state.checksOf(node.Node).flatMap(({ value }) => toExternal(value));
  if (node.Meta?.["external-probe"] !== "true") return found;
  const own = { CheckID: joinId(node.Node, NODE_CHECK), IntervalMs: DEFAULT_INTERVAL_MS, Reach: node.Address };
  return [own, ...found];
}

function toExternal({ Node, CheckID, Definition }: CheckRecord): ExternalCheck[] {
  if (!PROBED.some((key) => Definition[key])) return [];
  const copied = COPIED.flatMap((key) => (Definition[key] === undefined ? [] : [[key, Definition[key]] as const]));
  const duration = (key: string) => {
    const text = Definition[key] ?? Definition[`${key}Duration`];
    return typeof text === "string" && text !== "" ? parseDuration(text) : 0;
  };
  const TimeoutMs = duration("Timeout");
  const check = { CheckID: joinId(Node, CheckID), IntervalMs: duration("Interval") || DEFAULT_INTERVAL_MS };
  return [{ ...check, ...(TimeoutMs > 0 && { TimeoutMs }), ...Object.fromEntries(copied) }];
}

/** Node names hold no line break, so that both parts come back. */
export const joinId = (node: string, check: string): string => `${node}\n${check}`;

export function splitId(id: string): { node: string; check: string } {
  const at = id.indexOf("\n");
  return { node: id.slice(0, Math.max(0, at)), check: id.slice(at + 1) };
}
