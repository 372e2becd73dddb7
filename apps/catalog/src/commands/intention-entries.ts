/** What writing or deleting a `service-intentions` entry does to the intentions of its destination. */
import { randomUUID } from "node:crypto";
import { type IntentionSource, problemList, type ServiceIntentionsEntry } from "@heddle/config-entries";
import { refusal } from "@heddle/daemon";
import { precedence } from "@heddle/intentions";
import type { StoredRecord, View, Write } from "@heddle/store";
import { entriesOf } from "../config-entries.ts";
import { isOfDestination } from "../intention-entries.ts";
import { INTENTIONS, type IntentionRecord } from "../records.ts";

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The writes that make the rules of a destination those of the entry: a rule that stays keeps its id. */
export function writeDestination(view: View, entry: ServiceIntentionsEntry, now: Date): Write[] {
  checkProviders(view, entry);
  const before = rulesOf(view, entry.Name);
  const bySource = new Map(before.map((rule) => [sourceKey(ruleSource(rule.value)), rule.value]));
  const kept = new Set<string>();
  const writes: Write[] = (entry.Sources ?? []).map((source) => {
    const old = bySource.get(sourceKey(source));
    const id = old?.ID ?? legacyId(view, source) ?? randomUUID();
    kept.add(id);
    return { table: INTENTIONS, key: id, value: toRule(entry, source, id, now, old) };
  });
  for (const { key } of before) if (!kept.has(key)) writes.push({ table: INTENTIONS, key });
  return writes;
}

/** Refuses an entry that demands tokens of somebody who is not there, as Consul does. */
function checkProviders(view: View, { JWT, Sources }: ServiceIntentionsEntry): void {
  const permissions = (Sources ?? []).flatMap(({ Permissions }) => Permissions ?? []);
  const demands = [JWT, ...permissions.map((permission) => permission.JWT)];
  const names = new Set(demands.flatMap((demand) => (demand?.Providers ?? []).map(({ Name }) => Name)));
  const missing = [...names].filter((name) => !entriesOf(view)("jwt-provider", name));
  if (missing.length === 0) return;
  const problems = missing.map((name) => `Referenced JWT Provider does not exist. Provider Name: ${name}`);
  throw refusal(500, problemList(problems));
}

/** The writes that remove every rule of a destination. */
export function deleteDestination(view: View, name: string): Write[] {
  return rulesOf(view, name).map(({ key }) => ({ table: INTENTIONS, key }));
}

function rulesOf(view: View, name: string): StoredRecord<IntentionRecord>[] {
  return view.list<IntentionRecord>(INTENTIONS).filter(({ value }) => isOfDestination(value, name));
}

type SourceNames = Pick<IntentionSource, "Name" | "Namespace" | "Peer">;

const sourceKey = ({ Name, Namespace = "default", Peer = "" }: SourceNames): string =>
  JSON.stringify([Name, Namespace, Peer]);

const ruleSource = ({ SourceName, SourceNS, SourcePeer = "" }: IntentionRecord): SourceNames => ({
  Name: SourceName,
  Namespace: SourceNS,
  Peer: SourcePeer,
});

/** The id that an entry brings along, as one does that was read elsewhere. */
function legacyId(view: View, { LegacyID }: IntentionSource): string | undefined {
  if (!LegacyID) return undefined;
  if (!UUID.test(LegacyID)) throw refusal(500, `LegacyID must be a UUID, not ${JSON.stringify(LegacyID)}`);
  const taken = view.get<IntentionRecord>(INTENTIONS, LegacyID);
  if (taken) throw refusal(500, `LegacyID ${LegacyID} is the id of another intention`);
  return LegacyID;
}

function toRule(
  entry: ServiceIntentionsEntry,
  source: IntentionSource,
  id: string,
  now: Date,
  before: IntentionRecord | undefined,
): IntentionRecord {
  const names = {
    SourceNS: source.Namespace ?? "default",
    SourceName: source.Name,
    DestinationNS: "default",
    DestinationName: entry.Name,
  };
  const isLegacy = source.LegacyID !== undefined;
  return {
    ID: id,
    Description: source.Description ?? "",
    ...names,
    SourceType: source.Type,
    Action: source.Action ?? "",
    Meta: (isLegacy ? source.LegacyMeta : entry.Meta) ?? {},
    Precedence: precedence(names),
    CreatedAt: before?.CreatedAt ?? source.LegacyCreateTime ?? now.toISOString(),
    UpdatedAt: now.toISOString(),
    ...(source.Permissions && { Permissions: source.Permissions }),
    ...(source.Peer && { SourcePeer: source.Peer }),
    ...(!isLegacy && { FromEntry: true }),
    ...(entry.JWT && { JWT: entry.JWT }),
    ...(entry.Meta && { EntryMeta: entry.Meta }),
  };
}
