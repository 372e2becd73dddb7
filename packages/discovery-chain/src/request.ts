/** What a chain is compiled from, and what comes back. */
import type { ConfigEntryOf } from "@heddle/config-entries";
import type { CompiledChain } from "./chain.ts";

/** What one caller wants to be otherwise than the entries say. */
export interface ChainOverrides {
  /** Mode of every target in another datacenter; empty: as the entries say. */
  meshGatewayMode?: string | undefined;
  /** Protocol of the chain. One that is not HTTP-like leaves routers and splitters out. */
  protocol?: string | undefined;
  /** Connect timeout of every resolver, in milliseconds; only one above 0 counts. */
  connectTimeoutMs?: number | undefined;
}

export interface ChainRequest {
  /** The name that is dialled. */
  service: string;
  /** The datacenter that the chain is compiled for. */
  datacenter: string;
  /** The datacenter where it will be used, whose targets need no mesh gateway; `datacenter` by default. */
  localDatacenter?: string;
  /** Trust domain of the cluster, which the targets' SNI ends in. */
  trustDomain: string;
  overrides?: ChainOverrides;
}

export type ChainEntryKind =
  | "proxy-defaults"
  | "service-defaults"
  | "service-resolver"
  | "service-router"
  | "service-splitter";

/** Looks one entry up, by its name without case. Only what the chain needs is asked for, so a caller can tell what it was made from. */
export type ChainEntries = <K extends ChainEntryKind>(kind: K, name: string) => ConfigEntryOf<K> | undefined;

/** A chain, or why the entries make none, in Consul's words. */
export type ChainResult = { chain: CompiledChain; error?: undefined } | { chain?: undefined; error: string };
