/** The messages of etcd's v3 API that the store uses (etcd's api/etcdserverpb/rpc.proto and mvccpb/kv.proto). */
import { MessageReader, MessageWriter } from "@heddle/grpc";

/** What every answer begins with; `revision` is that of the whole etcd, 0 where the call did not touch keys. */
export interface Header {
  clusterId: bigint;
  memberId: bigint;
  revision: number;
}

export interface KeyValue {
  key: string;
  value: Buffer;
  createRevision: number;
  modRevision: number;
  version: number;
  lease: bigint;
}

/** A condition of a transaction. With `end` it is one on every key of the range, and true where there is none. */
export interface Compare {
  key: string;
  end?: string | Buffer;
  target: "create" | "lease" | "mod" | "version";
  is: "equal" | "greater" | "less";
  value: bigint | number;
}

export type Op =
  | { type: "delete"; key: string; end?: string | Buffer }
  | { type: "put"; key: string; value: Buffer | string; lease?: bigint | undefined }
  | ({ type: "range" } & RangeOptions)
  | { type: "txn"; ops: Op[] };

export interface RangeOptions {
  key: string;
  end?: string | Buffer | undefined;
  limit?: number;
  /** As of an earlier revision; 0 for now. */
  revision?: number;
  keysOnly?: boolean;
}

export interface TxnResult {
  header: Header;
  succeeded: boolean;
  /** The results of its ranges, in order. */
  ranges: KeyValue[][];
}

export interface RangeResult {
  header: Header;
  kvs: KeyValue[];
  more: boolean;
}

export interface WatchEvent {
  type: "delete" | "put";
  kv: KeyValue;
}

export interface WatchResult {
  header: Header;
  created: boolean;
  canceled: boolean;
  /** The oldest revision that can still be watched, where `canceled` is because of that. */
  compactRevision: number;
  reason: string;
  events: WatchEvent[];
}

const COMPARE_RESULTS = { equal: 0, greater: 1, less: 2 };
const COMPARE_TARGETS = { version: 0, create: 1, mod: 2, lease: 4 };
const COMPARE_VALUE_FIELDS = { version: 4, create: 5, mod: 6, lease: 8 };

/** The end of the range of all keys that start with `prefix`, which must not end in a byte 0xff. */
export function prefixEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end.at(-1) as number) + 1;
  return end;
}

export function encodeRange({ key, end, limit, revision, keysOnly }: RangeOptions): MessageWriter {
  return new MessageWriter().bytes(1, key).bytes(2, end).int(3, limit).int(4, revision).int(8, keysOnly);
}

function encodeCompare({ key, end, target, is, value }: Compare): MessageWriter {
  const writer = new MessageWriter().int(1, COMPARE_RESULTS[is]).int(2, COMPARE_TARGETS[target]).bytes(3, key);
  // A zero has to be said here: the field is one of several.
  if (BigInt(value) === 0n) writer.zero(COMPARE_VALUE_FIELDS[target]);
  else writer.int(COMPARE_VALUE_FIELDS[target], value);
  return writer.bytes(64, end);
}

function encodeOp(op: Op): MessageWriter {
  const writer = new MessageWriter();
  switch (op.type) {
    case "range":
      return writer.message(1, encodeRange(op));
    case "put":
      return writer.message(2, new MessageWriter().bytes(1, op.key).bytes(2, op.value).int(3, op.lease));
    case "delete":
      return writer.message(3, new MessageWriter().bytes(1, op.key).bytes(2, op.end));
    case "txn":
      return writer.message(4, encodeTxn([], op.ops));
  }
}

export function encodeTxn(compares: readonly Compare[], success: readonly Op[], failure: readonly Op[] = []) {
  const writer = new MessageWriter();
  for (const compare of compares) writer.message(1, encodeCompare(compare));
  for (const op of success) writer.message(2, encodeOp(op));
  for (const op of failure) writer.message(3, encodeOp(op));
  return writer;
}

export interface WatchOptions {
  key: string;
  end: string | Buffer;
  startRevision: number;
}

export function encodeWatchCreate({ key, end, startRevision }: WatchOptions): MessageWriter {
  return new MessageWriter().message(1, new MessageWriter().bytes(1, key).bytes(2, end).int(3, startRevision));
}

/** Reads a message by a table of its fields. */
function decode(buffer: Buffer, fields: Record<number, (reader: MessageReader) => void>): void {
  const reader = new MessageReader(buffer);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    const read = fields[field];
    if (read) read(reader);
    else reader.skip();
  }
}

function decodeHeader(buffer: Buffer): Header {
  const header: Header = { clusterId: 0n, memberId: 0n, revision: 0 };
  decode(buffer, {
    1: (r) => (header.clusterId = r.big()),
    2: (r) => (header.memberId = r.big()),
    3: (r) => (header.revision = r.int()),
  });
  return header;
}

