/** /v1/config: config entries, the central configuration of services, proxies and gateways. */
import {
  CONFIG_TOPIC,
  configEntryTopic,
  type ConfigEntry,
  configKindTopic,
  decodeConfigEntry,
  toConfigKind,
} from "@heddle/config-entries";
import { type ApiRequest, type ApiTable, HeddleError, parseBody, readBody, refusal } from "@heddle/daemon";
import type { Encoded } from "../answers.ts";
import { read, type Ask } from "../blocking.ts";
import { deleteConfigEntry, setConfigEntry } from "../commands/config-entries.ts";
import { findEntry, listAllEntries, listEntries, showEntry } from "../config-entries.ts";
import type { CatalogDeps } from "../deps.ts";
import { questionKey } from "./reads.ts";
import { replyToWrite, waitOf } from "./rule-holders.ts";

const MAX_BODY = 1024 * 1024; // Consul sets no bound of its own; its Raft takes about this much
const MAX_UINT64 = 2n ** 64n - 1n;

export function configQuestions({ state }: Pick<CatalogDeps, "state">): Record<string, Ask> {
  return {
    "/v1/config/": ({ query, rest }) => {
      const slash = rest.indexOf("/");
      if (rest === "")
        return {
          key: questionKey("/v1/config/", query),
          topics: [CONFIG_TOPIC],
          compute: () => listAllEntries(state.store).map(showEntry),
        };
      const kind = toConfigKind(slash < 0 ? rest : rest.slice(0, slash), 500);
      if (slash < 0)
        return {
          key: questionKey(`/v1/config/${kind}`, query),
          topics: [configKindTopic(kind)],
          compute: () => listEntries(state.store, kind).map((record) => showEntry(record)),
        };
      const name = rest.slice(slash + 1);
      return {
        key: questionKey(`/v1/config/${kind}/${name}`, query),
        topics: [configEntryTopic(kind, name)],
        compute: () => findEntry(state.store, kind, name),
        encode: (found) =>
          found
            ? { status: 200, body: Buffer.from(JSON.stringify(showEntry(found as never))) }
            : notFound(`Config entry not found for ${JSON.stringify(kind)} / ${JSON.stringify(name)}`),
      };
    },
  };
}

function notFound(text: string): Encoded {
  return { status: 404, body: Buffer.from(text), headers: { "Content-Type": "text/plain; charset=utf-8" } };
}

export function configTable(deps: CatalogDeps): ApiTable {
  const { state, datacenter } = deps;
  const questions = configQuestions(deps);
  return {
    "/v1/config": {
      PUT: async (request) => {
        const entry = await readEntry(request);
        const options = { cas: casOf(request), datacenter, now: new Date() };
        waitOf(request);
        const { result } = await state.store.run(setConfigEntry(entry, options));
        await replyToWrite(request, deps, result);
      },
    },
    "/v1/config/": {
      GET: read(state, questions["/v1/config/"] as Ask, { consistency: false }),
      DELETE: async (request) => {
        const { rest } = request;
        const slash = rest.indexOf("/");
        if (slash < 0) throw refusal(404, "Must provide both a kind and name to delete");
        const kind = toConfigKind(rest.slice(0, slash), 400);
        const cas = casOf(request);
        waitOf(request);
        const command = deleteConfigEntry(kind, rest.slice(slash + 1), { cas, datacenter });
        const { result } = await state.store.run(command);
        // Versions with a compare-and-set say whether it held; without one the answer is Consul's empty object.
        await replyToWrite(request, deps, cas === undefined ? {} : result);
      },
    },
  };
}

async function readEntry(request: ApiRequest): Promise<ConfigEntry> {
  const bytes = await readBody(request.req, MAX_BODY);
  try {
    return decodeConfigEntry(parseBody(bytes));
  } catch (cause) {
    if (!(cause instanceof HeddleError) || cause.status !== 400) throw cause;
    throw refusal(400, `Bad request: Request decoding failed: ${cause.message.replace("Request decode failed: ", "")}`);
  }
}

function casOf({ query }: ApiRequest): number | undefined {
  const text = query.get("cas");
  if (text === null || text === "") return undefined;
  const why = !/^\d+$/.test(text) ? "invalid syntax" : BigInt(text) > MAX_UINT64 ? "value out of range" : undefined;
  if (why) throw refusal(500, `strconv.ParseUint: parsing ${JSON.stringify(text.slice(0, 64))}: ${why}`);
  return Number(text);
}
