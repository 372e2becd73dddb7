/** Not Consul's: what an agent's anti-entropy asks and says. */
import { type ApiTable, decodeObject, parseBody, readBody, refusal, reply } from "@heddle/daemon";
import { SYNC_FIELDS, syncAll, toSyncRegistration } from "../commands/agent-sync.ts";
import type { CatalogDeps } from "../deps.ts";
import { requireOwnNode } from "../own-node.ts";
import { runsOn } from "../runs-on.ts";
import { requireDatacenter } from "./catalog.ts";
import { argument } from "./reads.ts";

const MAX_BODY = 512 * 1024;
const MAX_REGISTRATIONS = 64;

export function agentSyncTable(deps: CatalogDeps): ApiTable {
  const { state, datacenter, log, members } = deps;
  return {
    // What an agent has to say of its services at one moment, as one step.
    "/v1/internal/registrations": {
      PUT: async (request) => {
        const list = parseBody(await readBody(request.req, MAX_BODY));
        if (!Array.isArray(list) || list.length > MAX_REGISTRATIONS)
          throw refusal(400, `want a list of at most ${MAX_REGISTRATIONS} registrations`);
        const bodies = list.map((body) => decodeObject(body, SYNC_FIELDS));
        for (const body of bodies) requireDatacenter(body["Datacenter"], datacenter);
        const registrations = bodies.map((body) => toSyncRegistration(body, datacenter));
        for (const { node } of registrations)
          requireOwnNode(request.req, { ...node, isOwnOnly: true }, { store: state.store, log });
        const { result } = await state.store.run(syncAll(registrations));
        reply(request, result);
      },
    },
    // For the CA: whether a certificate of this service may go to this node's agent.
    "/v1/internal/runs-on/": {
      GET: (request) => {
        const node = argument(request.rest, "node name");
        reply(request, runsOn(state, node, request.query.get("service") ?? ""));
      },
    },
    // What is there of a node, and whose it is; null where the node is unknown.
    "/v1/internal/node/": {
      GET: (request) => {
        const node = argument(request.rest, "node name");
        const services = state
          .servicesOf(node)
          .map(({ value }) => ({ ID: value.Service.ID, Owner: value.Owner ?? "" }));
        const checks = state.checksOf(node).map(({ value }) => ({ ID: value.CheckID, Owner: value.Owner ?? "" }));
        const alive = members.records().filter(({ value }) => value.Status === "alive").length;
        reply(request, state.node(node) ? { Services: services, Checks: checks, Members: alive } : null);
      },
    },
  };
}
