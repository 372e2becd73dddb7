/** Key/value writes as commands: put, compare-and-set, lock and unlock, delete, delete a prefix. */
import { refusal } from "@heddle/daemon";
import type { Command } from "@heddle/store";
import { KV, SESSIONS, type KvRecord } from "../records.ts";
import { LOCKS } from "./sessions.ts";
import { uuidProblem } from "./uuid.ts";

export interface KvPut {
  key: string;
  value: Buffer;
  /** Decimal text, 0 to 2^64-1. */
  flags: string;
  /** Write only if the key's modify index is this; 0: only if the key is not there. */
  cas?: string;
  acquire?: string;
  release?: string;
}

// A plain write keeps the session of a locked key, and starts its lock index again, as in Consul.
const kvRecord = (put: KvPut, before: KvRecord | undefined): KvRecord => ({
  LockIndex: put.acquire === undefined && put.release === undefined ? 0 : (before?.LockIndex ?? 0),
  Key: put.key,
  Flags: put.flags,
  Value: put.value.length === 0 ? null : put.value.toString("base64"),
  ...(before?.Session !== undefined && { Session: before.Session }),
});

const equal = (a: KvRecord, b: KvRecord): boolean =>
  a.Value === b.Value && a.Flags === b.Flags && a.LockIndex === b.LockIndex && a.Session === b.Session;

/** Writes a key; false where a compare failed or the lock is somebody else's. A put of what is there writes nothing. */
export function putKey(put: KvPut): Command<boolean> {
  return (view) => {
    const before = view.get<KvRecord>(KV, put.key);
    if (put.cas !== undefined && BigInt(put.cas) !== BigInt(before?.modifyIndex ?? 0))
      return { writes: [], result: false };
    const value = kvRecord(put, before?.value);
    const locks = [];
    if (put.acquire === "" || put.release === "") throw refusal(500, "missing session");
    if (put.acquire !== undefined) {
      const problem = uuidProblem(put.acquire);
      if (problem !== undefined) throw refusal(500, `failed session lookup: ${problem}`);
      if (!view.get(SESSIONS, put.acquire)) throw refusal(500, `invalid session "${put.acquire}"`);
      if (before?.value.Session !== undefined && before.value.Session !== put.acquire)
        return { writes: [], result: false };
      if (before?.value.Session === undefined) {
        value.LockIndex += 1;
        value.Session = put.acquire;
        locks.push({ table: LOCKS, key: `${put.acquire}\0${put.key}`, value: { Key: put.key } });
      }
    }
    if (put.release !== undefined) {
      if (before?.value.Session !== put.release) return { writes: [], result: false };
      delete value.Session;
      locks.push({ table: LOCKS, key: `${put.release}\0${put.key}` });
    }
    if (before && equal(before.value, value)) return { writes: [], result: true };
    return { writes: [{ table: KV, key: put.key, value }, ...locks], result: true };
  };
}

/** Deletes a key; with `cas`, only at that modify index. Deleting what is not there succeeds. */
export function deleteKey(key: string, cas?: string): Command<boolean> {
  return (view) => {
    const before = view.get<KvRecord>(KV, key);
    if (!before) return { writes: [], result: true };
    if (cas !== undefined && BigInt(before.modifyIndex) !== BigInt(cas)) return { writes: [], result: false };
    return { writes: [{ table: KV, key }, ...unlock(before.value)], result: true };
  };
}

/** Deletes every key under a prefix. */
export function deleteTree(prefix: string): Command<boolean> {
  return (view) => ({
    writes: view.list<KvRecord>(KV, prefix).flatMap((r) => [{ table: KV, key: r.key }, ...unlock(r.value)]),
    result: true,
  });
}

const unlock = (value: KvRecord) =>
  value.Session === undefined ? [] : [{ table: LOCKS, key: `${value.Session}\0${value.Key}` }];
