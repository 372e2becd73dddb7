/** The roots' private keys as they lie on disk: sealed with AES-256-GCM where the operator has given a key, in plain where not. */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { InvalidArgumentError, type Logger, UnavailableError } from "@heddle/daemon";
import type { Store, StoredRecord } from "@heddle/store";
import { hasKey, KEYS, type KeyRecord } from "./records.ts";

const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const FORM = "1"; // of the sealed text, for those that may come

export interface KeyVault {
  /** The private key of a root as PEM. Throws UnavailableError where no key that was given opens it. */
  read(id: string, record: KeyRecord): string;
  /** What is stored of a root's private key. */
  toRecord(id: string, keyPem: string): Pick<KeyRecord, "keyPem" | "sealed">;
}

/** Throws InvalidArgumentError where the keys would lie in plain with somebody else: a store on etcd needs a key to seal them. */
export function requireSealing(etcd: unknown, keys: readonly Buffer[]): void {
  if (etcd !== undefined && keys.length === 0)
    throw new InvalidArgumentError(
      "refusing to keep the CA's keys in etcd in plain: give a key that etcd never sees (heddle.ca_encryption_key of an agent, -encryption-key of a CA alone), the same to every server",
    );
}

/** The first of `keys` seals, all of them open; without any, keys are kept in plain. */
export function createKeyVault(keys: readonly Buffer[]): KeyVault {
  const [current] = keys;
  return {
    read(id, { keyPem, sealed }) {
      if (sealed === undefined) {
        if (keyPem === undefined) throw new UnavailableError(`the CA's store holds an empty key for root ${id}`);
        return keyPem;
      }
      for (const key of keys) {
        const opened = unseal(key, id, sealed);
        if (opened !== undefined) return opened;
      }
      throw new UnavailableError(
        keys.length === 0
          ? `the key of root ${id} is encrypted: give what it was encrypted with (heddle.ca_encryption_key of an agent, -encryption-key of a CA alone)`
          : `the key of root ${id} is encrypted with another key than any that was given`,
      );
    },
    toRecord: (id, keyPem) => (current ? { sealed: seal(current, id, keyPem) } : { keyPem }),
  };
}

/** Seals anew what is stored in plain or under an older key, in one commit. Throws where something cannot be opened. */
export async function sealStored(store: Store, keys: readonly Buffer[], log: Logger): Promise<void> {
  const [current] = keys;
  const vault = createKeyVault(keys);
  const records = store.list<KeyRecord>(KEYS).filter(({ value }) => hasKey(value));
  const opened = records.map(({ key, value }) => ({ key, value, keyPem: vault.read(key, value) }));
  if (!current) return;
  const stale = opened.filter(
    ({ key, value }) => value.sealed === undefined || unseal(current, key, value.sealed) === undefined,
  );
  if (stale.length === 0) return;
  await store.run(() => ({
    writes: stale.map(({ key, value, keyPem }) => {
      const { keyPem: _plain, sealed: _old, ...rest } = value;
      return { table: KEYS, key, value: { ...rest, ...vault.toRecord(key, keyPem) } };
    }),
    result: undefined,
  }));
  log.info("encrypted the CA's keys with the key that was given", { roots: stale.length });
}

/** The records of a CA with their keys sealed under the first of `keys`; as they are where none is given. */
export function sealRecords(records: readonly StoredRecord[], keys: readonly Buffer[]): StoredRecord[] {
  const vault = createKeyVault(keys);
  return records.map((record) => {
    const value = record.value as KeyRecord;
    if (keys.length === 0 || record.table !== KEYS || !hasKey(value)) return record;
    const { keyPem: _plain, sealed: _old, ...rest } = value;
    return { ...record, value: { ...rest, ...vault.toRecord(record.key, vault.read(record.key, value)) } };
  });
}

// The root's id is bound in, so that a sealed key cannot stand for another root's.
function seal(key: Buffer, id: string, keyPem: string): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(id));
  const text = Buffer.concat([cipher.update(keyPem, "utf8"), cipher.final()]);
  return `${FORM}:${Buffer.concat([nonce, cipher.getAuthTag(), text]).toString("base64")}`;
}

function unseal(key: Buffer, id: string, sealed: string): string | undefined {
  const [form, text = ""] = sealed.split(":");
  const bytes = Buffer.from(text, "base64");
  if (form !== FORM || bytes.length <= NONCE_BYTES + TAG_BYTES) return undefined;
  const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
    .setAAD(Buffer.from(id))
    .setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString();
  } catch {
    return undefined; // another key, or bytes that somebody changed
  }
}