const NO_HEADER: Header = { clusterId: 0n, memberId: 0n, revision: 0 };

function decodeKeyValue(buffer: Buffer): KeyValue {
  const kv: KeyValue = { key: "", value: Buffer.alloc(0), createRevision: 0, modRevision: 0, version: 0, lease: 0n };
  decode(buffer, {
    1: (r) => (kv.key = r.text()),
    2: (r) => (kv.createRevision = r.int()),
    3: (r) => (kv.modRevision = r.int()),
    4: (r) => (kv.version = r.int()),
    5: (r) => (kv.value = r.bytes()),
    6: (r) => (kv.lease = r.big()),
  });
  return kv;
}

export function decodeRange(buffer: Buffer): RangeResult {
  const result: RangeResult = { header: NO_HEADER, kvs: [], more: false };
  decode(buffer, {
    1: (r) => (result.header = decodeHeader(r.bytes())),
    2: (r) => result.kvs.push(decodeKeyValue(r.bytes())),
    3: (r) => (result.more = r.int() === 1),
  });
  return result;
}

export function decodeTxn(buffer: Buffer): TxnResult {
  const result: TxnResult = { header: NO_HEADER, succeeded: false, ranges: [] };
  decode(buffer, {
    1: (r) => (result.header = decodeHeader(r.bytes())),
    2: (r) => (result.succeeded = r.int() === 1),
    3: (r) => decode(r.bytes(), { 1: (inner) => result.ranges.push(decodeRange(inner.bytes()).kvs) }),
  });
  return result;
}

function decodeEvent(buffer: Buffer): WatchEvent {
  const event: WatchEvent = { type: "put", kv: decodeKeyValue(Buffer.alloc(0)) };
  decode(buffer, {
    1: (r) => (event.type = r.int() === 1 ? "delete" : "put"),
    2: (r) => (event.kv = decodeKeyValue(r.bytes())),
  });
  return event;
}

export function decodeWatch(buffer: Buffer): WatchResult {
  const result: WatchResult = {
    ...{ header: NO_HEADER, created: false, canceled: false, compactRevision: 0, reason: "" },
    events: [],
  };
  decode(buffer, {
    1: (r) => (result.header = decodeHeader(r.bytes())),
    3: (r) => (result.created = r.int() === 1),
    4: (r) => (result.canceled = r.int() === 1),
    5: (r) => (result.compactRevision = r.int()),
    6: (r) => (result.reason = r.text()),
    11: (r) => result.events.push(decodeEvent(r.bytes())),
  });
  return result;
}

/** A lease's grant and its renewals say the same: its id and how many seconds it has; 0 where it is gone. */
export function decodeLease(buffer: Buffer): { id: bigint; ttlSeconds: number } {
  const lease = { id: 0n, ttlSeconds: 0 };
  decode(buffer, {
    2: (r) => (lease.id = r.big()),
    3: (r) => {
      const ttl = BigInt.asIntN(64, r.big());
      lease.ttlSeconds = Math.max(0, Number(ttl));
    },
  });
  return lease;
}

export function decodeToken(buffer: Buffer): string {
  let token = "";
  decode(buffer, { 2: (r) => (token = r.text()) });
  return token;
}

export interface EtcdMember {
  id: bigint;
  name: string;
  clientUrls: string[];
  isLearner: boolean;
}

export function decodeMembers(buffer: Buffer): EtcdMember[] {
  const members: EtcdMember[] = [];
  decode(buffer, {
    2: (r) => {
      const member: EtcdMember = { id: 0n, name: "", clientUrls: [], isLearner: false };
      decode(r.bytes(), {
        1: (m) => (member.id = m.big()),
        2: (m) => (member.name = m.text()),
        4: (m) => member.clientUrls.push(m.text()),
        5: (m) => (member.isLearner = m.int() === 1),
      });
      members.push(member);
    },
  });
  return members;
}

/** What one member says of itself (Maintenance/Status). */
export interface EtcdStatus {
  memberId: bigint;
  version: string;
  dbBytes: number;
  /** Id of the member that leads; 0 where this one knows none. */
  leader: bigint;
  raftTerm: number;
}

export function decodeStatus(buffer: Buffer): EtcdStatus {
  const status: EtcdStatus = { memberId: 0n, version: "", dbBytes: 0, leader: 0n, raftTerm: 0 };
  decode(buffer, {
    1: (r) => (status.memberId = decodeHeader(r.bytes()).memberId),
    2: (r) => (status.version = r.text()),
    3: (r) => (status.dbBytes = r.int()),
    4: (r) => (status.leader = r.big()),
    6: (r) => (status.raftTerm = r.int()),
  });
  return status;
}
