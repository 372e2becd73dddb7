/** A request for an intermediate, for whoever keeps the root's key elsewhere: its key is made here and waits for the certificate. */
import type { KeyObject } from "node:crypto";
import type { Store } from "@heddle/store";
import { createSignerCsr, generateSigningKey, keyToPem, parseSigningKey, type SigningKeyType } from "@heddle/tls";
import type { KeyVault } from "./key-vault.ts";
import { type KeyRecord, KEYS, REQUEST_KEY } from "./records.ts";

/** Makes one, as PEM; it takes the place of the one before. */
export async function requestIntermediate(
  store: Store,
  keys: KeyVault,
  { type, trustDomain }: { type: SigningKeyType; trustDomain: string },
): Promise<string> {
  const key = await generateSigningKey(type);
  const value = keys.toRecord(REQUEST_KEY, keyToPem(key)) satisfies KeyRecord;
  await store.run(() => ({ writes: [{ table: KEYS, key: REQUEST_KEY, value }], result: undefined }));
  return createSignerCsr({ key, trustDomain });
}

/** The key that the last request was made with; undefined where there is none, or its certificate has come. */
export function requestedKey(store: Store, keys: KeyVault): KeyObject | undefined {
  const record = store.get<KeyRecord>(KEYS, REQUEST_KEY);
  return record && parseSigningKey(keys.read(REQUEST_KEY, record.value));
}
