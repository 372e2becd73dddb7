/** What the catalog's rows mean, for the OpenAPI document. */
import type { Operation, Operations } from "@heddle/daemon";
import { SYNC_FIELDS } from "./commands/agent-sync.ts";
import { DEREGISTER_FIELDS } from "./commands/deregister.ts";
import { INTENTION_FIELDS } from "./commands/intentions.ts";
import { CHECK_FIELDS, REGISTER_FIELDS, SERVICE } from "./commands/registration-fields.ts";
import { SESSION_FIELDS } from "./commands/sessions.ts";
import { QUERY_FIELDS } from "./queries/definition.ts";
import { UPDATE_FIELDS } from "./routes/coordinate.ts";
import { EVENT_FIELDS } from "./routes/event.ts";
import { AUTOPILOT_FIELDS } from "./routes/operator.ts";
import { PLAN_FIELDS } from "./routes/plan.ts";
import { HOLDER_FIELDS } from "./routes/rule-holders.ts";
import { TXN_FIELDS } from "./routes/txn.ts";

/** How instances and checks are shown: as they are registered. */
export const SHOWN_SERVICE = SERVICE.object;
export const SHOWN_PROXY = SERVICE.object.Proxy;
export const SHOWN_CHECK = CHECK_FIELDS;
export { AUTOPILOT_FIELDS, QUERY_FIELDS };

const read = (summary: string, query: string[] = [], argument?: string): Operation => ({
  summary,
  isRead: true,
  query,
  ...(argument !== undefined && { argument }),
});
const entry = { schema: { $ref: "#/components/schemas/ConfigEntry" } };

