/** Reading what config entries are stored; what an entry means for services is derived here. */
import {
  CONFIG_ENTRIES,
  CONFIG_KINDS,
  type ConfigEntry,
  configEntryKey,
  type ConfigEntryOf,
  configKindPrefix,
  type ConfigKind,
} from "@heddle/config-entries";
import type { StoredRecord, View } from "@heddle/store";
import { allDestinations, destinationIntentions } from "./intention-entries.ts";

/** A stored entry as the API shows it. */
export type ShownEntry = Omit<ConfigEntry, "Name"> & { Name?: string; CreateIndex: number; ModifyIndex: number };

/** What is stored, or what would be once a change is made. */
export type Entries = <K extends ConfigKind>(kind: K, name: string) => ConfigEntryOf<K> | undefined;

export function entriesOf(view: View): Entries {
  return <K extends ConfigKind>(kind: K, name: string) =>
    view.get<ConfigEntryOf<K>>(CONFIG_ENTRIES, configEntryKey(kind, name))?.value;
}

/** Every entry of a kind, by its name. */
export function listEntries<K extends ConfigKind>(view: View, kind: K): StoredRecord<ConfigEntryOf<K>>[] {
  if (kind === "service-intentions") return allDestinations(view) as StoredRecord<ConfigEntryOf<K>>[];
  return view.list<ConfigEntryOf<K>>(CONFIG_ENTRIES, configKindPrefix(kind));
}

/** Every entry of every kind. */
export function listAllEntries(view: View): StoredRecord<ConfigEntry>[] {
  return CONFIG_KINDS.flatMap((kind) => listEntries(view, kind) as StoredRecord<ConfigEntry>[]);
}

export function findEntry(view: View, kind: ConfigKind, name: string): StoredRecord<ConfigEntry> | undefined {
  if (kind === "service-intentions") return destinationIntentions(view, name);
  return view.get<ConfigEntry>(CONFIG_ENTRIES, configEntryKey(kind, name));
}

export function showEntry({ value, createIndex, modifyIndex }: StoredRecord<ConfigEntry>): ShownEntry {
  const shown: ShownEntry = { ...value, CreateIndex: createIndex, ModifyIndex: modifyIndex };
  // There is one mesh entry, and Consul's has no name.
  if (value.Kind === "mesh") delete shown.Name;
  return shown;
}
