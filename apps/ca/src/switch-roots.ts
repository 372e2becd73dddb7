/** What a rotation writes: the new root signs, the old one is only trusted, until the last leaf that needs it is gone. */
import type { View, Write } from "@heddle/store";
import type { KeyVault } from "./key-vault.ts";
import { CONFIG, CONFIG_KEY, type ConfigRecord, KEYS, ROOTS, type KeyRecord, type RootRecord } from "./records.ts";
import type { NewRoot } from "./rotation.ts";

export interface SwitchTimes {
  now: number;
  /** The life of leaves up to now, and from now on. */
  leafTtlMs: number;
  nextLeafTtlMs: number;
}

/** The old root leaves twice a leaf's life after it was replaced, as Consul's do, and never before its last leaf. */
export function switchRoots(view: View, root: NewRoot, times: SwitchTimes, vault: KeyVault): Write[] {
  const { now, leafTtlMs, nextLeafTtlMs } = times;
  const leavesUntil = (id: string) => view.get<KeyRecord>(KEYS, id)?.value.leavesUntil ?? 0;
  const config = view.get<ConfigRecord>(CONFIG, CONFIG_KEY)?.value.config ?? null;
  const writes: Write[] = [];
  for (const { key, value } of view.list<RootRecord>(ROOTS)) {
    if (!value.isActive || key === root.id) continue;
    const removeAt = Math.max(now + 2 * Math.max(leafTtlMs, nextLeafTtlMs), leavesUntil(key));
    writes.push({ table: ROOTS, key, value: { ...value, isActive: false, rotatedOutAt: now, removeAt, config } });
  }
  const { certPem, keyPem, crossPem, origin } = root;
  const intermediates = crossPem === undefined ? [] : [crossPem];
  const value: RootRecord = { certPem, intermediates, isActive: true, origin };
  // A root that was replaced before may be offered again: its leaves are still out there.
  const key: KeyRecord = { ...vault.toRecord(root.id, keyPem), leavesUntil: leavesUntil(root.id) };
  return [...writes, { table: ROOTS, key: root.id, value }, { table: KEYS, key: root.id, value: key }];
}

/** Where leaves are to live shorter from now on: how long those live that the active root has signed. */
export function shortenLeaves(view: View, { now, leafTtlMs, nextLeafTtlMs }: SwitchTimes): Write[] {
  if (nextLeafTtlMs >= leafTtlMs) return [];
  const active = view.list<RootRecord>(ROOTS).find(({ value }) => value.isActive);
  const record = active && view.get<KeyRecord>(KEYS, active.key);
  if (!record) return [];
  const leavesUntil = Math.max(record.value.leavesUntil ?? 0, now + leafTtlMs);
  return [{ table: KEYS, key: record.key, value: { ...record.value, leavesUntil } }];
}