export const CATALOG_OPERATIONS: Operations = {
  "GET /v1/internal/runs-on/": {
    summary: "Whether a service, or a proxy of it, is registered on a node",
    query: ["service"],
    argument: "node",
  },
  "GET /v1/catalog/connect/": read(
    "Instances to dial for a service over Connect",
    ["filter", "near", "node-meta", "tag", "explain"],
    "service",
  ),
  "GET /v1/catalog/datacenters": { summary: "Names of the datacenters" },
  "GET /v1/catalog/gateway-services/": read("Services that a gateway serves", [], "gateway"),
  "GET /v1/catalog/node-services/": read("A node and the list of its services", ["filter"], "node"),
  "GET /v1/catalog/node/": read("A node and its services by their ids", ["filter"], "node"),
  "GET /v1/catalog/nodes": read("All nodes", ["filter", "near", "node-meta"]),
  "GET /v1/catalog/service/": read(
    "Instances of a service, whatever their health",
    ["filter", "near", "node-meta", "tag", "explain"],
    "service",
  ),
  "GET /v1/catalog/services": read("Names of services with their tags", ["node-meta"]),
  "PUT /v1/catalog/deregister": {
    summary: "Takes a node, a service or a check away",
    body: { object: DEREGISTER_FIELDS },
  },
  "PUT /v1/catalog/register": {
    summary: "Registers a node, a service on it and checks",
    body: { object: REGISTER_FIELDS },
  },
  "PUT /v1/config": { summary: "Writes a config entry", query: ["cas", "wait-cut"], body: entry },
  "GET /v1/config/": read("All config entries of a kind", [], "kind"),
  "GET /v1/config/{kind}/{name}": read("A config entry"),
  "DELETE /v1/config/": "below",
  "DELETE /v1/config/{kind}/{name}": { summary: "Deletes a config entry", query: ["cas", "wait-cut"] },
  "GET /v1/connect/intentions": read("All intentions", ["filter"]),
  "POST /v1/connect/intentions": {
    summary: "Creates an intention",
    query: ["wait-cut"],
    body: { object: INTENTION_FIELDS },
  },
  "GET /v1/connect/intentions/": read("An intention", [], "id"),
  "PUT /v1/connect/intentions/": {
    summary: "Changes an intention",
    query: ["wait-cut"],
    body: { object: INTENTION_FIELDS },
    argument: "id",
  },
  "DELETE /v1/connect/intentions/": { summary: "Deletes an intention", query: ["wait-cut"], argument: "id" },
  "GET /v1/connect/intentions/check": read("Whether one service may connect to another", ["source", "destination"]),
  "GET /v1/connect/intentions/exact": read("The intention between two names", ["source", "destination"]),
  "PUT /v1/connect/intentions/exact": {
    summary: "Writes the intention between two names",
    query: ["source", "destination", "wait-cut"],
    body: { object: INTENTION_FIELDS },
  },
  "DELETE /v1/connect/intentions/exact": {
    summary: "Deletes the intention between two names",
    query: ["source", "destination", "wait-cut"],
  },
  "GET /v1/connect/intentions/explain": read("What is decided between two services, by which rule and why", [
    "source",
    "destination",
  ]),
  "GET /v1/connect/intentions/match": read("Intentions of a service, first match first", ["by", "name"]),
  "POST /v1/connect/intentions/plan": {
    summary: "What a change of the rules would cut or let through",
    body: { object: PLAN_FIELDS },
  },
  "GET /v1/coordinate/datacenters": { summary: "Coordinates of the servers by datacenter" },
  "GET /v1/coordinate/node/": read("Coordinates of a node", ["segment"], "node"),
  "GET /v1/coordinate/nodes": read("Coordinates of all nodes", ["segment"]),
  "PUT /v1/coordinate/update": {
    summary: "Tells a node's coordinate",
    body: { object: UPDATE_FIELDS },
    answer: "empty",
  },
  "GET /v1/discovery-chain/": read("How requests for a service find their instances", ["compile-dc"], "service"),
  "POST /v1/discovery-chain/": {
    ...read("The same, with overrides in the body", ["compile-dc"], "service"),
    body: { schema: { type: "object" } },
  },
  "GET /v1/health/checks/": read("Checks of a service", ["effective", "filter", "near", "node-meta"], "service"),
  "GET /v1/health/connect/": read(
    "Instances to dial over Connect, with their checks",
    ["effective", "filter", "near", "node-meta", "passing", "tag", "explain"],
    "service",
  ),
  "GET /v1/health/ingress/": read(
    "Ingress gateways of a service, with their checks",
    ["effective", "filter", "near", "node-meta", "passing", "explain"],
    "service",
  ),
  "GET /v1/health/node/": read("Checks of a node", ["effective", "filter"], "node"),
  "GET /v1/health/service/": read(
    "Instances of a service, with their checks",
    ["connect-info", "effective", "filter", "near", "node-meta", "passing", "tag", "explain"],
    "service",
  ),
  "GET /v1/health/state/": read("Checks in a state", ["effective", "filter", "near", "node-meta"], "state"),
  "GET /v1/internal/deregistrations": {
    summary: "Services that go unless their critical checks recover, and when",
  },
  "GET /v1/internal/event": read("Events of late, for agents"),
  "PUT /v1/internal/event": { summary: "Fires an event, for agents", body: { object: EVENT_FIELDS } },
  "PUT /v1/internal/force-leave": { summary: "Forgets a node, for agents" },
  "PUT /v1/internal/leave": { summary: "Takes a node out, for agents" },
  "GET /v1/internal/federation-states": read("What the datacenters tell of their gateways; there is one"),
  "GET /v1/internal/federation-states/mesh-gateways": read("Mesh gateways by datacenter"),
  "GET /v1/internal/federation-state/": read("What a datacenter tells of its gateways", [], "datacenter"),
  "GET /v1/internal/members": read("Nodes and whether they are alive, for agents"),
  "GET /v1/internal/node/": { summary: "What there is of a node and whose it is, for agents", argument: "node" },
  "GET /v1/internal/query/": read("What a query finds, for followers", [], "name"),
  "GET /v1/internal/restored": read("When a snapshot was restored last, for agents"),
  "PUT /v1/internal/rule-holders": {
    summary: "Which rules the proxies of a node hold, for agents",
    body: { object: HOLDER_FIELDS },
  },
  "GET /v1/internal/service-address/": { summary: "Instances at an address, for reverse lookups", argument: "address" },
  "PUT /v1/internal/registrations": {
    summary: "Several registrations in one step, for agents",
    body: { list: { object: SYNC_FIELDS } },
  },
  "GET /v1/internal/ui/gateway-services-nodes/": read(
    "A gateway's services with their nodes, for pages",
    [],
    "gateway",
  ),
  "GET /v1/internal/ui/node/": read("A node with services and checks, for pages", [], "node"),
  "GET /v1/internal/ui/nodes": read("Nodes with services and checks, for pages", ["filter"]),
  "GET /v1/internal/ui/services": read("Services with counts of their checks, for pages", ["filter"]),
  "GET /v1/kv/": read("A value, a tree or names of keys", ["raw", "recurse", "keys", "separator"], "key"),
  "PUT /v1/kv/": {
    summary: "Writes a value",
    query: ["flags", "cas", "acquire", "release"],
    body: "bytes",
    argument: "key",
  },
  "DELETE /v1/kv/": { summary: "Deletes a key or a tree", query: ["cas", "recurse"], argument: "key" },
  "GET /v1/operator/autopilot/configuration": { summary: "How the servers look after themselves", query: ["stale"] },
  "PUT /v1/operator/autopilot/configuration": {
    summary: "Changes that",
    query: ["cas"],
    body: { object: AUTOPILOT_FIELDS },
  },
  "GET /v1/operator/autopilot/health": { summary: "Health of the servers" },
  "GET /v1/operator/keyring": { summary: "Keys of the gossip, which there is none of" },
  "POST /v1/operator/keyring": { summary: "There is no gossip: refused" },
  "PUT /v1/operator/keyring": { summary: "There is no gossip: refused" },
  "DELETE /v1/operator/keyring": { summary: "There is no gossip: refused" },
  "GET /v1/operator/raft/configuration": { summary: "The servers that hold the state", query: ["stale"] },
  "DELETE /v1/operator/raft/peer": { summary: "Removes a server", query: ["id", "address"] },
  "GET /v1/query": read("All prepared queries"),
  "POST /v1/query": { summary: "Creates a prepared query", body: { object: QUERY_FIELDS } },
  "GET /v1/query/": read("A prepared query", [], "id"),
  "PUT /v1/query/": {
    summary: "Replaces a prepared query",
    body: { object: QUERY_FIELDS },
    argument: "id",
    answer: "empty",
  },
  "DELETE /v1/query/": { summary: "Deletes a prepared query", argument: "id", answer: "empty" },
  "GET /v1/query/{id}/execute": read("What a query finds, by its id or name", ["near", "limit", "connect", "explain"]),
  "GET /v1/query/{id}/explain": read("What a template makes of a name"),
  "PUT /v1/session/create": { summary: "Creates a session", query: ["node"], body: { object: SESSION_FIELDS } },
  "PUT /v1/session/destroy/": { summary: "Ends a session", argument: "session" },
  "GET /v1/session/info/": read("A session", [], "session"),
  "GET /v1/session/list": read("All sessions"),
  "GET /v1/session/node/": read("Sessions of a node", [], "node"),
  "PUT /v1/session/renew/": { summary: "Starts a session's TTL again", argument: "session" },
  "GET /v1/snapshot": { summary: "Everything that the catalog holds, as a file", query: ["stale"], answer: "bytes" },
  "PUT /v1/snapshot": { summary: "Restores such a file", body: "bytes", answer: "empty" },
  "GET /v1/status/leader": { summary: "Address of the leader" },
  "GET /v1/status/peers": { summary: "Addresses of the servers" },
  "PUT /v1/txn": {
    summary: "Up to 128 operations in one step; 409 tells which failed",
    query: ["stale", "consistent"],
    body: { list: { object: TXN_FIELDS } },
  },
};
