/**
 * Tokens by which nodes join, as commands: what a token allows is counted in the commit that lets the node in, so that two who
 * come at once with the last use do not both get it (SECURITY.md, A26). A secret is shown once and kept as its hash.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { HeddleError, InvalidArgumentError, PermissionDeniedError } from "@heddle/daemon";
import type { Command, View, Write } from "@heddle/store";
import { type RevokedNode, revokedNode } from "@heddle/tls";
import { REVOKED_NODES } from "../records.ts";
import { rfc3339 } from "../rfc3339.ts";
import { JOIN_TOKENS, JOINED_NODES, type JoinedNodeRecord, type JoinTokenRecord } from "./records.ts";

const MAX_TOKENS = 1_000;
const MAX_NODES = 100_000;
const MAX_USED_BY = 16;
const KEEP_EXPIRED_MS = 7 * 86_400_000; // so long a refusal can still say why
const ID_BYTES = 6;
const SECRET_BYTES = 32;
/** A node that was away for longer is forgotten: its name is free for another key. */
export const MAX_ABSENCE_MS = 30 * 86_400_000;

export interface NewToken {
  id: string;
  /** Secret: `<id>.<secret>`. */
  text: string;
  record: JoinTokenRecord;
}

export interface TokenOptions {
  ttlMs: number;
  uses: number;
  node?: string | undefined;
}

export function makeToken({ ttlMs, uses, node }: TokenOptions, now: number): NewToken {
  const id = randomBytes(ID_BYTES).toString("hex");
  const secret = randomBytes(SECRET_BYTES).toString("base64url");
  const record = { hash: hashOf(secret), createdAt: now, expiresAt: now + ttlMs, uses, used: 0, usedBy: [] };
  return { id, text: `${id}.${secret}`, record: { ...record, ...(node && { node }) } };
}

/** Throws InvalidArgumentError past the most tokens that may be. */
export function storeToken({ id, record }: NewToken, now: number): Command<void> {
  return (view) => {
    const old = view
      .list<JoinTokenRecord>(JOIN_TOKENS)
      .filter(({ value }) => value.expiresAt + KEEP_EXPIRED_MS < now)
      .map(({ key }): Write => ({ table: JOIN_TOKENS, key }));
    if (view.list(JOIN_TOKENS).length - old.length >= MAX_TOKENS)
      throw new InvalidArgumentError(`there are ${MAX_TOKENS} join tokens: revoke some (heddle token revoke)`);
    return { writes: [...old, { table: JOIN_TOKENS, key: id, value: record }], result: undefined };
  };
}

/** Resolves with whether it was there. */
export function removeToken(key: string): Command<boolean> {
  return (view) => {
    const isThere = view.get(JOIN_TOKENS, key) !== undefined;
    return { writes: isThere ? [{ table: JOIN_TOKENS, key }] : [], result: isThere };
  };
}

export interface Joiner {
  node: string;
  keyId: string;
  /** What came as a token; empty for none. */
  token: string;
  /** A node of this name is there already, which has not joined this way. */
  isTaken: boolean;
}

/**
 * Lets a node in: by the key that it has joined with before, or by a token, which is counted. Resolves with the token's id.
 * Throws PermissionDeniedError with the reason, for both ends' logs.
 */
export function admit({ node, keyId, token, isTaken }: Joiner, now: number): Command<string> {
  return (view) => {
    const revoked = view.get<RevokedNode>(REVOKED_NODES, keyId)?.value;
    if (revoked) throw new PermissionDeniedError(revokedNode(revoked));
    const key = node.toLowerCase();
    const known = view.get<JoinedNodeRecord>(JOINED_NODES, key)?.value;
    const isCurrent = known !== undefined && now - known.signedAt < MAX_ABSENCE_MS;
    if (isCurrent && known.keyId === keyId)
      return { writes: [{ table: JOINED_NODES, key, value: { ...known, signedAt: now } }], result: known.token };
    if (isCurrent)
      throw new PermissionDeniedError(
        `node '${known.node}' has joined with another key at ${rfc3339(known.joinedAt)}: if it has lost its data directory, 'heddle token revoke -node ${known.node}' on a server lets it join anew`,
      );
    if (isTaken) throw new PermissionDeniedError(`there is a node '${node}' already, which has not joined by a token`);
    const { id, record } = check(view, { node, token }, now);
    if (!known && view.list(JOINED_NODES).length >= MAX_NODES)
      throw new HeddleError("unavailable", `${MAX_NODES} nodes have joined: revoke those that are gone`);
    const usedBy = [...record.usedBy, { node, at: now }].slice(-MAX_USED_BY);
    const joined: JoinedNodeRecord = { node, keyId, token: id, joinedAt: now, signedAt: now };
    return {
      writes: [
        { table: JOIN_TOKENS, key: id, value: { ...record, used: record.used + 1, usedBy } },
        { table: JOINED_NODES, key, value: joined },
      ],
      result: id,
    };
  };
}

/** The same for a node that is connected by its certificate: its key has to be the one that joined. */
export function renew({ node, keyId }: Pick<Joiner, "keyId" | "node">, now: number): Command<void> {
  return (view) => {
    const key = node.toLowerCase();
    const known = view.get<JoinedNodeRecord>(JOINED_NODES, key)?.value;
    if (known?.keyId !== keyId)
      throw new PermissionDeniedError(
        known ? `node '${node}' has joined with another key` : `node '${node}' has not joined, or was revoked`,
      );
    return { writes: [{ table: JOINED_NODES, key, value: { ...known, signedAt: now } }], result: undefined };
  };
}

function check(
  view: View,
  { node, token }: Pick<Joiner, "node" | "token">,
  now: number,
): { id: string; record: JoinTokenRecord } {
  const refuse = (why: string): never => {
    throw new PermissionDeniedError(why);
  };
  if (token === "") return refuse(`node '${node}' has not joined before: want a join token`);
  const { id, secret } = splitToken(token);
  const record = view.get<JoinTokenRecord>(JOIN_TOKENS, id)?.value;
  if (!record || !timingSafeEqual(Buffer.from(record.hash), Buffer.from(hashOf(secret))))
    return refuse("the join token is unknown, or was revoked");
  if (record.expiresAt <= now) return refuse(`the join token ${id} expired at ${rfc3339(record.expiresAt)}`);
  if (record.node !== undefined && record.node.toLowerCase() !== node.toLowerCase())
    return refuse(`the join token ${id} is for node '${record.node}', not '${node}'`);
  if (record.used >= record.uses) {
    const by = record.usedBy.map((use) => `'${use.node}' at ${rfc3339(use.at)}`).join(", ");
    return refuse(
      `the join token ${id} is used up: by node ${by}. Whoever did not expect that has had it stolen ('heddle token revoke -node')`,
    );
  }
  return { id, record };
}

export function splitToken(token: string): { id: string; secret: string } {
  const dot = token.indexOf(".");
  return { id: token.slice(0, Math.max(0, dot)), secret: token.slice(dot + 1) };
}

const hashOf = (secret: string): string => createHash("sha256").update(secret).digest("hex");
