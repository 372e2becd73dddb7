/** What a rotation writes: the new root signs, the old one is only trusted, until the last leaf that needs it is gone. */
import type { View, Write } from "@heddle/store";
import { idOf } from "./active-root.ts";
import type { KeyVault } from "./key-vault.ts";
import { CONFIG, CONFIG_KEY, type ConfigRecord, KEYS, ROOTS, type KeyRecord, type RootRecord } from "./records.ts";
import type { NewIntermediate, NewRoot } from "./rotation.ts";

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
    const { rotatedAt: _at, isRolledBack: _back, wentBackBecause: _why, ...old } = value;
    const removeAt = Math.max(now + 2 * Math.max(leafTtlMs, nextLeafTtlMs), leavesUntil(key));
    writes.push({ table: ROOTS, key, value: { ...old, isActive: false, rotatedOutAt: now, removeAt, config } });
  }
  // One that was replaced before, and has another intermediate now.
  const before = view.get<RootRecord>(ROOTS, root.id)?.value.intermediatePem;
  if (before !== undefined && before !== root.intermediate?.certPem)
    writes.push({ table: KEYS, key: idOf(before), value: undefined });
  return [...writes, ...rootWrites(root, vault, { leavesUntil: leavesUntil(root.id), rotatedAt: now })];
}

/** A root that was replaced before may be offered again: its leaves are still out there, until `leavesUntil`. */
export function rootWrites(
  { id, certPem, keyPem, intermediate, chain, origin, wentBackBecause }: NewRoot,
  vault: KeyVault,
  { leavesUntil = 0, rotatedAt }: { leavesUntil?: number; rotatedAt?: number } = {},
): Write[] {
  const value: RootRecord = {
    certPem,
    intermediates: chain,
    isActive: true,
    origin,
    ...(rotatedAt !== undefined && { rotatedAt }),
    ...(wentBackBecause && { isRolledBack: true, wentBackBecause }),
    ...(intermediate && { intermediatePem: intermediate.certPem }),
  };
  const key: KeyRecord = {
    ...(keyPem !== undefined && vault.toRecord(id, keyPem)),
    ...(leavesUntil > 0 && { leavesUntil }),
  };
  return [{ table: ROOTS, key: id, value }, { table: KEYS, key: id, value: key }, ...keyWrites(intermediate, vault)];
}

function keyWrites(intermediate: NewIntermediate | undefined, vault: KeyVault): Write[] {
  if (intermediate?.keyPem === undefined) return [];
  const { id, keyPem } = intermediate;
  return [{ table: KEYS, key: id, value: vault.toRecord(id, keyPem) satisfies KeyRecord }];
}

/** Another intermediate, or the root itself, signs under the active root; leaves of the one before carry it themselves. */
export function switchSigner(view: View, intermediate: NewIntermediate | undefined, vault: KeyVault): Write[] {
  const active = view.list<RootRecord>(ROOTS).find(({ value }) => value.isActive);
  if (!active) return [];
  const { intermediatePem: before, ...value } = active.value;
  const bridges = value.intermediates.filter((pem) => pem !== before);
  const next: RootRecord = {
    ...value,
    intermediates: intermediate ? [intermediate.certPem, ...bridges] : bridges,
    ...(intermediate && { intermediatePem: intermediate.certPem }),
  };
  const isOther = before !== undefined && before !== intermediate?.certPem;
  return [
    { table: ROOTS, key: active.key, value: next },
    ...(isOther ? [{ table: KEYS, key: idOf(before), value: undefined }] : []),
    ...keyWrites(intermediate, vault),
  ];
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
