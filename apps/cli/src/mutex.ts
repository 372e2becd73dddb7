/**
 * Locks in the key-value store by Consul's conventions, so that its clients and ours exclude each other: a key `<prefix>/.lock`
 * held by a session, or for more than one holder a semaphore beside one contender key for each session.
 */
import type { ApiClient, ApiResponse, Query } from "@heddle/api-client";
import { sleep } from "@heddle/daemon";
import { CommandError } from "./command.ts";
import { type KvEntry, keyPath } from "./commands/kv-read.ts";
import { parseExact } from "./output.ts";

// Consul's marks of such keys, so that nothing else is taken for one.
const LOCK_FLAGS = 0x2ddccbc058a50c18n;
const SEMAPHORE_FLAGS = 0xe0f69a2baa414de0n;
const WAIT = "15s";
const WAIT_TIMEOUT_MS = 30_000;
const LOCK_DELAY_RETRY_MS = 1_000; // after a holder died its lock is refused for the session's lock delay

export interface Mutex {
  /** Resolves once held. Throws when `signal` aborts, or where the key is no lock. */
  acquire(signal: AbortSignal): Promise<void>;
  /** Resolves when it is no longer held; never before `signal` aborts otherwise. */
  lost(signal: AbortSignal): Promise<void>;
  release(): Promise<void>;
  /** Removes what is left in the store; false where others use it. */
  cleanup(): Promise<boolean>;
}

interface Read {
  entries: KvEntry[];
  index: number;
}

async function read(api: ApiClient, key: string, query: Query, signal?: AbortSignal): Promise<Read> {
  const answer: ApiResponse = await api.get(keyPath(key), {
    query: { ...query, consistent: true },
    allow: [404],
    timeoutMs: WAIT_TIMEOUT_MS,
    signal,
  });
  return {
    entries: answer.status === 404 ? [] : (parseExact(answer.raw.toString("utf8")) as KvEntry[]),
    index: Math.max(1, answer.index),
  };
}

async function write(api: ApiClient, key: string, query: Query, body = ""): Promise<boolean> {
  return (await api.put(keyPath(key), { query, body })).body === true;
}

export function createLock(api: ApiClient, prefix: string, session: string): Mutex {
  const key = `${prefix}/.lock`;
  const query = { flags: String(LOCK_FLAGS) };
  return {
    async acquire(signal) {
      let index = 0;
      for (;;) {
        signal.throwIfAborted();
        const found = await read(api, key, index > 0 ? { index, wait: WAIT } : {}, signal);
        const [entry] = found.entries;
        if (entry && BigInt(entry.Flags) !== LOCK_FLAGS)
          throw new CommandError(`Lock acquisition failed: the key ${key} exists and is no lock`);
        index = found.index;
        if (entry?.Session && entry.Session !== session) continue;
        if (await write(api, key, { ...query, acquire: session })) return;
        index = 0;
        await sleep(LOCK_DELAY_RETRY_MS, signal);
      }
    },
    async lost(signal) {
      let index = 0;
      for (;;) {
        const found = await read(api, key, index > 0 ? { index, wait: WAIT } : {}, signal);
        if (found.entries[0]?.Session !== session) return;
        index = found.index;
      }
    },
    async release() {
      await write(api, key, { ...query, release: session });
    },
    async cleanup() {
      const [entry] = (await read(api, key, {})).entries;
      if (!entry) return true;
      if (entry.Session) return false;
      return (await api.delete(keyPath(key), { query: { cas: entry.ModifyIndex } })).body === true;
    },
  };
}

interface Holders {
  Limit: number;
  Holders: Record<string, boolean>;
}

export function createSemaphore(api: ApiClient, prefix: string, session: string, limit: number): Mutex {
  const lockKey = `${prefix}/.lock`;
  const contenderKey = `${prefix}/${session}`;
  const flags = String(SEMAPHORE_FLAGS);

  /** The lock's entry, its holders whose sessions still live, and the index to wait on. */
  const look = async (query: Query, signal?: AbortSignal) => {
    const { entries, index } = await read(api, `${prefix}/`, { recurse: true, ...query }, signal);
    const lock = entries.find(({ Key }) => Key === lockKey);
    if (lock && BigInt(lock.Flags) !== SEMAPHORE_FLAGS)
      throw new CommandError(`Lock acquisition failed: the key ${lockKey} exists and is no semaphore`);
    const alive = new Set(
      entries.filter(({ Key, Session }) => Key !== lockKey && Session).map(({ Session }) => Session as string),
    );
    const stored = lock
      ? (JSON.parse(Buffer.from(lock.Value ?? "", "base64").toString("utf8")) as Holders)
      : { Limit: limit, Holders: {} };
    return { lock, limit: stored.Limit, holders: Object.keys(stored.Holders).filter((id) => alive.has(id)), index };
  };
  const save = (lock: KvEntry | undefined, holders: readonly string[]) => {
    const body = JSON.stringify({
      Limit: limit,
      Holders: Object.fromEntries(holders.map((id) => [id, true])),
    } satisfies Holders);
    return write(api, lockKey, { cas: lock?.ModifyIndex ?? 0, flags }, body);
  };

  return {
    async acquire(signal) {
      if (!(await write(api, contenderKey, { acquire: session, flags })))
        throw new CommandError("Lock acquisition failed: cannot make the contender's key");
      let index = 0;
      for (;;) {
        signal.throwIfAborted();
        const found = await look(index > 0 ? { index, wait: WAIT } : {}, signal);
        if (found.limit !== limit)
          throw new CommandError(
            `Lock acquisition failed: semaphore limit conflict (lock: ${found.limit}, local: ${limit})`,
          );
        index = found.index;
        if (found.holders.length >= limit) continue;
        if (await save(found.lock, [...found.holders, session])) return;
        index = 0;
      }
    },
    async lost(signal) {
      let index = 0;
      for (;;) {
        const found = await look(index > 0 ? { index, wait: WAIT } : {}, signal);
        if (!found.holders.includes(session)) return;
        index = found.index;
      }
    },
    async release() {
      for (;;) {
        const { lock, holders } = await look({});
        if (
          !lock ||
          !holders.includes(session) ||
          (await save(
            lock,
            holders.filter((id) => id !== session),
          ))
        )
          break;
      }
      await api.delete(keyPath(contenderKey));
    },
    async cleanup() {
      const { lock, holders } = await look({});
      if (!lock) return true;
      if (holders.length > 0) return false;
      return (await api.delete(keyPath(lockKey), { query: { cas: lock.ModifyIndex } })).body === true;
    },
  };
}
