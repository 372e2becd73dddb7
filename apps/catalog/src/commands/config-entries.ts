/** Config entries as commands: written and deleted one at a time, each only if what is stored still makes sense with it. */
import {
  canonicalName,
  CONFIG_ENTRIES,
  type ConfigEntry,
  configEntryKey,
  type ConfigKind,
  normaliseConfigEntry,
} from "@heddle/config-entries";
import type { Command, View } from "@heddle/store";
import { checkGraph } from "../config-graph.ts";
import { destinationIntentions } from "../intention-entries.ts";
import { deleteDestination, writeDestination } from "./intention-entries.ts";

export interface ConfigWriteOptions {
  /** The ModifyIndex that the entry must still have; 0: there must be none. */
  cas?: number | undefined;
  /** What chains are compiled for. */
  datacenter: string;
  now: Date;
}

/** Stores an entry in place of the one of its kind and name; false where `cas` does not hold. */
export function setConfigEntry(given: ConfigEntry, options: ConfigWriteOptions): Command<boolean> {
  const entry = normaliseConfigEntry(given);
  return (view) => {
    if (!isExpected(view, entry, options.cas)) return { writes: [], result: false };
    if (entry.Kind === "service-intentions")
      return { writes: writeDestination(view, entry, options.now), result: true };
    checkGraph(view, { kind: entry.Kind, name: entry.Name, entry }, options.datacenter);
    const key = configEntryKey(entry.Kind, entry.Name);
    return { writes: [{ table: CONFIG_ENTRIES, key, value: entry }], result: true };
  };
}

/** Deletes an entry; one that is not there is no error. False where `cas` does not hold. */
export function deleteConfigEntry(
  kind: ConfigKind,
  givenName: string,
  options: Omit<ConfigWriteOptions, "now">,
): Command<boolean> {
  const name = canonicalName(kind, givenName);
  return (view) => {
    const stored = storedIndex(view, kind, name);
    if (options.cas !== undefined && stored !== options.cas) return { writes: [], result: false };
    if (stored === 0) return { writes: [], result: true };
    if (kind === "service-intentions") return { writes: deleteDestination(view, name), result: true };
    checkGraph(view, { kind, name, entry: undefined }, options.datacenter);
    return { writes: [{ table: CONFIG_ENTRIES, key: configEntryKey(kind, name) }], result: true };
  };
}

function isExpected(view: View, { Kind, Name }: ConfigEntry, cas: number | undefined): boolean {
  return cas === undefined || storedIndex(view, Kind, Name) === cas;
}

function storedIndex(view: View, kind: ConfigKind, name: string): number {
  if (kind === "service-intentions") return destinationIntentions(view, name)?.modifyIndex ?? 0;
  return view.get(CONFIG_ENTRIES, configEntryKey(kind, name))?.modifyIndex ?? 0;
}
