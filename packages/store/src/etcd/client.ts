/** etcd's API over several endpoints: one is used until it fails, then the next. Knows nothing of what is stored. */
import type { SecureContextOptions } from "node:tls";
import { type Logger, silentLog } from "@heddle/daemon";
import { type Channel, createChannel, GRPC, GrpcError, type GrpcStream, MessageWriter } from "@heddle/grpc";
import {
  type Compare,
  decodeLease,
  decodeMembers,
  decodeRange,
  decodeStatus,
  decodeToken,
  decodeTxn,
  decodeWatch,
  encodeRange,
  encodeTxn,
  encodeWatchCreate,
  type EtcdMember,
  type EtcdStatus,
  type Op,
  type RangeOptions,
  type RangeResult,
  type TxnResult,
  type WatchOptions,
  type WatchResult,
} from "./messages.ts";

/**
 * One try at one endpoint: a commit takes milliseconds, and a member that does not answer should be left soon. Where none has
 * answered in time, all of them are slow: each round of the endpoints waits twice as long as the one before.
 */
const ATTEMPT_TIMEOUT_MS = 1_000;
const MAX_DOUBLINGS = 2;
/** An etcd that is away would be told of with each try. */
const TELL_EVERY_MS = 15_000;
/** A page of a load may take longer than a commit. */
const LOAD_TIMEOUT_MS = 30_000;
// A member that lost its leader says so at once instead of waiting for one (etcd's clientv3.WithRequireLeader).
const REQUIRE_LEADER = { hasleader: "true" };

export interface EtcdClientOptions {
  /** "http://host:port" or "https://host:port"; the order does not matter. */
  endpoints: readonly string[];
  tls?: SecureContextOptions | undefined;
  /** Of etcd's own authentication. */
  user?: { name: string; password: string } | undefined;
  log?: Logger | undefined;
}

export interface TxnRequest {
  compares: readonly Compare[];
  success: readonly Op[];
  failure?: readonly Op[];
}

export interface WatchHandlers {
  onResult: (result: WatchResult) => void;
  /** Called once; the watch is over and the caller begins another. */
  onEnd: (error: Error) => void;
}

export interface EtcdWatch {
  cancel(): void;
  /** The endpoint is of no use any more: the next watch and the next calls go to another. */
  fail(why: string): void;
}

export interface EtcdClient {
  readonly endpoints: readonly string[];
  range(options: RangeOptions): Promise<RangeResult>;
  /** Rejects with GrpcError where it is not known whether the transaction took place, `wasSent` being true. */
  txn(request: TxnRequest): Promise<TxnResult>;
  watch(options: WatchOptions, handlers: WatchHandlers): EtcdWatch;
  /** `ttlSeconds` as etcd gave it. */
  grantLease(ttlSeconds: number): Promise<{ id: bigint; ttlSeconds: number }>;
  /** The seconds that it has from now on; 0 where it had run out. */
  keepAlive(id: bigint): Promise<number>;
  revokeLease(id: bigint): Promise<void>;
  members(): Promise<EtcdMember[]>;
  /** Asks one member, by the URL of its clients. */
  statusOf(url: string): Promise<EtcdStatus>;
  close(): void;
}

