/** /v1/connect/intentions: the rules of who may talk to whom. */
import {
  type ApiHandler,
  type ApiRequest,
  type ApiTable,
  type Decoded,
  decodeBody,
  describeError,
  readBody,
  readParams,
  refusal,
  reply,
} from "@heddle/daemon";
import { intentionFields } from "@heddle/filter";
import { decide, explain, type Explanation, findIdleRules, matchOrder } from "@heddle/intentions";
import type { StoredRecord } from "@heddle/store";
import { read, type Ask } from "../blocking.ts";
import {
  createIntention,
  deleteIntention,
  INTENTION_FIELDS,
  intentionHash,
  updateIntention,
  upsertIntention,
} from "../commands/intentions.ts";
import type { CatalogDeps } from "../deps.ts";
import { INTENTIONS, type IntentionRecord } from "../records.ts";
import { keyOf } from "../rule-holders.ts";
import { questionKey, rowFilter } from "./reads.ts";
import { replyToWrite, unreported, waitOf } from "./rule-holders.ts";

const MAX_BODY = 64 * 1024;
const UUID_LENGTH = 36;
const MAX_NAME = 1_024;

export function showIntention({ value, createIndex, modifyIndex }: StoredRecord<IntentionRecord>) {
  const { FromEntry: _fromEntry, EntryMeta: _entryMeta, ...rule } = value;
  return {
    ...rule,
    DefaultAddr: "",
    DefaultPort: 0,
    Hash: intentionHash(value),
    CreateIndex: createIndex,
    ModifyIndex: modifyIndex,
  };
}

export function intentionQuestions({ state, defaultIntentionPolicy }: CatalogDeps): Record<string, Ask> {
  // A change wakes the proxies of every service at once, each with a question of its own on the same rules.
  let known: { version: number; rules: ReturnType<typeof showIntention>[] } | undefined;
  const rules = () => {
    const version = state.topics.index([INTENTIONS]);
    if (known?.version !== version) {
      const all = state.store.list<IntentionRecord>(INTENTIONS).map(showIntention);
      known = { version, rules: all.sort((a, b) => matchOrder(a, b)) };
    }
    return known.rules;
  };
  return {
    "/v1/connect/intentions/explain": ({ query }) => {
      const source = nameOf(query, "source");
      const destination = nameOf(query, "destination");
      const defaultAllow = defaultIntentionPolicy === "allow";
      return {
        key: questionKey("/v1/connect/intentions/explain", query),
        topics: [INTENTIONS],
        compute: () => explain({ intentions: rules(), source, destination, defaultAllow }),
      };
    },
    "/v1/connect/intentions": ({ query }) => {
      const isKept = rowFilter(query, intentionFields);
      return {
        key: questionKey("/v1/connect/intentions", query),
        topics: [INTENTIONS],
        compute: () => rules().filter(isKept),
      };
    },
    "/v1/connect/intentions/match": ({ query }) => {
      const by = required(query, "by");
      if (by !== "source" && by !== "destination")
        throw refusal(500, "'by' parameter must be one of 'source' or 'destination'");
      const names = query.getAll("name");
      if (names.length === 0) throw refusal(500, "required query parameter 'name' not set");
      const side = by === "source" ? "Source" : "Destination";
      return {
        key: questionKey("/v1/connect/intentions/match", query),
        topics: [INTENTIONS],
        compute: () => {
          const all = rules();
          return Object.fromEntries(
            names.map((entry) => {
              const { namespace, name } = splitName(entry);
              const matches = (value: string, wanted: string) => value === "*" || value === wanted;
              const found = all.filter((r) => matches(r[`${side}NS`], namespace) && matches(r[`${side}Name`], name));
              return [entry, found.length > 0 ? found : null];
            }),
          );
        },
      };
    },
  };
}

export function intentionTable(deps: CatalogDeps): ApiTable {
  const { state } = deps;
  const questions = intentionQuestions(deps);
  // A proxy must know what holds where no rule matches; newer Consul servers say it in this header too.
  const head = ["X-Consul-Default-ACL-Policy", deps.defaultIntentionPolicy];
  const readWithPolicy: ReadWithPolicy = (path) => read(state, questions[path] as Ask, { consistency: false, head });
  const write = async (request: ApiRequest, run: () => Promise<unknown>) => {
    waitOf(request); // refused before anything is written
    await replyToWrite(request, deps, await run());
  };
  const body = async (request: ApiRequest, refuse = badBody): Promise<Decoded> => {
    const bytes = await readBody(request.req, MAX_BODY);
    try {
      return decodeBody(bytes, INTENTION_FIELDS);
    } catch (cause) {
      throw refuse(describeError(cause), cause);
    }
  };
  return {
    "/v1/connect/intentions": {
      GET: readWithPolicy("/v1/connect/intentions"),
      POST: (request) =>
        write(request, async () => {
          const { result } = await state.store.run(createIntention(await body(request), new Date()));
          return { ID: result };
        }),
    },
    "/v1/connect/intentions/match": { GET: readWithPolicy("/v1/connect/intentions/match") },
    "/v1/connect/intentions/check": {
      GET: (request) => {
        const source = required(request.query, "source");
        const destination = required(request.query, "destination");
        const type = request.query.get("source-type") ?? "";
        if (type !== "" && type !== "consul") throw refusal(500, `unsupported SourceType: ${JSON.stringify(type)}`);
        reply(request, { Allowed: check(deps, source, destination).allowed });
      },
    },
    "/v1/connect/intentions/explain": { GET: (request) => explainNow(deps, request, readWithPolicy) },
    "/v1/connect/intentions/plan": { POST: async (request) => (await import("./plan.ts")).plan(deps, request) },
    "/v1/connect/intentions/exact": {
      GET: (request) => reply(request, showIntention(exactRule(deps, request.query))),
      PUT: (request) =>
        write(request, async () => {
          const { source, destination } = exactNames(request.query);
          const given = {
            ...(await body(request)),
            SourceNS: source.namespace,
            SourceName: source.name,
            DestinationNS: destination.namespace,
            DestinationName: destination.name,
          };
          return (await state.store.run(upsertIntention(given, new Date()))).result;
        }),
      DELETE: (request) =>
        write(request, async () => {
          const rule = exactRule(deps, request.query);
          return (await state.store.run(deleteIntention(rule.key))).result;
        }),
    },
    "/v1/connect/intentions/": {
      GET: (request) => {
        const found = state.store.get<IntentionRecord>(INTENTIONS, idOf(request));
        if (!found) throw refusal(404, "Intention not found");
        reply(request, showIntention(found));
      },
      PUT: (request) =>
        write(request, async () => {
          const given = await body(request, (why, cause) => refusal(400, `Bad request: ${why}`, cause));
          return { ID: (await state.store.run(updateIntention(idOf(request), given, new Date()))).result };
        }),
      DELETE: (request) =>
        write(request, async () => {
          if (request.rest.length !== UUID_LENGTH) throw refusal(500, `Intention lookup failed: ${BAD_ID}`);
          return (await state.store.run(deleteIntention(request.rest))).result;
        }),
    },
  };
}

