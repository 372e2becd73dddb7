/** The root that was replaced last, as one that could sign again. */
import type { KeyObject } from "node:crypto";
import { HeddleError } from "@heddle/daemon";
import type { StoredRecord, View } from "@heddle/store";
import { parseSigningKey } from "@heddle/tls";
import { idOf } from "./active-root.ts";
import type { KeyVault } from "./key-vault.ts";
import type { ProviderConfig } from "./provider-config.ts";
import { type KeyRecord, KEYS, type RootRecord, ROOTS } from "./records.ts";
import type { WantedRoot } from "./wanted-root.ts";

export interface FormerRoot {
  id: string;
  /** The configuration of its time. */
  config: ProviderConfig | null;
  /** With its key; undefined where that is Vault's. */
  root: WantedRoot | undefined;
}

/** Of these roots the one that was replaced last; undefined where none was. */
export function lastReplaced(roots: readonly StoredRecord<RootRecord>[]): StoredRecord<RootRecord> | undefined {
  return roots
    .filter(({ value }) => !value.isActive)
    .toSorted((a, b) => (b.value.rotatedOutAt ?? 0) - (a.value.rotatedOutAt ?? 0))[0];
}

/** Throws HeddleError of code `conflict` where the active root is the only one in the list. */
export function formerRoot(view: View, keys: KeyVault): FormerRoot {
  const newest = lastReplaced(view.list<RootRecord>(ROOTS));
  if (!newest)
    throw new HeddleError("conflict", "there is no root to go back to: the active one is the only one in the list");
  const { certPem, intermediatePem, origin = "made", config = null } = newest.value;
  const keyOf = (id: string): KeyObject => parseSigningKey(keys.read(id, view.get<KeyRecord>(KEYS, id)?.value ?? {}));
  const root = (): WantedRoot | undefined => {
    if (origin === "vault") return undefined;
    return origin === "offline" && intermediatePem !== undefined
      ? { certPem, intermediatePem, intermediateKey: keyOf(idOf(intermediatePem)) }
      : { key: keyOf(newest.key), certPem, origin };
  };
  return { id: newest.key, config, root: root() };
}
