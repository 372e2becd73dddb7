/** The catalog's tables: their names, keys and the values kept in them. */
import type { Intention } from "@heddle/intentions";
import type { HealthCheck, Node, NodeService } from "@heddle/service-definition/types";

export const NODES = "nodes";
export const SERVICES = "services";
export const CHECKS = "checks";
export const KV = "kv";
export const SESSIONS = "sessions";
export const INTENTIONS = "intentions";
export const COORDINATES = "coordinates";
export const EVENTS = "events";
export const AUTOPILOT = "autopilot";
/** One record: which snapshot was restored last. */
export const RESTORES = "restores";
export const QUERIES = "prepared-queries";
export const MEMBERS = "members";

/**
 * Who a service or check is of: its node's agent, to whom somebody registered it or which read it from a file. Without an
 * owner it is external: nobody takes it away but who put it there.
 */
export type Owner = "agent" | "file";

/** An instance of a service on a node. */
export interface ServiceRecord {
  Node: string;
  Service: NodeService;
  Owner?: Owner;
}

export interface KvRecord {
  LockIndex: number;
  Key: string;
  /** Decimal text: flags go up to 2^64-1, past what a number holds. */
  Flags: string;
  /** Base64, or null for an empty value. */
  Value: string | null;
  Session?: string;
}

export interface SessionRecord {
  ID: string;
  Name: string;
  Node: string;
  /** Nanoseconds, as the API shows it. */
  LockDelay: number;
  Behavior: "delete" | "release";
  /** Go duration text, or "" for a session without one. */
  TTL: string;
  NodeChecks: string[] | null;
  ServiceChecks: { ID: string; Namespace: string }[] | null;
  /** What `NodeChecks` was called up to Consul 1.6; counted beside it. */
  Checks?: string[];
}

export interface CoordinateRecord {
  Node: string;
  Segment: string;
  Coord: { Vec: number[]; Error: number; Adjustment: number; Height: number };
}

/** A user event: a message to every agent that its filters mean. */
export interface EventRecord {
  ID: string;
  Name: string;
  /** Base64. */
  Payload: string | null;
  /** Regular expressions; empty: all. */
  NodeFilter: string;
  ServiceFilter: string;
  TagFilter: string;
}

/** Where a query goes on to where nothing is found here; kept for clients of Consul from 1.14 on. */
export interface FailoverTarget {
  Peer?: string;
  Datacenter?: string;
  Partition?: string;
  Namespace?: string;
}

/** A prepared query: a service and which of its instances to answer with, under a name of its own. */
export interface QueryRecord {
  ID: string;
  Name: string;
  /** The session that it ends with; empty: none. */
  Session: string;
  Token: string;
  Template: { Type: string; Regexp: string; RemoveEmptyTags: boolean };
  Service: {
    Service: string;
    Failover: { NearestN: number; Datacenters: string[] | null; Targets?: FailoverTarget[] };
    OnlyPassing: boolean;
    IgnoreCheckIDs: string[] | null;
    Near: string;
    Tags: string[] | null;
    NodeMeta: Record<string, string> | null;
    ServiceMeta: Record<string, string> | null;
    Connect: boolean;
  };
  DNS: { TTL: string };
}

/** A node whose agent holds, or held, a lease. Only changes are written, never a heartbeat. */
export interface MemberRecord {
  Node: string;
  ID: string;
  Address: string;
  Server: boolean;
  Status: "alive" | "failed" | "left";
  /** When it came to be so, in milliseconds since the epoch. */
  Since: number;
  /** Why it failed. */
  Reason: string;
}

export type NodeRecord = Node;
export type CheckRecord = HealthCheck & {
  Owner?: Owner;
  /** An agent's `deregister_critical_service_after`, which its definition in the catalog does not show. */
  ReapAfterMs?: number;
};
export type IntentionRecord = Omit<Intention, "CreateIndex" | "ModifyIndex"> & {
  /** Written as a config entry, without an id of its own. */
  FromEntry?: boolean;
  /** The metadata of the config entry that the rule is part of. */
  EntryMeta?: Record<string, string>;
};

// Node names are compared without case, as Consul's are; ids of services and checks with it.
/** The check of a node that tells whether its agent is alive. */
export const SERF_HEALTH = "serfHealth";

export const nodeKey = (node: string): string => node.toLowerCase();
export const serviceKey = (node: string, id: string): string => `${node.toLowerCase()}\0${id}`;
export const checkKey = serviceKey;
/** The prefix of everything on a node in `services` and `checks`. */
export const nodePrefix = (node: string): string => `${node.toLowerCase()}\0`;
export const serviceNameKey = (name: string): string => name.toLowerCase();
