/** What an agent has to say of its node, as a command: several registrations in one step, and what each has changed. */
import type { Decoded, Spec } from "@heddle/daemon";
import { refusal } from "@heddle/daemon";
import type { NodeService } from "@heddle/service-definition/types";
import type { Command, View, Write } from "@heddle/store";
import {
  checkKey,
  CHECKS,
  type CheckRecord,
  nodeKey,
  NODES,
  type NodeRecord,
  type Owner,
  serviceKey,
  SERVICES,
  type ServiceRecord,
} from "../records.ts";
import { checkWrites, nodeWrites, same, serviceWrites } from "./register.ts";
import { type Registration, toRegistration } from "./registration.ts";
import { CHECK_FIELDS, REGISTER_FIELDS } from "./registration-fields.ts";

/** One of the list that an agent sends. */
export const SYNC_FIELDS: Record<string, Spec> = {
  ...REGISTER_FIELDS,
  Checks: { list: { object: { ...CHECK_FIELDS, ReapAfterMs: "integer" } } },
  Owner: "string",
  KeepOutput: "boolean",
  KeepTags: "boolean",
};

export interface SyncRegistration extends Registration {
  owner: Owner;
  /** Output that differs alone is left as it is. */
  keepOutput: boolean;
  /** Tags of a service with EnableTagOverride are left as others have made them. */
  keepTags: boolean;
}

/** What a registration found: the fields that were different, none where all was as it should be, null where it was not there. */
export interface SyncOutcome {
  Service?: string[] | null;
  /** The tags that count, where those of the registration do not. */
  Tags?: string[];
  Checks: Record<string, string[] | null>;
}

/** Throws refusals as `toRegistration` does, and for an unknown owner. */
export function toSyncRegistration(body: Decoded, datacenter: string): SyncRegistration {
  const owner = body["Owner"] ?? "agent";
  if (owner !== "agent" && owner !== "file")
    throw refusal(400, `Owner: invalid value ${JSON.stringify(owner)}: want agent or file`);
  const flags = { keepOutput: body["KeepOutput"] === true, keepTags: body["KeepTags"] === true };
  const registration = toRegistration(body, datacenter);
  const given = (body["Checks"] as Decoded[] | undefined) ?? [];
  const checks = registration.checks.map((check, i) => {
    const ReapAfterMs = given[i]?.["ReapAfterMs"];
    return typeof ReapAfterMs === "number" && ReapAfterMs > 0 ? { ...check, ReapAfterMs } : check;
  });
  return { ...registration, checks, owner, ...flags };
}

/** Writes registrations of different instances. */
export function syncAll(registrations: SyncRegistration[]): Command<SyncOutcome[]> {
  return (view) => {
    const done = registrations.map((registration) => sync(view, registration));
    return { writes: done.flatMap((d) => d.writes), result: done.map((d) => d.outcome) };
  };
}

function sync(view: View, registration: SyncRegistration): { writes: Write[]; outcome: SyncOutcome } {
  const { node, owner, skipNodeUpdate } = registration;
  const existing = view.get<NodeRecord>(NODES, nodeKey(node.Node));
  const writes = !existing || !skipNodeUpdate ? nodeWrites(view, node) : [];
  const nodeName = existing?.value.Node ?? node.Node;
  const outcome: SyncOutcome = { Checks: Object.create(null) as SyncOutcome["Checks"] };
  let service: NodeService | undefined;
  if (registration.service) {
    const before = view.get<ServiceRecord>(SERVICES, serviceKey(nodeName, registration.service.ID))?.value;
    service = withKeptTags(registration.service, before?.Service, registration.keepTags);
    outcome.Service = before ? differences(before.Service, service) : null;
    if (!same(service.Tags, registration.service.Tags)) outcome.Tags = service.Tags;
    writes.push(...serviceWrites(view, nodeName, service, owner));
  }
  for (const given of registration.checks) {
    const before = view.get<CheckRecord>(CHECKS, checkKey(nodeName, given.CheckID))?.value;
    const output = registration.keepOutput && before?.Status === given.Status ? before.Output : given.Output;
    const check = { ...given, Node: nodeName, Output: output, Owner: owner };
    const [write, ...rest] = checkWrites(view, check, service);
    outcome.Checks[given.CheckID] = before
      ? differences(before, (write?.value as CheckRecord | undefined) ?? before)
      : null;
    if (write) writes.push(write, ...rest);
  }
  return { writes, outcome };
}

function withKeptTags(given: NodeService, before: NodeService | undefined, keepTags: boolean): NodeService {
  return keepTags && given.EnableTagOverride && before ? { ...given, Tags: before.Tags } : given;
}

/** The names of the fields in which two records differ; who owns them is not one. */
function differences(before: object, after: object): string[] {
  const [a, b] = [before, after] as Record<string, unknown>[];
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  names.delete("Owner");
  return [...names].filter((name) => !same(a?.[name], b?.[name]));
}
