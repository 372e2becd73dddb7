/** Catalog deregistration as a command: a check, a service with its checks, or a node with everything on it. */
import { type Decoded, refusal, type Spec } from "@heddle/daemon";
import type { Command } from "@heddle/store";
import { checkKey, CHECKS, nodeKey, nodePrefix, NODES, serviceKey, SERVICES, type CheckRecord } from "../records.ts";
import { nodeRemoval } from "./register.ts";
import { invalidateSessions } from "./sessions.ts";

/** The body of PUT /v1/catalog/deregister. */
export const DEREGISTER_FIELDS: Record<string, Spec> = {
  Node: "string",
  Address: "string",
  Datacenter: "string",
  ServiceID: "string",
  CheckID: "string",
  Namespace: "string",
};

/** Deregistering what is not there succeeds, as in Consul. Throws where no node is named. */
export function deregister(body: Decoded): Command<true> {
  const node = (body["Node"] as string | undefined) ?? "";
  const serviceId = (body["ServiceID"] as string | undefined) ?? "";
  const checkId = (body["CheckID"] as string | undefined) ?? "";
  if (node === "") throw refusal(500, "Must provide node");
  return (view) => {
    if (serviceId !== "") {
      const service = view.get(SERVICES, serviceKey(node, serviceId));
      if (!service) return { writes: [], result: true };
      const checks = view.list<CheckRecord>(CHECKS, nodePrefix(node)).filter((c) => c.value.ServiceID === serviceId);
      const ended = checks.flatMap((c) => invalidateSessions(view, { node, checkId: c.value.CheckID }));
      return { writes: [...[service, ...checks].map(({ table, key }) => ({ table, key })), ...ended], result: true };
    }
    if (checkId !== "") {
      const check = view.get(CHECKS, checkKey(node, checkId));
      if (!check) return { writes: [], result: true };
      return {
        writes: [{ table: CHECKS, key: check.key }, ...invalidateSessions(view, { node, checkId })],
        result: true,
      };
    }
    return { writes: view.get(NODES, nodeKey(node)) ? nodeRemoval(view, node) : [], result: true };
  };
}
