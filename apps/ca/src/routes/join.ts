/** /v1/connect/ca/join-tokens and joined-nodes: who may join, and who has. Ours; Consul has no such paths. */
import { createHash } from "node:crypto";
import {
  type ApiRequest,
  type ApiTable,
  callerOf,
  type Clock,
  decodeBody,
  formatDuration,
  formatJoinLine,
  isLoopback,
  parseDuration,
  type Logger,
  PermissionDeniedError,
  readBody,
  refusal,
  reply,
} from "@heddle/daemon";
import { isSegment } from "@heddle/spiffe";
import type { Store } from "@heddle/store";
import { certificatesToDer } from "@heddle/tls";
import type { Authority } from "../authority.ts";
import { JOIN_TOKENS, JOINED_NODES, type JoinedNodeRecord, type JoinTokenRecord } from "../join/records.ts";
import { makeToken, removeToken, storeToken } from "../join/tokens.ts";
import type { Revocations } from "../revocations.ts";
import { rfc3339 } from "../rfc3339.ts";

const DEFAULT_TTL_MS = 3_600_000;
const MIN_TTL_MS = 1_000;
const MAX_TTL_MS = 30 * 86_400_000;
const MAX_USES = 10_000;
const MAX_BODY = 4 * 1024;
export const JOIN_TOKEN_FIELDS = { TTL: "string", Uses: "integer", Node: "string" } as const;

export interface JoinTableOptions {
  store: Store;
  authority: Authority;
  revocations: Revocations;
  /** host:port at which nodes reach the internal API. Throws where they cannot join. */
  address: () => string;
  clock: Clock;
  log: Logger;
}

export function joinTable({ store, authority, revocations, address, clock, log }: JoinTableOptions): ApiTable {
  return {
    "/v1/connect/ca/join-tokens": {
      GET(request) {
        requireServer(request);
        reply(request, store.list<JoinTokenRecord>(JOIN_TOKENS).map(showToken));
      },
      async PUT(request) {
        requireServer(request);
        const to = address();
        const options = readToken(decodeBody(await readBody(request.req, MAX_BODY), JOIN_TOKEN_FIELDS));
        const now = clock.now();
        const token = makeToken(options, now);
        await store.run(storeToken(token, now));
        log.info("made a join token", {
          token: token.id,
          uses: options.uses,
          expires_at: rfc3339(now + options.ttlMs),
        });
        const fingerprint = fingerprintOf(authority);
        const Join = formatJoinLine({ address: to, fingerprint, token: token.text });
        reply(request, { ...showToken({ key: token.id, value: token.record }), Join });
      },
    },
    "/v1/connect/ca/join-tokens/": {
      async DELETE(request) {
        requireServer(request);
        const id = request.rest.toLowerCase();
        if (!(await store.run(removeToken(id))).result) throw refusal(404, `there is no join token '${id}'`);
        log.info("revoked a join token", { id });
        reply(request, true);
      },
    },
    "/v1/connect/ca/joined-nodes": {
      GET(request) {
        requireServer(request);
        reply(
          request,
          store.list<JoinedNodeRecord>(JOINED_NODES).map(({ value: { node, token, joinedAt, signedAt } }) => ({
            ...{ Node: node, Token: token, JoinedAt: rfc3339(joinedAt), SignedAt: rfc3339(signedAt) },
          })),
        );
      },
    },
    "/v1/connect/ca/joined-nodes/": {
      async DELETE(request) {
        requireServer(request);
        await revocations.revokeNode(request.rest);
        reply(request, true);
      },
    },
  };
}

/** Whoever lets nodes in is on the server itself, or holds an operator's certificate. */
function requireServer({ req }: ApiRequest): void {
  const { remoteAddress } = req.socket;
  const isHere = remoteAddress === undefined || isLoopback(remoteAddress.replace(/^::ffff:/, ""));
  if (isHere || callerOf(req)) return;
  throw new PermissionDeniedError(`join tokens are for callers on the server itself, not for ${remoteAddress}`);
}

function readToken(body: Record<string, unknown>): { ttlMs: number; uses: number; node?: string } {
  const ttlMs = body["TTL"] === undefined ? DEFAULT_TTL_MS : parseDuration(body["TTL"] as string);
  const uses = (body["Uses"] as number | undefined) ?? 1;
  const node = (body["Node"] as string | undefined) ?? "";
  if (ttlMs < MIN_TTL_MS || ttlMs > MAX_TTL_MS)
    throw refusal(400, `invalid TTL '${formatDuration(ttlMs)}': want 1s to ${formatDuration(MAX_TTL_MS)}`);
  if (uses < 1 || uses > MAX_USES) throw refusal(400, `invalid Uses ${uses}: want 1 to ${MAX_USES}`);
  if (node !== "" && !isSegment(node))
    throw refusal(400, `invalid Node '${node}': want letters, digits, '.', '-', '_'`);
  return { ttlMs, uses, ...(node && { node }) };
}

function showToken({ key, value }: { key: string; value: JoinTokenRecord }) {
  const { createdAt, expiresAt, uses, used, usedBy, node = "" } = value;
  return {
    ID: key,
    CreatedAt: rfc3339(createdAt),
    ExpiresAt: rfc3339(expiresAt),
    Uses: uses,
    Used: used,
    UsedBy: usedBy.map((use) => ({ Node: use.node, At: rfc3339(use.at) })),
    Node: node,
  };
}

function fingerprintOf(authority: Authority): string {
  const active = authority.roots().find(({ key }) => key === authority.activeRoot.id);
  const [der] = certificatesToDer(active?.value.certPem ?? "");
  return createHash("sha256")
    .update(der as Buffer)
    .digest("hex");
}
