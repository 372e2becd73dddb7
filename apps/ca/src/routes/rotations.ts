/**
 * PUT /v1/connect/ca/rotate: another root or intermediate of the same kind, now; `abort`: the rotation that is under way is stopped or taken
 * back; `rollback`: the root before signs again. Ours; Consul has no such paths.
 */
import { type ApiTable, decodeBody, HeddleError, readBody, reply } from "@heddle/daemon";
import type { ActiveRoot } from "../active-root.ts";
import type { Authority } from "../authority.ts";

const MAX_BODY_BYTES = 4 * 1024;
export const ROTATE_FIELDS = { Intermediate: "boolean" } as const;

export function rotationsTable(authority: Authority): ApiTable {
  return {
    "/v1/connect/ca/rotate": {
      async PUT(request) {
        const body = await readBody(request.req, MAX_BODY_BYTES);
        const isIntermediate = body.length > 0 && decodeBody(body, ROTATE_FIELDS)["Intermediate"] === true;
        const why = whyNot(authority.activeRoot, isIntermediate);
        if (why !== undefined) throw new HeddleError("conflict", why);
        await (isIntermediate ? authority.renewIntermediate() : authority.renewRoot());
        const { id, intermediateId } = authority.activeRoot;
        reply(request, { ActiveRootID: id, IntermediateID: intermediateId ?? null });
      },
    },
    "/v1/connect/ca/abort": {
      async PUT(request) {
        const { phase, rootId } = await authority.abort();
        reply(request, { Aborted: phase, ActiveRootID: rootId });
      },
    },
    "/v1/connect/ca/rollback": {
      async PUT(request) {
        reply(request, { ActiveRootID: await authority.rollBack("asked for") });
      },
    },
  };
}

/** What is not made here is not ours to make anew. */
function whyNot({ origin, intermediateId }: ActiveRoot, isIntermediate: boolean): string | undefined {
  if (isIntermediate) {
    if (intermediateId === undefined) return "no intermediate signs: the root does itself (IntermediateSigns)";
    return origin === "offline"
      ? "the root's key is elsewhere: have it sign a request (csr, set-intermediate)"
      : undefined;
  }
  if (origin === "vault") return "the root is Vault's: another one at RootPKIPath is taken with the next configuration";
  if (origin === "root" || origin === "offline")
    return "the root was offered by its operator: offer another one in its place";
  return undefined;
}
