/** Entries for tests: a list of them as a lookup. */
import { type ConfigEntry, configEntryKey, type ConfigEntryOf } from "@heddle/config-entries";
import type { ChainEntries } from "./request.ts";

/** The later of two entries of one kind and name counts. */
export function entriesFrom(list: readonly ConfigEntry[]): ChainEntries {
  const byKey = new Map(list.map((entry) => [configEntryKey(entry.Kind, entry.Name), entry]));
  return <K extends ConfigEntry["Kind"]>(kind: K, name: string) =>
    byKey.get(configEntryKey(kind, name)) as ConfigEntryOf<K> | undefined;
}
