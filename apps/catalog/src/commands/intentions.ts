/** Intentions as commands: created, changed and deleted by id, one for each pair of names. */
import { createHash, randomUUID } from "node:crypto";
import {
  decodeConfigEntry,
  type IntentionJwt,
  type IntentionPermission,
  normaliseConfigEntry,
  problemList,
  type ServiceIntentionsEntry,
} from "@heddle/config-entries";
import { type Decoded, refusal, type Spec } from "@heddle/daemon";
import { precedence } from "@heddle/intentions";
import type { Command, View } from "@heddle/store";
import { destinationIntentions } from "../intention-entries.ts";
import { INTENTIONS, type IntentionRecord } from "../records.ts";

export const INTENTION_FIELDS: Record<string, Spec> = {
  ID: "string",
  Description: "string",
  SourceNS: "string",
  SourceName: "string",
  DestinationNS: "string",
  DestinationName: "string",
  SourceType: "string",
  Action: "string",
  Permissions: { list: "any" },
  JWT: "any",
  DefaultAddr: "string",
  DefaultPort: "integer",
  Meta: { map: "string" },
  Precedence: "integer",
  CreatedAt: "string",
  UpdatedAt: "string",
  Hash: "any",
  CreateIndex: "integer",
  ModifyIndex: "integer",
};

const MAX_DESCRIPTION = 512;
const MAX_META = 64;
const MAX_META_KEY = 128;
const MAX_META_VALUE = 512;

const text = (value: unknown, otherwise = ""): string =>
  typeof value === "string" && value !== "" ? value : otherwise;

/** What a body asks for, checked. Throws Consul's list of problems (500). */
export function toIntention(body: Decoded, now: Date, before?: IntentionRecord): IntentionRecord {
  const names = {
    SourceNS: text(body["SourceNS"], "default"),
    SourceName: text(body["SourceName"]),
    DestinationNS: text(body["DestinationNS"], "default"),
    DestinationName: text(body["DestinationName"]),
  };
  const { permissions, token } = readRequestRules(body, names);
  const record: IntentionRecord = {
    ID: before?.ID ?? randomUUID(),
    Description: text(body["Description"]),
    ...names,
    SourceType: text(body["SourceType"], "consul"),
    Action: text(body["Action"]),
    Meta: (body["Meta"] as Record<string, string> | undefined) ?? {},
    Precedence: precedence(names),
    CreatedAt: before?.CreatedAt ?? now.toISOString(),
    UpdatedAt: now.toISOString(),
    ...(permissions && { Permissions: permissions }),
    ...(token && { JWT: token }),
    ...(before?.EntryMeta && { EntryMeta: before.EntryMeta }),
  };
  const problems = problemsOf(record);
  if (problems.length > 0) throw refusal(500, problemList(problems));
  return record;
}

/** Rules on requests are read and checked as those of a config entry are. Throws its refusals. */
function readRequestRules(
  body: Decoded,
  { SourceName, DestinationName }: Pick<IntentionRecord, "DestinationName" | "SourceName">,
): { permissions?: IntentionPermission[] | undefined; token?: IntentionJwt | undefined } {
  const Permissions = (body["Permissions"] as unknown[] | undefined) ?? [];
  const JWT = body["JWT"] ?? undefined;
  if (Permissions.length === 0 && JWT === undefined) return {};
  const source = { Name: SourceName || "*", ...(Permissions.length > 0 ? { Permissions } : { Action: "deny" }) };
  const entry = { Kind: "service-intentions", Name: DestinationName || "default", JWT, Sources: [source] };
  const read = normaliseConfigEntry(decodeConfigEntry(entry)) as ServiceIntentionsEntry;
  return { permissions: read.Sources?.[0]?.Permissions, token: read.JWT };
}

function problemsOf(i: IntentionRecord): string[] {
  const problems: string[] = [];
  for (const side of ["Source", "Destination"] as const) {
    const ns = i[`${side}NS`];
    const name = i[`${side}Name`];
    if (name === "") problems.push(`${side}Name must be set`);
    if (ns !== "*" && ns.includes("*"))
      problems.push(`${side}NS: wildcard character '*' cannot be used with partial values`);
    if (name !== "*" && name.includes("*"))
      problems.push(`${side}Name: wildcard character '*' cannot be used with partial values`);
    if (ns === "*" && name !== "*" && name !== "")
      problems.push(`${side}Name: exact value cannot follow wildcard namespace`);
  }
  if (i.Description.length > MAX_DESCRIPTION) problems.push(`Description exceeds maximum length ${MAX_DESCRIPTION}`);
  const meta = Object.entries(i.Meta);
  if (meta.length > MAX_META) problems.push(`Meta exceeds maximum element count ${MAX_META}`);
  for (const [k, v] of meta) {
    if (k.length > MAX_META_KEY) problems.push(`Meta key ${JSON.stringify(k)} exceeds maximum length ${MAX_META_KEY}`);
    if (v.length > MAX_META_VALUE)
      problems.push(`Meta value for key ${JSON.stringify(k)} exceeds maximum length ${MAX_META_VALUE}`);
  }
  const hasPermissions = (i.Permissions?.length ?? 0) > 0;
  if (hasPermissions && i.Action !== "") problems.push("Action must not be set where Permissions are");
  if (!hasPermissions && i.Action !== "allow" && i.Action !== "deny")
    problems.push("Action must be set to 'allow' or 'deny'");
  if (i.SourceType !== "consul") problems.push("SourceType must be set to 'consul'");
  return problems;
}

