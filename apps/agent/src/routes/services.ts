/** /v1/agent/services and /v1/agent/service: what runs on this node. */
import {
  type ApiRequest,
  type ApiTable,
  parseBody,
  parseDuration,
  readBody,
  refusal,
  reply,
  replyEmpty,
  whenDraining,
} from "@heddle/daemon";
import { compileFilter, loadRegexps, needsRegexps, serviceFields } from "@heddle/filter";
import { contentHash, parseServiceDefinition, toAgentService } from "@heddle/service-definition";
import type { AgentDeps } from "../deps.ts";

const MAX_BODY = 512 * 1024;
const DEFAULT_WAIT_MS = 5 * 60_000;
const MAX_WAIT_MS = 10 * 60_000;
const DEFAULT_DRAIN_MS = 30_000;
const MAX_DRAIN_MS = 24 * 3_600_000;

export function serviceTable(deps: AgentDeps): ApiTable {
  const { state, registrar, sync, central } = deps;
  return {
    "/v1/agent/services": {
      GET: async (request) => {
        const expression = request.query.get("filter") ?? "";
        if (needsRegexps(expression)) await loadRegexps();
        const isKept = compileFilter(expression, serviceFields);
        const rows = state.services().map(({ definition }) => toAgentService(state.shown(definition.ID) ?? definition));
        reply(request, Object.fromEntries(rows.filter(isKept).map((service) => [service.ID, service])));
      },
    },
    "/v1/agent/service/": { GET: (request) => showService(deps, request) },
    "/v1/agent/service/register": {
      PUT: async (request) => {
        const definition = parseServiceDefinition(parseBody(await readBody(request.req, MAX_BODY)));
        const replaceChecks =
          request.query.has("replace-existing-checks") && request.query.get("replace-existing-checks") !== "false";
        await central.ready();
        await registrar.service(definition, "api", { replaceChecks });
        await sync.flush();
        replyEmpty(request);
      },
    },
    "/v1/agent/service/deregister/": {
      PUT: async (request) => {
        if (request.rest === "") throw refusal(400, "Missing service ID");
        await state.removeService(request.rest);
        await sync.flush();
        replyEmpty(request);
      },
    },
    "/v1/agent/service/maintenance/": {
      PUT: async (request) => {
        if (request.rest === "") throw refusal(400, "Missing service ID");
        const { enable, reason } = maintenanceParams(request);
        const service = state.service(request.rest);
        if (!service) throw refusal(404, `No service registered with ID ${JSON.stringify(request.rest)}`);
        await setMaintenance(deps, enable, {
          id: `_service_maintenance:${request.rest}`,
          name: "Service Maintenance Mode",
          serviceId: request.rest,
          reason:
            reason ||
            "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.",
        });
        replyEmpty(request);
      },
    },
    // Not Consul's: out of service without cutting anybody off.
    "/v1/agent/service/drain/": { PUT: (request) => drain(deps, request) },
    "/v1/agent/maintenance": {
      PUT: async (request) => {
        const { enable, reason } = maintenanceParams(request);
        await setMaintenance(deps, enable, {
          id: "_node_maintenance",
          name: "Node Maintenance Mode",
          serviceId: "",
          reason:
            reason ||
            "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.",
        });
        replyEmpty(request);
      },
    },
  };
}

/** One service, or its next version: `?hash=` waits until the service is no longer what that hash stood for. */
async function showService({ state, central }: AgentDeps, request: ApiRequest): Promise<void> {
  const { rest: id, query, res } = request;
  // A proxy that waits while its agent is started anew would lose the central defaults for a moment.
  if (state.service(id)?.definition.Kind) await central.ready();
  const asked = query.get("hash") ?? "";
  let end = performance.now() + (asked === "" ? 0 : waitMs(query));
  const hashNow = () => {
    const found = state.shown(id);
    return found && contentHash(found);
  };
  while (asked !== "" && hashNow() === asked && performance.now() < end && !res.destroyed) {
    await new Promise<void>((resolve) => {
      const done = () => {
        off();
        clearTimeout(timer);
        res.off("close", done);
        resolve();
      };
      const off = state.onChange((changes) => {
        if (changes.some((c) => c.kind === "service" && c.id === id)) done();
      });
      const timer = setTimeout(done, end - performance.now());
      res.once("close", done);
      whenDraining(res, () => {
        end = 0;
        done();
      });
    });
  }
  const hash = hashNow();
  const found = state.shown(id);
  if (!found || hash === undefined) throw refusal(404, `unknown service ID: ${id}`);
  const shown = toAgentService(found);
  reply(request, { ...shown, ContentHash: hash }, { "X-Consul-ContentHash": hash });
}

function waitMs(query: URLSearchParams): number {
  const text = query.get("wait");
  if (text === null || text === "") return DEFAULT_WAIT_MS;
  try {
    const ms = parseDuration(text);
    const capped = ms <= 0 ? DEFAULT_WAIT_MS : Math.min(ms, MAX_WAIT_MS);
    return capped + (Math.random() * capped) / 16;
  } catch (cause) {
    throw refusal(400, "Invalid wait time", cause);
  }
}

async function drain({ drains, state, sync }: AgentDeps, request: ApiRequest): Promise<void> {
  const { rest: id, query } = request;
  if (id === "") throw refusal(400, "Missing service ID");
  if (!state.service(id)) throw refusal(404, `No service registered with ID ${JSON.stringify(id)}`);
  if (!query.has("cancel")) await drains.start(id, drainTimeoutMs(query.get("timeout") ?? ""));
  else if (!(await drains.cancel(id))) throw refusal(404, `Service ${JSON.stringify(id)} does not drain`);
  await sync.flush();
  replyEmpty(request);
}

function drainTimeoutMs(text: string): number {
  if (text === "") return DEFAULT_DRAIN_MS;
  const ms = (() => {
    try {
      return parseDuration(text);
    } catch {
      return -1;
    }
  })();
  if (ms < 0 || ms > MAX_DRAIN_MS)
    throw refusal(400, `Invalid timeout ${JSON.stringify(text)}: want a duration from 0s to 24h, such as 30s`);
  return ms;
}

function maintenanceParams({ query }: ApiRequest): { enable: boolean; reason: string } {
  const enable = query.get("enable");
  if (enable === null) throw refusal(400, "Missing value for enable");
  if (!/^(?:1|t|true|0|f|false)$/i.test(enable))
    throw refusal(400, `Invalid value for enable: ${JSON.stringify(enable)}`);
  return { enable: /^(?:1|t|true)$/i.test(enable), reason: query.get("reason") ?? "" };
}

async function setMaintenance(
  { state, sync }: AgentDeps,
  enable: boolean,
  { id, name, serviceId, reason }: { id: string; name: string; serviceId: string; reason: string },
): Promise<void> {
  if (!enable) await state.removeCheck(id);
  else if (!state.check(id)) {
    await state.addCheck({
      definition: {
        CheckID: id,
        Name: name,
        Notes: reason,
        ServiceID: serviceId,
        Type: "maintenance",
        Status: "critical",
      },
      source: "api",
    });
  }
  await sync.flush();
}
