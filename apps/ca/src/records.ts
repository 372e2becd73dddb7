/** What the CA keeps, table by table; only `ca-keys` is secret. */
import type { ProviderConfig } from "./provider-config.ts";

export const CONFIG = "ca-config";
export const ROOTS = "ca-roots";
export const KEYS = "ca-keys";
/** Keyed by the serial's digits, and by the service's name. */
export const REVOKED_SERIALS = "ca-revoked-serials";
export const REVOKED_SERVICES = "ca-revoked-services";
/** Keyed by the id of the key that the node joined with. */
export const REVOKED_NODES = "ca-revoked-nodes";
/** One record, written with each change of the three. */
export const REVOCATION_HEAD = "ca-revocation-head";

/** What is being prepared, or the last that was stopped: one record. */
export const PREPARATION = "ca-preparation";
export const PREPARATION_KEY = "next";

/** The only record of `ca-config`. */
export const CONFIG_KEY = "config";

export type Provider = "consul" | "vault";

export interface ConfigRecord {
  /** UUID of the cluster: its trust domain for life. */
  clusterId: string;
  provider: Provider;
  /** As it was given, but for its secrets. */
  config: ProviderConfig | null;
  forceWithoutCrossSigning: boolean;
}

export type RootOrigin = "key" | "made" | "offline" | "root" | "vault";

/** Why a rotation was taken back: its operator aborted it, or asked for the root before, or proxies did not follow. */
export type WayBack = "aborted" | "asked for" | "not followed";

/** Keyed by the root's id. */
export interface RootRecord {
  certPem: string;
  /** Certificates from what signs to this root, and from it to older ones. */
  intermediates: string[];
  /** The one that signs, where the root does not itself; the first of them. */
  intermediatePem?: string;
  isActive: boolean;
  /** Made here, made here of an offered key, offered whole, offered without its key, or Vault's; made here where it is absent. */
  origin?: RootOrigin;
  /** Of an active root: when it took the place of another. Milliseconds since the epoch. */
  rotatedAt?: number;
  /** True where that was a way back: nobody goes back from it by itself, and it is not renewed at once. */
  isRolledBack?: boolean;
  wentBackBecause?: WayBack;
  /** Of an inactive root: when it was replaced, and when nothing can need it any more. Milliseconds since the epoch. */
  rotatedOutAt?: number;
  /** Of an inactive root: the configuration that held while it was active. */
  config?: ProviderConfig | null;
  removeAt?: number;
}

/** The record of the token for Vault. */
export const VAULT_TOKEN = "vault-token";
/** The record of a key that a request for an intermediate was made with, until one comes. */
export const REQUEST_KEY = "request";

/** Keyed by the id of the root or intermediate: the key in plain, or sealed, or none where it is elsewhere. */
export interface KeyRecord {
  keyPem?: string;
  sealed?: string;
  /** When the last leaf expires that the root signed before lifetimes were shortened. Milliseconds since the epoch. */
  leavesUntil?: number;
}

/** Times are milliseconds since the epoch. */
export interface PreparationRecord {
  id: string;
  /** Of the store, as the CA had it that prepares. */
  instance: string;
  since: number;
  stoppedAt?: number;
}

/** False for a root whose key is elsewhere. */
export const hasKey = ({ keyPem, sealed }: KeyRecord): boolean => keyPem !== undefined || sealed !== undefined;
