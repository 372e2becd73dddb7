/** What the agent's rows mean, for the OpenAPI document. */
import type { Operation, Operations } from "@heddle/daemon";
import { RULE_REPORT_FIELDS } from "@heddle/intentions";
import { aclTable } from "./routes/acl.ts";
import { UPDATE_FIELDS } from "./routes/checks.ts";
import { AUTHORIZE_FIELDS } from "./routes/connect.ts";
import { REPORT_FIELDS } from "./routes/decisions.ts";

/** Where the document keeps the schemas that others refer to. */
export const SCHEMAS = "#/components/schemas";

const put = (summary: string, query: string[] = [], argument?: string): Operation => ({
  summary,
  query,
  answer: "empty",
  ...(argument !== undefined && { argument }),
});

/** The bodies of registrations are read by the tables that files are read by: their schemas are made from these. */
export const AGENT_OPERATIONS: Operations = {
  ...refusals(),
  "PUT /v1/agent/check/deregister/": put("Takes a check away", [], "check"),
  "PUT /v1/agent/check/fail/": put("Says that a TTL check fails", ["note"], "check"),
  "PUT /v1/agent/check/pass/": put("Says that a TTL check passes", ["note"], "check"),
  "PUT /v1/agent/check/register": { ...put("Registers a check"), body: { schema: { $ref: `${SCHEMAS}/Check` } } },
  "PUT /v1/agent/check/update/": { ...put("Says how a TTL check is", [], "check"), body: { object: UPDATE_FIELDS } },
  "PUT /v1/agent/check/warn/": put("Says that a TTL check warns", ["note"], "check"),
  "GET /v1/agent/checks": { summary: "Checks of this node", query: ["filter"] },
  "POST /v1/agent/connect/authorize": {
    summary: "Whether a caller may connect to a service of this node",
    body: { object: AUTHORIZE_FIELDS },
  },
  "GET /v1/agent/connect/ca/leaf/": { summary: "Certificate and key of a service", isRead: true, argument: "service" },
  "GET /v1/agent/connect/ca/revocations": { summary: "Certificates and services that are revoked", isRead: true },
  "GET /v1/agent/connect/ca/roots": { summary: "Roots that are trusted", isRead: true },
  "GET /v1/agent/connect/decisions": { summary: "Decisions of this node, as they are made", answer: "text" },
  "POST /v1/agent/connect/decisions": { summary: "Decisions of a proxy, reported", body: { object: REPORT_FIELDS } },
  "GET /v1/agent/connect/proxies": { summary: "Which rules the proxies of this node hold" },
  "POST /v1/agent/connect/proxies": {
    summary: "Rules that a proxy holds, reported",
    body: { object: RULE_REPORT_FIELDS },
  },
  "GET /v1/agent/debug/heap": { summary: "A profile of the heap", answer: "bytes" },
  "GET /v1/agent/debug/profile": { summary: "A profile of the processor", query: ["seconds"], answer: "bytes" },
  "GET /v1/agent/debug/runtime": { summary: "Figures of the runtime" },
  "PUT /v1/agent/force-leave/": put("Makes the cluster forget a node that is gone", ["prune"], "node"),
  "GET /v1/agent/health/service/id/": { summary: "Health of one instance here", query: ["format"], argument: "id" },
  "GET /v1/agent/health/service/name/": { summary: "Health of a service here", query: ["format"], argument: "name" },
  "GET /v1/agent/host": { summary: "The machine of this node" },
  "PUT /v1/agent/join/": put("Joins a cluster", ["wan"], "address"),
  "PUT /v1/agent/leave": put("Leaves the cluster and ends"),
  "PUT /v1/agent/maintenance": put("Begins or ends maintenance of this node", ["enable", "reason"]),
  "GET /v1/agent/members": { summary: "Nodes of the cluster", query: ["wan", "segment"] },
  "GET /v1/agent/metrics": { summary: "Figures of the agent", query: ["format"] },
  "GET /v1/agent/monitor": { summary: "The log, as it is written", query: ["loglevel", "logjson"], answer: "text" },
  "PUT /v1/agent/reload": put("Reads the configuration again"),
  "GET /v1/agent/self": { summary: "This agent and its configuration" },
  "PUT /v1/agent/service/deregister/": put("Takes a service away", [], "id"),
  "PUT /v1/agent/service/drain/": put(
    "Takes no new callers for a service, and deregisters it when its connections have ended",
    ["timeout", "cancel"],
    "id",
  ),
  "GET /v1/agent/service/": {
    summary: "A service of this node; waits by hash",
    query: ["hash", "wait"],
    argument: "id",
  },
  "PUT /v1/agent/service/maintenance/": put("Begins or ends maintenance of a service", ["enable", "reason"], "id"),
  "PUT /v1/agent/service/register": {
    ...put("Registers a service with its checks", ["replace-existing-checks"]),
    body: { schema: { $ref: `${SCHEMAS}/Service` } },
  },
  "GET /v1/agent/services": { summary: "Services of this node", query: ["filter"] },
  "PUT /v1/agent/token/": put("ACLs are off: refused", [], "kind"),
  "GET /v1/agent/version": { summary: "Version of the agent" },
  "PUT /v1/event/fire/": {
    summary: "Fires a user event",
    query: ["node", "service", "tag"],
    body: "bytes",
    argument: "name",
  },
  "GET /v1/event/list": { summary: "Events of late", isRead: true, query: ["name", "node", "service", "tag"] },
  "GET /v1/openapi.json": { summary: "This document" },
};

// What every row of /v1/acl answers while there are no ACLs.
function refusals(): Operations {
  return Object.fromEntries(
    Object.entries(aclTable()).flatMap(([path, row]) =>
      Object.keys(row).map((method) => [`${method} ${path}`, { summary: "ACLs are off: refused", argument: "id" }]),
    ),
  );
}
