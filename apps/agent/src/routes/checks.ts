/** /v1/agent/checks, /v1/agent/check and /v1/agent/health: the checks of this node, and the verdict on its services. */
import {
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
import { checkFields, compileFilter, type Filter, FilterError, loadRegexps, needsRegexps } from "@heddle/filter";
import { type CheckStatus, type HealthCheck, parseCheckDefinition, toAgentService } from "@heddle/service-definition";
import type { AgentDeps } from "../deps.ts";

const MAX_BODY = 512 * 1024;
const MAX_OUTPUT_BYTES = 4096; // Consul's check_output_max_size
const HEALTH_STATUS: Record<CheckStatus, number> = { passing: 200, warning: 429, critical: 503 };

export function checkTable(deps: AgentDeps): ApiTable {
  const { state, registrar, sync } = deps;
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
        await registrar.check(parseCheckDefinition(parseBody(await readBody(request.req, MAX_BODY))), "api");
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
        const body = decodeObject(parseBody(await readBody(request.req, MAX_BODY)), {
          Status: "string",
          Output: "string",
        });
        const status = (body["Status"] as string | undefined) ?? "";
        if (status !== "passing" && status !== "warning" && status !== "critical")
          throw refusal(400, `Invalid check status: '${status}'`);
        await heartbeat(deps, request, status, (body["Output"] as string | undefined) ?? "");
      },
    },
    "/v1/agent/health/service/id/": {
      GET: (request) => {
        if (request.rest === "") throw refusal(400, "Missing serviceID");
        const service = state.service(request.rest);
        if (!service) return sendHealth(request, undefined, `ServiceId ${request.rest} not found`);
        sendHealth(request, serviceHealth(deps, request.rest));
      },
    },
    "/v1/agent/health/service/name/": {
      GET: (request) => {
        if (request.rest === "") throw refusal(400, "Missing service Name");
        const found = state.services().filter((s) => s.definition.Name === request.rest);
        if (found.length === 0) return sendHealth(request, undefined, `ServiceName ${request.rest} Not Found`, []);
        const rows = found.map((s) => serviceHealth(deps, s.definition.ID));
        const worst = rows
          .map((r) => r.AggregatedStatus)
          .sort((a, b) => HEALTH_STATUS[b] - HEALTH_STATUS[a])[0] as CheckStatus;
        if (request.query.get("format") === "text") return sendText(request.res, HEALTH_STATUS[worst], worst);
        sendJsonStatus(request, HEALTH_STATUS[worst], rows);
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

function serviceHealth({ state }: AgentDeps, id: string) {
  const service = state.service(id);
  const checks = state.checks().filter((c) => c.definition.ServiceID === "" || c.definition.ServiceID === id);
  return {
    AggregatedStatus: state.aggregate(id),
    Service: service && toAgentService(service.definition),
    Checks: checks.map((c) => ({
      ...state.healthCheck(c.definition.CheckID),
      Definition: {},
      CreateIndex: 0,
      ModifyIndex: 0,
    })),
  };
}

function sendHealth(
  request: ApiRequest,
  row: ReturnType<typeof serviceHealth> | undefined,
  missing = "",
  none?: unknown,
): void {
  const status = row ? HEALTH_STATUS[row.AggregatedStatus] : 404;
  if (request.query.get("format") === "text")
    return sendText(request.res, status, row ? row.AggregatedStatus : missing);
  if (!row) return none === undefined ? sendText(request.res, 404, missing) : sendJsonStatus(request, 404, none);
  sendJsonStatus(request, status, row);
}

function sendJsonStatus({ res }: ApiRequest, status: number, value: unknown): void {
  const bytes = Buffer.from(JSON.stringify(value));
  res.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": bytes.length,
    Vary: "Accept-Encoding",
  });
  res.end(bytes);
}
