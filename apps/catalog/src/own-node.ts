/** What a caller may write by its certificate: an agent its own node, and nodes that no agent has; everybody else all. */
import type { IncomingMessage } from "node:http";
import { callerOf, type Logger, PermissionDeniedError } from "@heddle/daemon";
import type { Store } from "@heddle/store";
import { type MemberRecord, MEMBERS, nodeKey, NODES, type NodeRecord } from "./records.ts";

export interface OwnNodeDeps {
  store: Store;
  log: Logger;
}

export interface WrittenNode {
  Node: string;
  /** The node id that is claimed with it. */
  ID?: string;
  /** True for what only a node's own agent says. */
  isOwnOnly?: boolean;
}

/** Throws PermissionDeniedError where the caller's certificate is of another node's agent. */
export function requireOwnNode(req: IncomingMessage, written: WrittenNode, { store, log }: OwnNodeDeps): void {
  const caller = callerOf(req);
  if (caller?.role !== "agent") return;
  const why = refusalOf(caller.node, written, store);
  if (why === undefined) return;
  const path = req.url?.split("?")[0];
  log.warn("refused an agent's write to another node", { agent: caller.node, node: written.Node, path, reason: why });
  throw new PermissionDeniedError(why);
}

function refusalOf(
  own: string | undefined,
  { Node, ID = "", isOwnOnly }: WrittenNode,
  store: Store,
): string | undefined {
  if (own === undefined)
    return "the certificate of role 'agent' names no node, so it may write none: make one with 'heddle tls cert create -client -node NAME'";
  const isOwn = nodeKey(own) === nodeKey(Node);
  const isMember = store.get(MEMBERS, nodeKey(Node)) !== undefined;
  if (!isOwn && (isMember || isOwnOnly))
    return `the agent of node '${own}' may not write node '${Node}', which has an agent of its own`;
  if (ID === "") return undefined;
  // Registering a node under the id of another one would take that one's place.
  const holder = store.list<MemberRecord>(MEMBERS).find((m) => m.value.ID === ID && m.key !== nodeKey(Node));
  const isHeld = holder?.value.Status === "alive" && store.get<NodeRecord>(NODES, holder.key) !== undefined;
  return isHeld ? `node id ${ID} is that of node '${holder.value.Node}', which is alive` : undefined;
}
