/** Not Consul's: who is a member of the mesh, and how one is made to leave. The agent's /v1/agent/members and its like ask here. */
import { type ApiTable, decodeBody, readBody, refusal, reply } from "@heddle/daemon";
import { read, type Ask } from "../blocking.ts";
import type { CatalogDeps } from "../deps.ts";
import { requireOwnNode } from "../own-node.ts";
import { MEMBERS } from "../records.ts";
import { questionKey } from "./reads.ts";

const LEAVE_FIELDS = { Node: "string", Prune: "boolean" } as const;

export function memberQuestions({ members }: CatalogDeps): Record<string, Ask> {
  return {
    "/v1/internal/members": ({ query }) => ({
      key: questionKey("/v1/internal/members", query),
      topics: [MEMBERS],
      compute: () => members.records().map(({ value }) => value),
    }),
  };
}

export function memberTable(deps: CatalogDeps): ApiTable {
  const { log, members, reaper, state } = deps;
  const ask = memberQuestions(deps)["/v1/internal/members"] as Ask;
  const named = (body: Record<string, unknown>): string => {
    const node = body["Node"];
    if (typeof node !== "string" || node === "") throw refusal(400, "Missing Node: want the name of a member");
    return node;
  };
  return {
    "/v1/internal/members": { GET: read(state, ask) },
    "/v1/internal/deregistrations": { GET: (request) => reply(request, reaper.countdowns()) },
    "/v1/internal/leave": {
      PUT: async (request) => {
        const Node = named(decodeBody(await readBody(request.req), LEAVE_FIELDS));
        requireOwnNode(request.req, { Node, isOwnOnly: true }, { store: state.store, log });
        await members.leave(Node);
        reply(request, true);
      },
    },
    "/v1/internal/force-leave": {
      PUT: async (request) => {
        const body = decodeBody(await readBody(request.req), LEAVE_FIELDS);
        const node = named(body);
        if (!(await members.forceLeave(node, { prune: body["Prune"] === true })))
          throw refusal(404, `No node found with name '${node}'`);
        reply(request, true);
      },
    },
  };
}
