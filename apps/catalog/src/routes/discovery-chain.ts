/** /v1/discovery-chain: how a service's traffic is routed, split and resolved, compiled from the config entries. */
import { type ChainOverrideBody, configEntryTopic, decodeChainOverrides } from "@heddle/config-entries";
import {
  type ApiRequest,
  type ApiTable,
  HeddleError,
  parseBody,
  parseDuration,
  readBody,
  refusal,
} from "@heddle/daemon";
import { type ChainEntries, type ChainRequest, compileChain } from "@heddle/discovery-chain";
import type { Question } from "../answers.ts";
import { read, type Ask } from "../blocking.ts";
import { type Entries, entriesOf } from "../config-entries.ts";
import type { CatalogDeps } from "../deps.ts";
import { questionKey } from "./reads.ts";

type ChainDeps = Pick<CatalogDeps, "datacenter" | "state" | "trustDomain">;

const MAX_BODY = 64 * 1024;
const MAX_QUESTIONS = 1_024;
const GATEWAY_MODES = new Set(["", "local", "none", "remote"]);

export function chainQuestions(deps: ChainDeps): Record<string, Ask> {
  // Remembered, so that a chain is not compiled for each request that asks whether it has changed.
  const asked = new Map<string, Question>();
  return {
    "/v1/discovery-chain/": ({ query, rest }) => {
      if (rest === "") throw refusal(400, "Bad request: Missing chain name");
      const key = questionKey(`/v1/discovery-chain/${rest}`, query);
      const known = asked.get(key);
      if (known) return known;
      const question = chainQuestion(deps, key, toRequest(deps, rest, query));
      if (asked.size >= MAX_QUESTIONS) asked.clear();
      asked.set(key, question);
      return question;
    },
  };
}

export function chainTable(deps: ChainDeps): ApiTable {
  const answer = read(deps.state, chainQuestions(deps)["/v1/discovery-chain/"] as Ask);
  return {
    "/v1/discovery-chain/": {
      GET: answer,
      POST: async (request) => {
        if (request.rest === "") throw refusal(400, "Bad request: Missing chain name");
        return answer({ ...request, query: withOverrides(request.query, await readOverrides(request)) });
      },
    },
  };
}

function toRequest({ datacenter, trustDomain }: ChainDeps, service: string, query: URLSearchParams): ChainRequest {
  const domain = trustDomain();
  if (domain === undefined) throw refusal(500, "no cluster ca config setup");
  const meshGatewayMode = query.get("override-mesh-gateway") ?? "";
  if (!GATEWAY_MODES.has(meshGatewayMode)) throw refusal(400, "Invalid OverrideMeshGateway.Mode parameter");
  const timeout = query.get("override-connect-timeout");
  return {
    service,
    datacenter: query.get("compile-dc") || datacenter,
    localDatacenter: datacenter,
    trustDomain: domain,
    overrides: {
      meshGatewayMode,
      protocol: query.get("override-protocol") ?? "",
      connectTimeoutMs: timeout ? parseDuration(timeout) : 0,
    },
  };
}

/** A chain depends on just the entries that it was made from, and which these are changes with them. */
function chainQuestion({ state }: ChainDeps, key: string, request: ChainRequest): Question {
  const stored = entriesOf(state.store);
  let topics: string[] = [];
  let at = 0;
  const compile = () => {
    const met = new Set<string>();
    const result = compileChain(request, noting(stored, met));
    topics = [...met];
    at = state.topics.index(topics);
    return result;
  };
  return {
    key,
    get topics() {
      if (topics.length === 0 || state.topics.index(topics) !== at) compile();
      return topics;
    },
    compute: () => {
      const { chain, error } = compile();
      if (error !== undefined) throw refusal(500, error);
      return { Chain: chain };
    },
  };
}

/** The same entries; the topics of what was looked for are added to `met`. */
function noting(entries: Entries, met: Set<string>): ChainEntries {
  return (kind, name) => {
    met.add(configEntryTopic(kind, name));
    return entries(kind, name);
  };
}

async function readOverrides({ req }: ApiRequest): Promise<ChainOverrideBody> {
  const bytes = await readBody(req, MAX_BODY);
  try {
    return decodeChainOverrides(parseBody(bytes));
  } catch (cause) {
    if (!(cause instanceof HeddleError) || cause.status !== 400) throw cause;
    throw refusal(400, `Bad request: Request decoding failed: ${cause.message.replace("Request decode failed: ", "")}`);
  }
}

/** A body has no place on the stream, nor in a question's key: overrides are parameters from here on. */
function withOverrides(query: URLSearchParams, overrides: ChainOverrideBody): URLSearchParams {
  const out = new URLSearchParams(query);
  const set = (name: string, value: string | undefined) => (value ? out.set(name, value) : out.delete(name));
  set("override-mesh-gateway", overrides.OverrideMeshGateway.Mode);
  set("override-protocol", overrides.OverrideProtocol);
  set("override-connect-timeout", overrides.OverrideConnectTimeout);
  return out;
}