export function createEtcdClient(options: EtcdClientOptions): EtcdClient {
  const log = options.log ?? silentLog;
  const channels = options.endpoints.map((url) => createChannel(url, { tls: options.tls }));
  const others = new Map<string, Channel>();
  // Servers that start together should not all lean on the same member.
  let current = Math.floor(Math.random() * channels.length);
  let token: Promise<string> | undefined;
  let isClosed = false;
  let lateInARow = 0;
  let leftAt = Number.NEGATIVE_INFINITY;
  let toldAt = Number.NEGATIVE_INFINITY;

  const leave = (channel: Channel, why: string) => {
    if (isClosed || channels[current] !== channel) return;
    leftAt = performance.now();
    channel.reset();
    current = (current + 1) % channels.length;
    const isTold = leftAt - toldAt < TELL_EVERY_MS;
    if (!isTold) toldAt = leftAt;
    log[isTold ? "debug" : "warn"]("leaving an endpoint of etcd for the next", {
      endpoint: channel.url,
      reason: why,
      next: channels[current]?.url,
    });
  };
  const authenticate = async (channel: Channel): Promise<string> => {
    const { name, password } = options.user as { name: string; password: string };
    const request = new MessageWriter().bytes(1, name).bytes(2, password).finish();
    return decodeToken(
      await channel.call("/etcdserverpb.Auth/Authenticate", request, { timeoutMs: ATTEMPT_TIMEOUT_MS }),
    );
  };
  const metadata = async (channel: Channel): Promise<Record<string, string>> => {
    if (!options.user) return REQUIRE_LEADER;
    token ??= authenticate(channel).catch((error: unknown) => {
      token = undefined;
      throw error;
    });
    return { ...REQUIRE_LEADER, token: await token };
  };
  const callOn = async (channel: Channel, path: string, message: MessageWriter, timeoutMs: number): Promise<Buffer> => {
    try {
      return await channel.call(path, message.finish(), { timeoutMs, metadata: await metadata(channel) });
    } catch (error) {
      if (!(error instanceof GrpcError) || !isStaleToken(error)) throw error;
      token = undefined; // of another life of etcd, or too old
      return channel.call(path, message.finish(), { timeoutMs, metadata: await metadata(channel) });
    }
  };
  const patienceMs = () => ATTEMPT_TIMEOUT_MS * 2 ** Math.min(MAX_DOUBLINGS, Math.floor(lateInARow / channels.length));
  const call = async (path: string, message: MessageWriter, timeoutMs = patienceMs()): Promise<Buffer> => {
    const channel = channels[current] as Channel;
    const begun = performance.now();
    try {
      const answer = await callOn(channel, path, message, timeoutMs);
      if (performance.now() - begun < ATTEMPT_TIMEOUT_MS / 2) {
        lateInARow = 0;
        toldAt = Number.NEGATIVE_INFINITY;
      }
      return answer;
    } catch (error) {
      // Calls that waited together are late together: the first of them has left the endpoint, or its connection, for all.
      if (error instanceof GrpcError && isOfEndpoint(error) && begun >= leftAt) {
        if (error.grpcCode === GRPC.deadlineExceeded) lateInARow++;
        leave(channel, error.message);
      }
      throw error;
    }
  };

  return {
    endpoints: options.endpoints,
    range: async (range) =>
      decodeRange(await call("/etcdserverpb.KV/Range", encodeRange(range), range.end ? LOAD_TIMEOUT_MS : undefined)),
    txn: async ({ compares, success, failure }) =>
      decodeTxn(await call("/etcdserverpb.KV/Txn", encodeTxn(compares, success, failure))),
    watch(watchOptions, { onResult, onEnd }) {
      const channel = channels[current] as Channel;
      let stream: GrpcStream | undefined;
      let isOver = false;
      const end = (error: Error) => {
        if (isOver) return;
        isOver = true;
        stream?.cancel();
        onEnd(error);
      };
      const fail = (error: Error) => {
        leave(channel, error.message);
        end(error);
      };
      const begin = (headers: Record<string, string>) => {
        if (isOver) return;
        stream = channel.stream("/etcdserverpb.Watch/Watch", headers, {
          onMessage: (bytes) => {
            const result = decodeWatch(bytes);
            if (result.canceled && /auth|permission/.test(result.reason)) token = undefined;
            onResult(result);
          },
          onEnd: fail,
        });
        stream.send(encodeWatchCreate(watchOptions).finish());
      };
      metadata(channel).then(begin).catch(fail);
      return {
        cancel: () => {
          isOver = true;
          stream?.cancel();
        },
        fail: (why) => fail(new Error(why)),
      };
    },
    grantLease: async (ttlSeconds) =>
      decodeLease(await call("/etcdserverpb.Lease/LeaseGrant", new MessageWriter().int(1, ttlSeconds))),
    // A stream in etcd's API; one message on one of its own is the same as far as etcd is concerned.
    keepAlive: async (id) =>
      decodeLease(await call("/etcdserverpb.Lease/LeaseKeepAlive", new MessageWriter().int(1, id))).ttlSeconds,
    revokeLease: async (id) => void (await call("/etcdserverpb.Lease/LeaseRevoke", new MessageWriter().int(1, id))),
    members: async () => decodeMembers(await call("/etcdserverpb.Cluster/MemberList", new MessageWriter())),
    statusOf: async (url) => {
      let channel = channels.find((c) => c.url === url) ?? others.get(url);
      if (!channel) others.set(url, (channel = createChannel(url, { tls: options.tls })));
      return decodeStatus(
        await callOn(channel, "/etcdserverpb.Maintenance/Status", new MessageWriter(), ATTEMPT_TIMEOUT_MS),
      );
    },
    close() {
      isClosed = true;
      for (const channel of [...channels, ...others.values()]) channel.close();
    },
  };
}

const isStaleToken = ({ message }: GrpcError): boolean =>
  /invalid auth token|auth token is (?:not|old)|user name is empty/.test(message);

/** Whether another member may do better. */
const isOfEndpoint = ({ grpcCode }: GrpcError): boolean =>
  grpcCode === GRPC.unavailable || grpcCode === GRPC.deadlineExceeded;
