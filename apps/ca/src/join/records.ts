/** What is stored of joining: two tables beside the roots, so that a snapshot of the catalog holds neither. */

export const JOIN_TOKENS = "ca-join-tokens";
export const JOINED_NODES = "ca-joined-nodes";

/** Keyed by the token's id, which is no secret. Times are milliseconds since the epoch. */
export interface JoinTokenRecord {
  /** SHA-256 of the secret part, hexadecimal. */
  hash: string;
  createdAt: number;
  expiresAt: number;
  /** How many nodes may join with it, and have. */
  uses: number;
  used: number;
  /** Who has, the newest last, and no more than the last few. */
  usedBy: { node: string; at: number }[];
  /** The only node that may. */
  node?: string;
}

/** Keyed by the node's name in lower case. */
export interface JoinedNodeRecord {
  node: string;
  /** SHA-256 of the public key that joined, hexadecimal: whoever holds it is this node. */
  keyId: string;
  /** Id of the token that it joined with. */
  token: string;
  joinedAt: number;
  /** When its certificate was signed last. */
  signedAt: number;
}
