/** Catalog registration as a command: a node, a service on it and checks, written in one atomic step. */
import { type Decoded, refusal } from "@heddle/daemon";
import type { NodeService } from "@heddle/service-definition/types";
import type { Command, View, Write } from "@heddle/store";
import {
  checkKey,
  CHECKS,
  COORDINATES,
  MEMBERS,
  nodeKey,
  nodePrefix,
  NODES,
  serviceKey,
  SERVICES,
  SERF_HEALTH,
  type CheckRecord,
  type MemberRecord,
  type NodeRecord,
  type Owner,
  type ServiceRecord,
} from "../records.ts";
import type { Registration } from "./registration.ts";
import { invalidateSessions } from "./sessions.ts";

/** Writes a registration. What is equal to what is stored is not written: it wakes nobody. */
export function register(registration: Registration): Command<true> {
  return (view) => {
    const { node, service, checks, skipNodeUpdate } = registration;
    const existing = view.get<NodeRecord>(NODES, nodeKey(node.Node));
    if (!skipNodeUpdate) refuseTakenName(view, node);
    const writes = !existing || !skipNodeUpdate ? nodeWrites(view, node) : [];
    const nodeName = existing?.value.Node ?? node.Node;
    if (service) writes.push(...serviceWrites(view, nodeName, service));
    for (const check of checks) writes.push(...checkWrites(view, { ...check, Node: nodeName }, service));
    return { writes, result: true };
  };
}

/** Throws where another node that is alive has this name: whose id is another may not take its place. */
export function refuseTakenName(view: View, { ID, Node, Address }: NodeRecord): void {
  const holder = view.get<NodeRecord>(NODES, nodeKey(Node))?.value;
  if (ID === "" || !holder || holder.ID === ID) return;
  // An agent that lost its data directory comes back with another id: the name is whose lease it is.
  if (view.get<MemberRecord>(MEMBERS, nodeKey(Node))?.value.ID === ID) return;
  const alive = view.get<CheckRecord>(CHECKS, checkKey(Node, SERF_HEALTH))?.value;
  const isRenaming = view.list<NodeRecord>(NODES).some(({ value }) => value.ID === ID);
  if (!alive || alive.Status === "critical" || (holder.ID === "" && isRenaming)) return;
  throw refusal(
    500,
    `failed inserting node: Error while renaming Node ID: "${ID}"${isRenaming ? ` (${Address})` : ""}: Node name ${Node} is reserved by node ${holder.ID} with name ${holder.Node} (${holder.Address})`,
  );
}

/** The writes that store a node: the one that had its id under another name goes. */
export function nodeWrites(view: View, node: NodeRecord): Write[] {
  const existing = view.get<NodeRecord>(NODES, nodeKey(node.Node));
  const writes = renameWrites(view, node);
  const merged = { ...node, ID: node.ID || (existing?.value.ID ?? "") };
  if (!same(existing?.value, merged)) writes.push({ table: NODES, key: nodeKey(node.Node), value: merged });
  return writes;
}

/** The writes that store an instance; where its name is another now, its checks carry it too. An owner stays one. */
export function serviceWrites(view: View, node: string, service: NodeService, owner?: Owner): Write[] {
  const key = serviceKey(node, service.ID);
  const before = view.get<ServiceRecord>(SERVICES, key);
  const Owner = owner ?? before?.value.Owner;
  const record: ServiceRecord = { Node: node, Service: service, ...(Owner && { Owner }) };
  const writes: Write[] = same(before?.value, record) ? [] : [{ table: SERVICES, key, value: record }];
  if (before && before.value.Service.Service !== service.Service) writes.push(...renamedChecks(view, node, service));
  return writes;
}

/** The writes that store a check: its service's name and tags filled in, its sessions ended where it is critical. */
export function checkWrites(view: View, check: CheckRecord, service?: NodeService): Write[] {
  const value = { ...check };
  if (check.ServiceID !== "") {
    const found =
      service?.ID === check.ServiceID
        ? service
        : view.get<ServiceRecord>(SERVICES, serviceKey(check.Node, check.ServiceID))?.value.Service;
    if (!found) throw refusal(500, `failed inserting check: Missing service registration on node "${check.Node}"`);
    value.ServiceName = found.Service;
    value.ServiceTags = found.Tags;
  } else {
    value.ServiceName = "";
  }
  const key = checkKey(check.Node, check.CheckID);
  const before = view.get<CheckRecord>(CHECKS, key)?.value;
  const Owner = check.Owner ?? before?.Owner;
  if (Owner) value.Owner = Owner;
  // What the agent said of its own check stays when others write it.
  if (!check.Owner && before?.ReapAfterMs) value.ReapAfterMs = before.ReapAfterMs;
  if (same(before, value)) return [];
  const ended =
    value.Status === "critical" && before?.Status !== "critical"
      ? invalidateSessions(view, { node: check.Node, checkId: check.CheckID })
      : [];
  return [{ table: CHECKS, key, value }, ...ended];
}

function renamedChecks(view: View, node: string, service: NodeService): Write[] {
  return view
    .list<CheckRecord>(CHECKS, nodePrefix(node))
    .filter((c) => c.value.ServiceID === service.ID)
    .map((c) => ({
      table: CHECKS,
      key: c.key,
      value: { ...c.value, ServiceName: service.Service, ServiceTags: service.Tags },
    }));
}

// A node that comes back under another name with the same id takes the place of the old one.
function renameWrites(view: View, node: NodeRecord): Write[] {
  if (node.ID === "") return [];
  const old = view
    .list<NodeRecord>(NODES)
    .find((n) => n.value.ID === node.ID && nodeKey(n.value.Node) !== nodeKey(node.Node));
  return old ? nodeRemoval(view, old.value.Node) : [];
}

/** The writes that take a node and everything on it away. */
export function nodeRemoval(view: View, node: string): Write[] {
  return [
    ...view.list(SERVICES, nodePrefix(node)).map(({ table, key }) => ({ table, key })),
    ...view.list(CHECKS, nodePrefix(node)).map(({ table, key }) => ({ table, key })),
    ...view.list(COORDINATES, nodePrefix(node)).map(({ table, key }) => ({ table, key })),
    ...invalidateSessions(view, { node }),
    { table: NODES, key: nodeKey(node) },
  ];
}

/** Deep equality of plain values, whatever the order of keys. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((k) => Object.hasOwn(b, k) && same((a as Decoded)[k], (b as Decoded)[k]));
}
