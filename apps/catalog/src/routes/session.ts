/** /v1/session: leases that locks hang on. */
import { type ApiTable, decodeObject, parseBody, readBody, refusal, reply } from "@heddle/daemon";
import { read, type Ask } from "../blocking.ts";
import { createSession, destroySession, SESSION_FIELDS, toSession } from "../commands/sessions.ts";
import { normalizedUuid, uuidProblem } from "../commands/uuid.ts";
import type { CatalogDeps } from "../deps.ts";
import { SESSIONS, type SessionRecord } from "../records.ts";
import { showSession } from "../views.ts";
import { argument, questionKey } from "./reads.ts";

export function sessionQuestions({ state }: CatalogDeps): Record<string, Ask> {
  const sessions = () => state.store.list<SessionRecord>(SESSIONS);
  return {
    "/v1/session/list": ({ query }) => ({
      key: questionKey("/v1/session/list", query),
      topics: [SESSIONS],
      compute: () => sessions().map(showSession),
    }),
    "/v1/session/node/": ({ query, rest }) => {
      const node = argument(rest, "node name");
      return {
        key: questionKey(`/v1/session/node/${node}`, query),
        topics: [SESSIONS],
        compute: () =>
          sessions()
            .filter((s) => s.value.Node.toLowerCase() === node.toLowerCase())
            .map(showSession),
      };
    },
    "/v1/session/info/": ({ query, rest }) => {
      const id = sessionId(rest);
      return {
        key: questionKey(`/v1/session/info/${id}`, query),
        topics: [SESSIONS],
        compute: () => {
          const found = state.store.get<SessionRecord>(SESSIONS, id);
          return found ? [showSession(found)] : [];
        },
      };
    },
  };
}

export function sessionTable(deps: CatalogDeps): ApiTable {
  const { state } = deps;
  const reads = Object.fromEntries(
    Object.entries(sessionQuestions(deps)).map(([path, ask]) => [
      path,
      { GET: read(state, ask, { consistency: false }) },
    ]),
  );
  return {
    ...reads,
    "/v1/session/create": {
      PUT: async (request) => {
        const body = await readBody(request.req);
        const given = body.length === 0 ? {} : decodeObject(knownOnly(parseBody(body)), SESSION_FIELDS);
        const session = toSession(given, {
          node: request.query.get("node") ?? request.req.headers["x-heddle-node"]?.toString() ?? deps.nodeName,
          minTtlMs: deps.sessionTtlMinMs,
        });
        await state.store.run(createSession(session));
        reply(request, { ID: session.ID });
      },
    },
    "/v1/session/destroy/": {
      PUT: async (request) => {
        const { result } = await state.store.run(destroySession(sessionId(request.rest)));
        if (result) deps.sessionTimers.ended(result.ID);
        reply(request, true);
      },
    },
    "/v1/session/renew/": {
      PUT: async (request) => {
        const id = sessionId(request.rest);
        // Another server may have made it a moment ago.
        if (!state.store.get(SESSIONS, id)) await state.store.catchUp();
        const session = state.store.get<SessionRecord>(SESSIONS, id);
        if (!session) throw refusal(404, `Session id '${request.rest}' not found`);
        deps.sessionTimers.renew(session.value);
        reply(request, [showSession(session)]);
      },
    },
  };
}

function sessionId(rest: string): string {
  const id = argument(rest, "session");
  const problem = uuidProblem(id);
  if (problem !== undefined) throw refusal(500, `failed session lookup: ${problem}`);
  return normalizedUuid(id);
}

// This one endpoint of Consul's ignores fields that it does not know.
function knownOnly(body: unknown): unknown {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return body;
  const names = new Set(Object.keys(SESSION_FIELDS).map((k) => k.toLowerCase()));
  return Object.fromEntries(Object.entries(body).filter(([k]) => names.has(k.toLowerCase())));
}
