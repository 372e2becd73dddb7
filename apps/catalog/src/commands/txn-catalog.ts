/** The operations of a transaction on nodes, services and checks; the writes are those of registration and deregistration. */
import { type Decoded, formatDuration, parseDuration, refusal } from "@heddle/daemon";
import type { NodeService } from "@heddle/service-definition/types";
import { validateMeta } from "@heddle/service-definition/validate";
import type { Draft, StoredRecord, View } from "@heddle/store";
import {
  checkKey,
  CHECKS,
  nodeKey,
  NODES,
  serviceKey,
  SERVICES,
  type CheckRecord,
  type NodeRecord,
  type ServiceRecord,
} from "../records.ts";
import { deregister } from "./deregister.ts";
import { checkWrites, nodeWrites, serviceWrites } from "./register.ts";
import { refuseBadNodeId, toCheck } from "./registration.ts";
import type { Operation, TxnResult } from "./txn.ts";

const VERBS = new Set(["set", "cas", "get", "delete", "delete-cas"]);

interface Subject {
  kind: "Check" | "Node" | "Service";
  /** As errors name it. */
  name: string;
  index: number;
  find: (view: View) => StoredRecord | undefined;
  write: (draft: Draft) => void;
  /** The body of a deregistration. */
  removal: Record<string, string>;
  show: (record: StoredRecord) => TxnResult;
  refuse?: () => void;
}

