/** /v1/agent/health: the verdict on this node's services, as a status that load balancers understand. */
import { type ApiRequest, type ApiTable, encodeJson, refusal, sendText } from "@heddle/daemon";
import { toAgentService } from "@heddle/service-definition";
import type { AgentDeps } from "../deps.ts";

type Verdict = "critical" | "maintenance" | "passing" | "warning";

const STATUS: Record<Verdict, number> = { passing: 200, warning: 429, critical: 503, maintenance: 503 };

/** What these answers show of a check's definition, and of nothing else: Consul's client type with nothing set. */
const NO_DEFINITION = {
  Interval: "0s",
  Timeout: "0s",
  DeregisterCriticalServiceAfter: "0s",
  HTTP: "",
  Header: null,
  Method: "",
  Body: "",
  TLSSkipVerify: false,
  TCP: "",
};

export function healthTable(deps: AgentDeps): ApiTable {
  const { state } = deps;
  return {
    "/v1/agent/health/service/id/": {
      GET: (request) => {
        const id = request.rest;
        if (id === "") throw refusal(500, "Bad request: Missing serviceID");
        const isText = wantsText(request);
        if (!state.service(id)) {
          const none = { AggregatedStatus: "critical", Service: null, Checks: null };
          return sendJson(request, 404, isText ? `ServiceId ${id} not found` : none);
        }
        const row = serviceHealth(deps, id);
        const status = STATUS[row.AggregatedStatus];
        if (isText) sendText(request.res, status, row.AggregatedStatus);
        else sendJson(request, status, row);
      },
    },
    "/v1/agent/health/service/name/": {
      GET: (request) => {
        const name = request.rest;
        if (name === "") throw refusal(500, "Bad request: Missing service Name");
        const rows = state
          .services()
          .filter((s) => s.definition.Name === name)
          .map((s) => serviceHealth(deps, s.definition.ID));
        const isText = wantsText(request);
        const worst = rows.map((r) => r.AggregatedStatus).sort((a, b) => STATUS[b] - STATUS[a])[0];
        if (worst === undefined) {
          return isText ? sendText(request.res, 404, `ServiceName ${name} Not Found`) : sendJson(request, 404, rows);
        }
        if (isText) sendText(request.res, STATUS[worst], worst);
        else sendJson(request, STATUS[worst], rows);
      },
    },
  };
}

function serviceHealth({ state }: AgentDeps, id: string) {
  const service = state.service(id);
  const checks = state.checks().filter(({ definition: d }) => d.ServiceID === "" || d.ServiceID === id);
  const isInMaintenance = checks.some(
    ({ definition: { CheckID } }) => CheckID === "_node_maintenance" || CheckID === `_service_maintenance:${id}`,
  );
  const verdict: Verdict = isInMaintenance ? "maintenance" : state.aggregate(id);
  return {
    AggregatedStatus: verdict,
    Service: service && toAgentService(state.shown(id) ?? service.definition),
    Checks: checks.map(({ definition }) => ({
      ...state.healthCheck(definition.CheckID),
      ServiceTags: tagsOf(state.healthCheck(definition.CheckID)),
      Type: "",
      Definition: NO_DEFINITION,
      CreateIndex: 0,
      ModifyIndex: 0,
    })),
  };
}

const tagsOf = (check: { ServiceTags: string[] | null } | undefined): string[] | null =>
  check?.ServiceTags?.length ? check.ServiceTags : null;

/** `?format=text`, or a caller that accepts nothing but text. */
function wantsText({ query, req }: ApiRequest): boolean {
  return query.get("format") === "text" || (!query.has("format") && req.headers.accept === "text/plain");
}

function sendJson({ res, query }: ApiRequest, status: number, value: unknown): void {
  const bytes = encodeJson(value, query.has("pretty"));
  res.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": bytes.length,
    Vary: "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
  });
  res.end(bytes);
}
