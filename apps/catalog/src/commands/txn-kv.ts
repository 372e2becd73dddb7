/** The operations of a transaction on keys; the writes are those of /v1/kv. */
import { refusal } from "@heddle/daemon";
import type { Command, Draft } from "@heddle/store";
import { KV, type KvRecord } from "../records.ts";
import { deleteKey, deleteTree, putKey } from "./kv.ts";
import type { Operation, TxnResult } from "./txn.ts";

export interface KvOp {
  verb: string;
  key: string;
  value: Buffer;
  flags: string;
  index: string;
  session: string;
}

const WRITES = new Set(["set", "delete", "delete-cas", "delete-tree", "cas", "lock", "unlock"]);
const WITH_VALUE = new Set(["get", "get-or-empty", "get-tree"]);

export interface KvOpLimits {
  maxKeyBytes: number;
  isDelayed: (key: string) => boolean;
}

/** A KV operation in the words and with the rules of Consul's. */
export function kvOperation(op: KvOp, { maxKeyBytes, isDelayed }: KvOpLimits): Operation {
  const { verb, key } = op;
  return {
    isWrite: WRITES.has(verb),
    refuse() {
      if (key === "" && verb !== "delete-tree") throw refusal(500, "Must provide key");
      const bytes = Buffer.byteLength(key);
      if (bytes > maxKeyBytes) throw refusal(500, `key is ${bytes} bytes long: the limit is ${maxKeyBytes}`);
      if (verb === "lock" && isDelayed(key)) throw refusal(500, `failed to lock key ${quoted(key)} due to lock delay`);
    },
    run(draft) {
      const step = STEPS.get(verb);
      if (!step) throw refusal(500, `unknown KV verb ${quoted(verb)}`);
      return step(draft, op);
    },
  };
}

type Step = (draft: Draft, op: KvOp) => TxnResult[];

const STEPS: ReadonlyMap<string, Step> = new Map<string, Step>([
  ["set", (draft, op) => write(draft, op, putKey(put(op)), "")],
  [
    "cas",
    (draft, op) => write(draft, op, putKey({ ...put(op), cas: op.index }), `set key ${quoted(op.key)}, index is stale`),
  ],
  ["lock", (draft, op) => lock(draft, op, { acquire: op.session }, "lock is already held")],
  ["unlock", (draft, op) => lock(draft, op, { release: op.session }, "lock isn't held, or is held by another session")],
  ["delete", (draft, op) => remove(draft, op, deleteKey(op.key))],
  ["delete-tree", (draft, op) => remove(draft, op, deleteTree(op.key))],
  ["delete-cas", (draft, op) => (draft.get(KV, op.key) ? remove(draft, op, deleteKey(op.key, op.index)) : [])],
  [
    "get",
    (draft, op) =>
      show(
        op,
        stored(draft, op.key, (key) => `key ${key} doesn't exist`),
      ),
  ],
  ["get-or-empty", (draft, op) => show(op, draft.get<KvRecord>(KV, op.key) ?? empty(op))],
  ["get-tree", (draft, op) => draft.list<KvRecord>(KV, op.key).flatMap((record) => show(op, record))],
  ["check-index", checkIndex],
  ["check-session", checkSession],
  ["check-not-exists", checkNotExists],
]);

const put = ({ key, value, flags }: KvOp) => ({ key, value, flags });

function write(draft: Draft, op: KvOp, command: Command<boolean>, problem: string): TxnResult[] {
  const { writes, result } = command(draft);
  if (!result) throw refusal(500, `failed to ${problem}`);
  draft.apply(writes);
  return show(op, draft.get<KvRecord>(KV, op.key) as NonNullable<ReturnType<typeof draft.get<KvRecord>>>);
}

function lock(draft: Draft, op: KvOp, holder: { acquire: string } | { release: string }, problem: string): TxnResult[] {
  if (op.session === "") throw refusal(500, "missing session");
  return write(draft, op, putKey({ ...put(op), ...holder }), `${op.verb} key ${quoted(op.key)}, ${problem}`);
}

function remove(draft: Draft, { key }: KvOp, command: Command<boolean>): TxnResult[] {
  const { writes, result } = command(draft);
  if (!result) throw refusal(500, `failed to delete key ${quoted(key)}, index is stale`);
  draft.apply(writes);
  return [];
}

function checkIndex(draft: Draft, op: KvOp): TxnResult[] {
  const record = stored(draft, op.key, (key) => `failed to check index, key ${key} doesn't exist`);
  if (BigInt(op.index) === BigInt(record.modifyIndex)) return show(op, record);
  throw refusal(
    500,
    `failed index check for key ${quoted(op.key)}, current modify index ${record.modifyIndex} != ${op.index}`,
  );
}

function checkSession(draft: Draft, op: KvOp): TxnResult[] {
  const record = stored(draft, op.key, (key) => `failed to check session, key ${key} doesn't exist`);
  const current = record.value.Session ?? "";
  if (current === op.session) return show(op, record);
  throw refusal(
    500,
    `failed session check for key ${quoted(op.key)}, current session ${quoted(current)} != ${quoted(op.session)}`,
  );
}

function checkNotExists(draft: Draft, { key }: KvOp): TxnResult[] {
  if (draft.get(KV, key)) throw refusal(500, `key ${quoted(key)} exists`);
  return [];
}

function stored(draft: Draft, key: string, problem: (key: string) => string) {
  const record = draft.get<KvRecord>(KV, key);
  if (!record) throw refusal(500, problem(quoted(key)));
  return record;
}

const empty = ({ key, flags, session }: KvOp) => ({
  table: KV,
  key,
  value: { LockIndex: 0, Key: key, Flags: flags, Value: null, ...(session !== "" && { Session: session }) },
  createIndex: 0,
  modifyIndex: 0,
});

const show = (op: KvOp, record: Extract<TxnResult, { kind: "KV" }>["record"]): TxnResult[] => [
  { kind: "KV", record, withValue: WITH_VALUE.has(op.verb) },
];

const quoted = (text: string): string => JSON.stringify(text);
