/** /v1/agent/checks and /v1/agent/check: the checks of this node. */
import {
  type ApiRequest,
  type ApiTable,
  decodeObject,
  parseBody,
  readBody,
  refusal,
  reply,
  replyEmpty,
  type Spec,
} from "@heddle/daemon";
import { checkFields, compileFilter, type Filter, FilterError, loadRegexps, needsRegexps } from "@heddle/filter";
import { type CheckStatus, type HealthCheck, parseCheckDefinition } from "@heddle/service-definition";
import type { AgentDeps } from "../deps.ts";

const MAX_BODY = 512 * 1024;
export const UPDATE_FIELDS: Record<string, Spec> = { Status: "string", Output: "string" };
const MAX_OUTPUT_BYTES = 4096; // Consul's check_output_max_size

export function checkTable(deps: AgentDeps): ApiTable {
  const { log, state, registrar, sync } = deps;
  const show = (id: string) => ({
    ...(state.healthCheck(id) as HealthCheck),
    Definition: {},
    CreateIndex: 0,
    ModifyIndex: 0,
  });
  return {
    "/v1/agent/checks": {
      GET: async (request) => {
        const isKept = await checkFilter(request.query);
        const rows = state.checks().map(({ definition }) => show(definition.CheckID));
        reply(request, Object.fromEntries(rows.filter(isKept).map((check) => [check.CheckID, check])));
      },
    },
    "/v1/agent/check/register": {
      PUT: async (request) => {
        const definition = parseCheckDefinition(parseBody(await readBody(request.req, MAX_BODY)));
        await registrar.check(definition, "api");
        if (definition.ServiceID === "" && definition.DeregisterCriticalServiceAfterMs)
          log.warn("deregister_critical_service_after never runs: the check is of the node, not of a service", {
            check: definition.CheckID,
          });
        await sync.flush();
        replyEmpty(request);
      },
    },
    "/v1/agent/check/deregister/": {
      PUT: async (request) => {
        if (request.rest === "") throw refusal(500, "CheckID missing");
        await state.removeCheck(request.rest);
        await sync.flush();
        replyEmpty(request);
      },
    },
    "/v1/agent/check/pass/": { PUT: (request) => heartbeat(deps, request, "passing", request.query.get("note") ?? "") },
    "/v1/agent/check/warn/": { PUT: (request) => heartbeat(deps, request, "warning", request.query.get("note") ?? "") },
    "/v1/agent/check/fail/": {
      PUT: (request) => heartbeat(deps, request, "critical", request.query.get("note") ?? ""),
    },
    "/v1/agent/check/update/": {
      PUT: async (request) => {
        const body = decodeObject(parseBody(await readBody(request.req, MAX_BODY)), UPDATE_FIELDS);
        const status = (body["Status"] as string | undefined) ?? "";
        if (status !== "passing" && status !== "warning" && status !== "critical")
          throw refusal(400, `Invalid check status: '${status}'`);
        await heartbeat(deps, request, status, (body["Output"] as string | undefined) ?? "");
      },
    },
  };
}

// Consul looks at the fields only once it has checks to look at, and says so without its usual first words.
async function checkFilter(query: URLSearchParams): Promise<Filter> {
  const expression = query.get("filter") ?? "";
  if (needsRegexps(expression)) await loadRegexps();
  try {
    return compileFilter(expression, checkFields);
  } catch (error) {
    if (!(error instanceof FilterError && error.isAboutFields)) throw error;
    throw refusal(500, (error.cause as Error).message);
  }
}

async function heartbeat(
  { ttl, sync }: AgentDeps,
  request: ApiRequest,
  status: CheckStatus,
  output: string,
): Promise<void> {
  const id = request.rest;
  const note = Buffer.byteLength(output) > MAX_OUTPUT_BYTES ? truncate(output) : output;
  if (!(await ttl.heartbeat(id, status, note)))
    throw refusal(500, `CheckID ${JSON.stringify(id)} does not have associated TTL`);
  await sync.flush();
  replyEmpty(request);
}

function truncate(output: string): string {
  const bytes = Buffer.from(output);
  return `${bytes.subarray(0, MAX_OUTPUT_BYTES).toString("utf8")} ... (captured ${MAX_OUTPUT_BYTES} of ${bytes.length} bytes)`;
}
