/**
 * All that a proxy knows at one moment. Listeners, TLS contexts and decisions are functions of it; connections are decided
 * on what is here, and nothing on their path asks another process.
 */
import { isDeepStrictEqual } from "node:util";
import type { Intention } from "@heddle/intentions";
import type { RevocationsAnswer } from "@heddle/tls";
import type { Endpoint } from "./endpoints.ts";
import type { ProxySpec, UpstreamSpec } from "./spec.ts";

export interface Leaf {
  certPem: string;
  keyPem: string;
  /** `spiffe://…/svc/<service>`. */
  uri: string;
  service: string;
  namespace: string;
  datacenter: string;
  trustDomain: string;
  /** `08:…` */
  serial: string;
  /** Milliseconds since the epoch. */
  notBefore: number;
  notAfter: number;
}

export interface Roots {
  trustDomain: string;
  certPems: string[];
  /** Common names, for the log. */
  names: string[];
}

/** Who may call the service. */
export interface Rules {
  intentions: Intention[];
  defaultAllow: boolean;
  defaultReason?: string | undefined;
  /** X-Consul-Index of the answer that they are from; 0 or absent where it has none. */
  version?: number;
}

export interface Snapshot {
  readonly spec?: ProxySpec | undefined;
  readonly leaf?: Leaf | undefined;
  readonly roots?: Roots | undefined;
  /** Absent until first known; empty where the agent knows of none. */
  readonly revocations?: RevocationsAnswer | undefined;
  readonly rules?: Rules | undefined;
  /** By `upstreamKey`; absent until first known. */
  readonly endpoints: ReadonlyMap<string, readonly Endpoint[]>;
}

export type SnapshotPart = keyof Snapshot;

export interface SnapshotStore {
  readonly current: Snapshot;
  set<P extends SnapshotPart>(part: P, value: Snapshot[P]): void;
  setEndpoints(key: string, endpoints: readonly Endpoint[] | undefined): void;
  /** Called after each change with the part that changed; the same value again is no change. */
  onChange(listener: (part: SnapshotPart) => void): void;
}

export function createSnapshotStore(): SnapshotStore {
  let current: Snapshot = { endpoints: new Map() };
  const listeners: ((part: SnapshotPart) => void)[] = [];
  const replace = (part: SnapshotPart, value: unknown) => {
    if (isDeepStrictEqual(current[part], value)) return;
    current = { ...current, [part]: value };
    for (const listener of listeners) listener(part);
  };
  return {
    get current() {
      return current;
    },
    set: replace,
    setEndpoints(key, endpoints) {
      const next = new Map(current.endpoints);
      if (endpoints) next.set(key, endpoints);
      else next.delete(key);
      replace("endpoints", next);
    },
    onChange: (listener) => void listeners.push(listener),
  };
}

/** What is watched for an upstream: two listeners on the same service share one list of endpoints. */
export function upstreamKey({ kind, name, namespace, datacenter }: UpstreamSpec): string {
  return `${kind}/${datacenter}/${namespace}/${name}`;
}
