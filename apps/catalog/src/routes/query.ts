/** /v1/query: questions about a service that are kept under a name, and their answers. */
import {
  type ApiHandler,
  type ApiRequest,
  type ApiTable,
  decodeObject,
  parseBody,
  readBody,
  refusal,
  reply,
  replyEmpty,
  sendText,
} from "@heddle/daemon";
import { loadRegexps } from "@heddle/filter";
import type { StoredRecord } from "@heddle/store";
import type { Question } from "../answers.ts";
import { type Ask, read } from "../blocking.ts";
import { createQuery, deleteQuery, queryId, updateQuery } from "../commands/queries.ts";
import type { CatalogDeps } from "../deps.ts";
import { QUERY_FIELDS } from "../queries/definition.ts";
import { execute, executionTopic, nodeAt } from "../queries/execute.ts";
import type { Resolved } from "../queries/index.ts";
import { wantsExplanation } from "./explain.ts";
import { COORDINATES, NODES, QUERIES, type QueryRecord } from "../records.ts";

const MAX_BODY = 64 * 1024;
const ROOT = "/v1/query/";
const INTERNAL = "/v1/internal/query/";

export function queryQuestions(deps: CatalogDeps): Record<string, Ask> {
  const { state } = deps;
  return {
    "/v1/query": () => ({
      key: "queries",
      topics: [QUERIES],
      compute: () => state.store.list<QueryRecord>(QUERIES).map(showQuery),
    }),
    [ROOT]: ({ query, rest }) => {
      const action = actionOf(rest);
      if (action) return (action === "execute" ? executeQuestion : explainQuestion)(deps, nameOf(rest), query);
      const id = queryId(rest);
      return {
        key: `query ${id}`,
        topics: [QUERIES],
        compute: () => [showQuery(found(state.store.get<QueryRecord>(QUERIES, id)))],
      };
    },
    [INTERNAL]: ({ query, rest }) => followedQuestion(deps, rest, query),
  };
}

export function queryTable(deps: CatalogDeps): ApiTable {
  const { state } = deps;
  const questions = queryQuestions(deps);
  const reading = (path: string): ApiHandler => {
    const handler = read(state, questions[path] as Ask);
    return (request) => handler({ ...request, query: withSource(request) });
  };
  const body = async ({ req }: ApiRequest) => {
    const bytes = await readBody(req, MAX_BODY);
    const given =
      bytes.length === 0 && req.method === "PUT" ? {} : (decodeObject(parseBody(bytes), QUERY_FIELDS) ?? {});
    const template = given["Template"] as { Regexp?: string } | undefined;
    if (template?.Regexp) await loadRegexps();
    return given;
  };
  const writing =
    (method: string, write: ApiHandler): ApiHandler =>
    (request) =>
      actionOf(request.rest) ? refuseMethod(method, request) : write(request);
  return {
    "/v1/query": {
      GET: reading("/v1/query"),
      POST: async (request) => {
        const { result } = await state.store.run(createQuery(await body(request)));
        reply(request, { ID: result });
      },
    },
    [ROOT]: {
      GET: reading(ROOT),
      PUT: writing("PUT", async (request) => {
        await state.store.run(updateQuery(request.rest, await body(request)));
        replyEmpty(request);
      }),
      DELETE: writing("DELETE", async (request) => {
        await state.store.run(deleteQuery(request.rest));
        replyEmpty(request);
      }),
      OTHERS: (request) => refuseMethod(request.method, request),
      OPTIONS: (request) => {
        request.res.setHeader("Allow", ["OPTIONS", ...methodsOf(request.rest)].join(","));
        reply(request, {});
      },
    },
    [INTERNAL]: { GET: reading(INTERNAL) },
  };
}

// As in Consul, /v1/query/execute executes the query called "execute".
const ACTION = /(?:^|\/)(execute|explain)$/;
const actionOf = (rest: string): string | undefined => ACTION.exec(rest)?.[1];
const nameOf = (rest: string): string => rest.replace(/\/(?:execute|explain)$/, "");
const methodsOf = (rest: string): string[] => (actionOf(rest) ? ["GET"] : ["GET", "PUT", "DELETE"]);

function refuseMethod(method: string, { res, rest }: ApiRequest): void {
  res.setHeader("Allow", methodsOf(rest).join(","));
  sendText(res, 405, `method ${method} not allowed`);
}

// "This node" is the one whose agent passed the request on, "this address" the one that it came from.
function withSource({ req, query: given }: ApiRequest): URLSearchParams {
  const query = new URLSearchParams(given);
  const agent = req.headers["x-heddle-node"]?.toString();
  if (agent !== undefined && !query.has("agent")) query.set("agent", agent);
  const forwardedFor = req.headers["x-forwarded-for"]?.toString().split(",")[0]?.trim();
  if (!query.has("ip")) query.set("ip", forwardedFor || req.socket.remoteAddress || "");
  return query;
}

/** A record as the API shows it. */
export function showQuery({ value, createIndex, modifyIndex }: StoredRecord<QueryRecord>) {
  return { ...value, CreateIndex: createIndex, ModifyIndex: modifyIndex };
}

