/** Intentions seen as config entries: the rules of one destination are its `service-intentions`. Nothing is stored twice. */
import type {
  IntentionJwt,
  IntentionPermission,
  IntentionSource,
  ServiceIntentionsEntry,
} from "@heddle/config-entries";
import { matchOrder } from "@heddle/intentions";
import type { StoredRecord, View } from "@heddle/store";
import { INTENTIONS, type IntentionRecord } from "./records.ts";

const DEFAULT = "default";

/** Whether a rule belongs to the entry of a destination. */
export function isOfDestination({ DestinationNS, DestinationName }: IntentionRecord, name: string): boolean {
  return DestinationNS === DEFAULT && DestinationName.toLowerCase() === name.toLowerCase();
}

/** The entry of a destination, or undefined where there is no rule for it. */
export function destinationIntentions(view: View, name: string): StoredRecord<ServiceIntentionsEntry> | undefined {
  const rules = view.list<IntentionRecord>(INTENTIONS).filter(({ value }) => isOfDestination(value, name));
  return rules.length === 0 ? undefined : toEntry(rules);
}

/** The entries of all destinations, by name. */
export function allDestinations(view: View): StoredRecord<ServiceIntentionsEntry>[] {
  const byName = new Map<string, StoredRecord<IntentionRecord>[]>();
  for (const rule of view.list<IntentionRecord>(INTENTIONS)) {
    if (rule.value.DestinationNS !== DEFAULT) continue;
    const name = rule.value.DestinationName.toLowerCase();
    const rules = byName.get(name);
    if (rules) rules.push(rule);
    else byName.set(name, [rule]);
  }
  return [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, rules]) => toEntry(rules));
}

function toEntry(rules: StoredRecord<IntentionRecord>[]): StoredRecord<ServiceIntentionsEntry> {
  const sorted = rules.toSorted((a, b) => matchOrder(a.value, b.value));
  const first = (sorted[0] as StoredRecord<IntentionRecord>).value;
  const token = sorted.find(({ value }) => value.JWT)?.value.JWT as IntentionJwt | undefined;
  const meta = sorted.find(({ value }) => value.EntryMeta !== undefined)?.value.EntryMeta;
  return {
    table: INTENTIONS,
    key: first.DestinationName.toLowerCase(),
    value: {
      Kind: "service-intentions",
      Name: first.DestinationName,
      Sources: sorted.map(({ value }) => toSource(value)),
      ...(token && { JWT: token }),
      ...(meta && { Meta: meta }),
    },
    createIndex: Math.min(...sorted.map((r) => r.createIndex)),
    modifyIndex: Math.max(...sorted.map((r) => r.modifyIndex)),
  };
}

function toSource(rule: IntentionRecord): IntentionSource {
  const permissions = rule.Permissions as IntentionPermission[] | undefined;
  return {
    Name: rule.SourceName,
    ...(rule.Action !== "" && { Action: rule.Action }),
    ...(permissions && permissions.length > 0 && { Permissions: permissions }),
    Precedence: rule.Precedence,
    Type: rule.SourceType,
    ...(rule.Description !== "" && { Description: rule.Description }),
    ...(rule.SourceNS !== DEFAULT && { Namespace: rule.SourceNS }),
    ...(rule.SourcePeer && { Peer: rule.SourcePeer }),
    // A rule that was made by id keeps its id, its own metadata and its times, as in later versions of Consul.
    ...(!rule.FromEntry && {
      LegacyID: rule.ID,
      ...(Object.keys(rule.Meta).length > 0 && { LegacyMeta: rule.Meta }),
      LegacyCreateTime: rule.CreatedAt,
      LegacyUpdateTime: rule.UpdatedAt,
    }),
  };
}