type ReadWithPolicy = (path: string) => ApiHandler;

/** The explanation, and who holds it. What waits for another explanation is woken by rules alone, and told nothing of that. */
function explainNow(deps: CatalogDeps, request: ApiRequest, readWithPolicy: ReadWithPolicy): ReturnType<ApiHandler> {
  const path = "/v1/connect/intentions/explain";
  const { query } = request;
  if (readParams(query).index > 0) return readWithPolicy(path)(request);
  const destination = nameOf(query, "destination");
  const Version = deps.state.topics.index([INTENTIONS]);
  const explanation = (intentionQuestions(deps)[path] as Ask)(request).compute() as Explanation;
  const open = new Map(
    deps.ruleHolders.open(nameOf(query, "source"), destination).map((place) => [keyOf(place), place.Count]),
  );
  const Holders = deps.ruleHolders.list(destination).map((holder) => ({
    ...holder,
    IsCurrent: holder.Version >= Version,
    Open: open.get(keyOf(holder)) ?? 0,
  }));
  const Unreported = unreported(deps, destination);
  const told = new Set(explanation.Trace.map(({ ID }) => ID));
  const all = deps.state.store.list<IntentionRecord>(INTENTIONS).map(showIntention);
  const IdleRules = findIdleRules(all, deps.defaultIntentionPolicy === "allow")
    .filter(({ rule }) => told.has(rule.ID))
    .map(({ rule, because }) => ({ ID: rule.ID, Because: because }));
  reply(request, { ...explanation, Version, Holders, Unreported, IdleRules }, { "X-Consul-Index": Version });
}

/** What the rules say of two names now. */
export function check({ state, defaultIntentionPolicy }: CatalogDeps, source: string, destination: string) {
  const intentions = state.store.list<IntentionRecord>(INTENTIONS).map(showIntention);
  return decide({
    intentions,
    source: splitName(source).name,
    destination: splitName(destination).name,
    defaultAllow: defaultIntentionPolicy === "allow",
  });
}

function exactNames(query: URLSearchParams) {
  return { source: splitName(required(query, "source")), destination: splitName(required(query, "destination")) };
}

function exactRule({ state }: CatalogDeps, query: URLSearchParams): StoredRecord<IntentionRecord> {
  const { source, destination } = exactNames(query);
  const found = state.store
    .list<IntentionRecord>(INTENTIONS)
    .find(
      ({ value }) =>
        value.SourceNS === source.namespace &&
        value.SourceName === source.name &&
        value.DestinationNS === destination.namespace &&
        value.DestinationName === destination.name,
    );
  if (!found) throw refusal(404, "Intention not found");
  return found;
}

const badBody = (why: string, cause: unknown) =>
  refusal(500, `Failed to decode request body: ${why.replace("Request decode failed: ", "")}`, cause);

const BAD_ID = "failed intention lookup: index error: UUID must be 36 characters";
function idOf({ rest }: ApiRequest): string {
  if (rest.length !== UUID_LENGTH) throw refusal(400, `Bad request: ${BAD_ID}`);
  return rest;
}

function required(query: URLSearchParams, name: string): string {
  const value = query.get(name);
  if (!value) throw refusal(500, `required query parameter '${name}' not set`);
  return value;
}

/** A service's name for a path of our own. Throws what is wrong with it (400). */
function nameOf(query: URLSearchParams, key: string): string {
  const value = query.get(key) ?? "";
  if (value === "") throw refusal(400, `required query parameter '${key}' not set`);
  if (value.length > MAX_NAME)
    throw refusal(400, `${key} is ${value.length} characters long, at most ${MAX_NAME} are accepted`);
  const { namespace, name } = splitName(value);
  if (namespace !== "default") throw refusal(400, `${key} is in the namespace '${namespace}', only 'default' is there`);
  return name;
}

function splitName(text: string): { namespace: string; name: string } {
  const [first, ...rest] = text.split("/");
  return rest.length === 0
    ? { namespace: "default", name: first as string }
    : { namespace: first as string, name: rest.join("/") };
}