function found<T>(record: T | undefined): T {
  if (record === undefined) throw refusal(404, "Query not found");
  return record;
}

function executeQuestion(deps: CatalogDeps, name: string, query: URLSearchParams): Question {
  const limit = limitOf(query);
  const asked = askedFor(query);
  const answer = ({ value }: Resolved) => {
    const { rows, leftOut } = run(deps, value, asked, Math.random);
    return {
      Service: value.Service.Service,
      Nodes: limit > 0 ? rows.slice(0, limit) : rows,
      DNS: value.DNS,
      Datacenter: deps.datacenter,
      Failovers: 0, // there are no other datacenters to go on to
      ...metaOf(query),
      ...(wantsExplanation(query) && { LeftOut: leftOut }),
    };
  };
  // Not kept: each answer is in an order of its own.
  return resolvedQuestion(deps, { key: `execute ${name}`, keep: false }, { name, asked, answer });
}

function explainQuestion({ queries }: CatalogDeps, name: string, query: URLSearchParams): Question {
  limitOf(query);
  askedFor(query);
  return {
    key: `explain ${name} ${modeOf(query)}`,
    topics: [QUERIES],
    compute: () => ({ Query: showQuery(found(queries.resolve(name))), ...metaOf(query) }),
  };
}

/** What daemons follow: the answer without chance in it, and whether it is another one for each address that asks. */
function followedQuestion(deps: CatalogDeps, name: string, query: URLSearchParams): Question {
  const asked = askedFor(query);
  const answer = ({ value }: Resolved) => {
    const { rows, leftOut } = run(deps, value, asked, () => 0.999_999);
    const { Service, Near } = value.Service;
    return { Service, Nodes: rows, LeftOut: leftOut, DNS: value.DNS, Datacenter: deps.datacenter, Near };
  };
  const key = `follow ${name} ${asked.connect} ${asked.near} ${asked.agent} ${asked.ip}`;
  return resolvedQuestion(deps, { key, keep: true }, { name, asked, answer });
}

interface Asked {
  connect: boolean;
  near: string;
  agent: string;
  ip: string;
}

function askedFor(query: URLSearchParams): Asked {
  return {
    connect: connectOf(query),
    near: query.get("near") ?? "",
    agent: query.get("agent") ?? "",
    ip: query.get("ip") ?? "",
  };
}

function run(deps: CatalogDeps, query: QueryRecord, { connect, near, agent, ip }: Asked, random: () => number) {
  const wanted = near || query.Service.Near;
  const node = wanted === "_agent" ? agent || deps.nodeName : wanted === "_ip" ? nodeAt(deps.state, ip) : wanted;
  return execute(deps.state, query, { connect, near: node, random });
}

// Which service is asked for is decided by the definition, so the topics are those of the definition as it is now.
function resolvedQuestion(
  { state, queries }: CatalogDeps,
  { key, keep }: { key: string; keep: boolean },
  { name, asked, answer }: { name: string; asked: Asked; answer: (resolved: Resolved) => unknown },
): Question {
  let known: { index: number; topics: readonly string[] } | undefined;
  const topicsNow = (): readonly string[] => {
    try {
      const value = queries.resolve(name)?.value;
      if (!value) return [QUERIES];
      const byDistance = asked.near !== "" || value.Service.Near !== "" ? [COORDINATES, NODES] : [];
      return [QUERIES, executionTopic(value, asked.connect), ...byDistance];
    } catch {
      return [QUERIES]; // what `compute` is refused with
    }
  };
  return {
    key,
    keep,
    get topics() {
      const index = state.topics.index([QUERIES]);
      if (known?.index !== index) known = { index, topics: topicsNow() };
      return known.topics;
    },
    compute: () => answer(found(queries.resolve(name))),
  };
}

const modeOf = (query: URLSearchParams): string =>
  query.has("consistent") ? "consistent" : query.has("stale") || query.has("max_stale") ? "stale" : "leader";

// In Consul's answers these stand in the body, too; they are not the headers' values there either.
const metaOf = (query: URLSearchParams) => ({
  Index: 0,
  LastContact: 0,
  KnownLeader: true,
  ConsistencyLevel: modeOf(query),
});

function limitOf(query: URLSearchParams): number {
  const text = query.get("limit") ?? "";
  if (text === "") return 0;
  if (!/^[+-]?\d+$/.test(text)) throw badLimit(text, "invalid syntax");
  const limit = BigInt(text);
  if (limit >= 2n ** 63n || limit < -(2n ** 63n)) throw badLimit(text, "value out of range");
  return Number(limit);
}

const badLimit = (text: string, why: string) =>
  refusal(500, `Bad limit: strconv.Atoi: parsing ${JSON.stringify(text)}: ${why}`);

function connectOf(query: URLSearchParams): boolean {
  const text = query.get("connect") ?? "";
  if (text === "" || /^(?:0|f|F|false|FALSE|False)$/.test(text)) return false;
  if (/^(?:1|t|T|true|TRUE|True)$/.test(text)) return true;
  throw refusal(
    500,
    `Error parsing 'connect' value: strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`,
  );
}