// What the three kinds have in common: five verbs, and when a compare fails.
function operation(verb: string, subject: Subject): Operation {
  const { kind, name, index, find } = subject;
  const stale = (what: string) => refusal(500, `failed to ${what} ${kind.toLowerCase()} ${name}, index is stale`);
  return {
    isWrite: verb !== "get",
    refuse: () => {
      if (verb !== "get") subject.refuse?.();
    },
    run(draft) {
      if (!VERBS.has(verb)) throw refusal(500, `unknown ${kind} verb ${JSON.stringify(verb)}`);
      const before = find(draft);
      if (verb === "delete" || verb === "delete-cas") {
        if (verb === "delete-cas" && before?.modifyIndex !== index) throw stale("delete");
        draft.apply(deregister(subject.removal)(draft).writes);
        return [];
      }
      if (verb === "get") {
        if (!before) throw refusal(500, `${kind.toLowerCase()} ${name} doesn't exist`);
        return [subject.show(before)];
      }
      if (verb === "cas" && (before?.modifyIndex ?? 0) !== index) throw stale("set");
      subject.write(draft);
      return [subject.show(find(draft) as StoredRecord)];
    },
  };
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const quoted = (name: string): string => JSON.stringify(name);
const count = (value: unknown): number => (typeof value === "number" ? value : 0);

/** An operation on a node; one with an id is read by it. */
export function nodeOperation(verb: string, given: Decoded, datacenter: string): Operation {
  const name = text(given["Node"]);
  const id = text(given["ID"]);
  const node: NodeRecord = {
    ID: id,
    Node: name,
    Address: text(given["Address"]),
    Datacenter: text(given["Datacenter"]) || datacenter,
    TaggedAddresses: (given["TaggedAddresses"] as Record<string, string> | undefined) ?? null,
    Meta: (given["Meta"] as Record<string, string> | undefined) ?? null,
  };
  return operation(verb, {
    kind: "Node",
    name: quoted(name),
    index: count(given["ModifyIndex"]),
    find(view) {
      if (id === "") return view.get(NODES, nodeKey(name));
      if (id.length !== 36)
        throw refusal(500, `node lookup by ID failed, wrong UUID: uuid string is wrong length for '${id}'`);
      return view.list<NodeRecord>(NODES).find((n) => n.value.ID === id.toLowerCase());
    },
    write: (draft) => draft.apply(nodeWrites(draft, node)),
    removal: { Node: name },
    show: (record) => ({ kind: "Node", record: record as StoredRecord<NodeRecord> }),
    refuse() {
      if (name === "") throw refusal(500, "Must provide node");
      refuseBadNodeId(id);
    },
  });
}

/** An operation on an instance. A transaction's services are plain ones: what they say of Connect is not taken, as in Consul. */
export function serviceOperation(verb: string, node: string, given: Decoded): Operation {
  const name = text(given["Service"]);
  const id = text(given["ID"]) || name;
  const weights = given["Weights"] as { Passing?: number; Warning?: number } | undefined;
  const tags = (given["Tags"] as string[] | undefined) ?? null;
  const service: NodeService = {
    ID: id,
    Service: name,
    Tags: tags ?? [],
    Address: text(given["Address"]),
    Meta: (given["Meta"] as Record<string, string> | undefined) ?? (null as unknown as Record<string, string>),
    Port: count(given["Port"]),
    Weights: weights?.Passing
      ? { Passing: weights.Passing, Warning: weights.Warning ?? 0 }
      : { Passing: 1, Warning: 1 },
    EnableTagOverride: given["EnableTagOverride"] === true,
    Proxy: {},
    Connect: {},
  };
  return operation(verb, {
    kind: "Service",
    name: `${quoted(id)} on node ${quoted(node)}`,
    index: count(given["ModifyIndex"]),
    find: (view) => view.get(SERVICES, serviceKey(node, id)),
    write(draft) {
      const registered = requireNode(draft, node);
      if (id === "") throw refusal(500, "failed inserting service: object missing primary index");
      draft.apply(serviceWrites(draft, registered, service));
    },
    removal: { Node: node, ServiceID: id },
    show: (record) => shownService(record as StoredRecord<ServiceRecord>, tags),
    refuse() {
      if (name === "" && id !== "") throw refusal(500, "Must provide service name with ID");
      const problem = verb.startsWith("delete") ? undefined : validateMeta(service.Meta ?? {});
      if (problem !== undefined)
        throw refusal(
          500,
          `failed inserting service: Invalid Service Meta for node ${node} and serviceID ${id}: ${problem}`,
        );
      if (verb.startsWith("delete") && node === "") throw refusal(500, "Must provide node");
      // Without an id a deregistration would mean the whole node.
      if (verb.startsWith("delete") && id === "") throw refusal(500, "Must provide ID and Service of the service");
    },
  });
}

// Consul shows the tags as they were given here, and null where there are none.
const shownService = (record: StoredRecord<ServiceRecord>, given: string[] | null): TxnResult => ({
  kind: "Service",
  record,
  tags: record.value.Service.Tags.length > 0 ? record.value.Service.Tags : given,
});

/** An operation on a check. */
export function checkOperation(verb: string, given: Decoded): Operation {
  const node = text(given["Node"]);
  const named = text(given["CheckID"]) !== "" || text(given["Name"]) !== "";
  const check: CheckRecord = {
    // What has no name is refused by the write that needs one, in its place among the operations.
    ...toCheck({ ...given, ...(!named && { CheckID: " " }), Definition: undefined }, node),
    ...(!named && { CheckID: "" }),
    Type: "",
    Definition: definition((given["Definition"] as Decoded | undefined) ?? {}),
  };
  const id = check.CheckID;
  return operation(verb, {
    kind: "Check",
    name: `${quoted(id)} on node ${quoted(node)}`,
    index: count(given["ModifyIndex"]),
    find: (view) => view.get(CHECKS, checkKey(node, id)),
    write(draft) {
      const registered = requireNode(draft, node);
      if (id === "") throw refusal(500, "failed inserting check: object missing primary index");
      if (check.ServiceID !== "" && !draft.get(SERVICES, serviceKey(node, check.ServiceID)))
        throw refusal(500, "Missing service registration");
      draft.apply(checkWrites(draft, { ...check, Node: registered }));
    },
    removal: { Node: node, CheckID: id },
    show: (record) => ({ kind: "Check", record: record as StoredRecord<CheckRecord> }),
    // Without an id a deregistration would mean the whole node.
    refuse() {
      if (verb.startsWith("delete") && node === "") throw refusal(500, "Must provide node");
      if (verb.startsWith("delete") && id === "") throw refusal(500, "Must provide CheckID or Name of the check");
    },
  });
}

// What Consul takes of a check's definition here: nothing that runs a command.
const TAKEN = ["HTTP", "TLSSkipVerify", "Header", "Method", "Body", "TCP"];
const DURATIONS = ["Interval", "Timeout", "DeregisterCriticalServiceAfter"];

function definition(given: Decoded): Record<string, unknown> {
  const durations = DURATIONS.flatMap((key) => {
    const ms = durationMs(given[`${key}Duration`]) || durationMs(given[key]);
    return ms > 0 ? [[key, formatDuration(ms)]] : [];
  });
  const taken = TAKEN.filter((key) => given[key]).map((key) => [key, given[key]]);
  return Object.fromEntries([...durations, ...taken]) as Record<string, unknown>;
}

// Go reads a bare number as nanoseconds.
function durationMs(value: unknown): number {
  if (typeof value === "number") return value / 1e6;
  if (typeof value !== "string" || value === "") return 0;
  try {
    return parseDuration(value);
  } catch (cause) {
    throw refusal(400, `Failed to parse body: time: invalid duration ${JSON.stringify(value)}`, cause);
  }
}

/** The name of a node as it is registered. */
function requireNode(view: View, node: string): string {
  const found = view.get<NodeRecord>(NODES, nodeKey(node));
  if (!found) throw refusal(500, "Missing node registration");
  return found.value.Node;
}