const NAMES = ["SourceNS", "SourceName", "DestinationNS", "DestinationName"] as const;
const isSamePair = (a: IntentionRecord, b: IntentionRecord): boolean => NAMES.every((n) => a[n] === b[n]);

/** Stores a new rule; refused where one for the same pair of names is there. */
export function createIntention(body: Decoded, now: Date): Command<string> {
  if (text(body["ID"]) !== "") throw refusal(500, "ID must be empty when creating a new intention");
  const record = toIntention(body, now);
  return (view) => {
    refuseDuplicate(view.list<IntentionRecord>(INTENTIONS), record);
    const value = withToken(view, record);
    return { writes: [{ table: INTENTIONS, key: record.ID, value }], result: record.ID };
  };
}

/** Changes the rule with this id. */
export function updateIntention(id: string, body: Decoded, now: Date): Command<string> {
  return (view) => {
    const before = view.get<IntentionRecord>(INTENTIONS, id);
    if (!before) throw refusal(500, `Cannot modify non-existent intention: '${id}'`);
    const record = toIntention(body, now, before.value);
    refuseDuplicate(view.list<IntentionRecord>(INTENTIONS), record);
    return { writes: [{ table: INTENTIONS, key: id, value: withToken(view, record) }], result: id };
  };
}

/** Creates or replaces the rule for a pair of names (PUT …/exact, since Consul 1.9). */
export function upsertIntention(body: Decoded, now: Date): Command<true> {
  return (view) => {
    const wanted = toIntention(body, now);
    const before = view.list<IntentionRecord>(INTENTIONS).find((r) => isSamePair(r.value, wanted));
    const { ID, CreatedAt, FromEntry, EntryMeta } = before?.value ?? { ...wanted, FromEntry: true };
    const record = { ...wanted, ID, CreatedAt, ...(FromEntry && { FromEntry }), ...(EntryMeta && { EntryMeta }) };
    return { writes: [{ table: INTENTIONS, key: record.ID, value: withToken(view, record) }], result: true };
  };
}

/** What the entry of its destination demands of every source holds for one that comes by itself, too. */
function withToken(view: View, record: IntentionRecord): IntentionRecord {
  const { JWT: token } = destinationIntentions(view, record.DestinationName)?.value ?? {};
  return record.DestinationNS === "default" && token && !record.JWT ? { ...record, JWT: token } : record;
}

/** Deletes by id; an unknown one is refused, as in Consul. */
export function deleteIntention(id: string): Command<true> {
  return (view) => {
    if (!view.get(INTENTIONS, id)) throw refusal(500, `Cannot delete non-existent intention: '${id}'`);
    return { writes: [{ table: INTENTIONS, key: id }], result: true };
  };
}

function refuseDuplicate(rules: { value: IntentionRecord }[], record: IntentionRecord): void {
  const twin = rules.find((r) => r.value.ID !== record.ID && isSamePair(r.value, record));
  if (!twin) return;
  const { SourceNS, SourceName, DestinationNS, DestinationName, ID, Precedence, Action } = twin.value;
  throw refusal(
    500,
    `duplicate intention found: ${Action.toUpperCase()} ${SourceNS}/${SourceName} => ${DestinationNS}/${DestinationName} (ID: ${ID}, Precedence: ${Precedence})`,
  );
}

/** An opaque hash of what a rule says, as the API shows it. */
export function intentionHash(record: IntentionRecord): string {
  const { ID, Description, Action, Meta, Permissions, JWT } = record;
  return createHash("sha256")
    .update(
      JSON.stringify([
        ID,
        Description,
        Action,
        Meta,
        Permissions ?? null,
        NAMES.map((n) => record[n]),
        ...(JWT ? [JWT] : []),
      ]),
    )
    .digest("base64");
}
