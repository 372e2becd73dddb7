/** /v1/catalog: who is registered. */
import { type ApiTable, decodeBody, readBody, refusal, reply } from "@heddle/daemon";
import { catalogServiceFields, nodeFields, serviceFields } from "@heddle/filter";
import { read, type Ask } from "../blocking.ts";
import { deregister, DEREGISTER_FIELDS } from "../commands/deregister.ts";
import { register } from "../commands/register.ts";
import { toRegistration } from "../commands/registration.ts";
import { REGISTER_FIELDS } from "../commands/registration-fields.ts";
import { type CatalogState, namesWithTags } from "../state.ts";
import { showCatalogService, showNode, showService } from "../views.ts";
import type { CatalogDeps } from "../deps.ts";
import { gatewayServices } from "../gateway-services.ts";
import { explain, wantsExplanation } from "./explain.ts";
import { requireOwnNode } from "../own-node.ts";
import { argument, nearOrder, nodeMetaFilter, questionKey, rowFilter, tagFilter } from "./reads.ts";

const MAX_BODY = 512 * 1024;

export function catalogQuestions(deps: CatalogDeps): Record<string, Ask> {
  const { state } = deps;
  const rows = (kind: "connect" | "service"): Ask =>
    function askCatalogService({ query, rest }) {
      const name = argument(rest, "service name");
      const isKept = rowFilter(query, catalogServiceFields);
      const near = nearOrder<{ Node: string }>(deps, query, (row) => row.Node);
      return {
        key: questionKey(`/v1/catalog/${kind}/${name.toLowerCase()}`, query),
        topics: [`${kind}/${name.toLowerCase()}`, ...near.topics],
        compute: () => {
          // Consul knows no tags of those that speak Connect for a service.
          const hasTags = kind === "connect" ? () => true : tagFilter(query);
          const isWanted = nodeMetaFilter(query);
          const found = kind === "service" ? state.instances(name) : state.connectInstances(name);
          if (wantsExplanation(query)) {
            const candidates = found.flatMap((record) => {
              const node = state.node(record.value.Node)?.value;
              const { ID, Service, Tags } = record.value.Service;
              if (!node) return [];
              return [{ node, id: ID, name: Service, tags: Tags, checks: [], row: showCatalogService(record, node) }];
            });
            return explain(name, candidates, query, { hasTags, isWanted, passing: false, isKept, sort: near.sort });
          }
          const rows = found.flatMap((record) => {
            const node = state.node(record.value.Node)?.value;
            return node && isWanted(node) && hasTags(record.value.Service.Tags)
              ? [showCatalogService(record, node)]
              : [];
          });
          return near.sort(rows.filter(isKept));
        },
      };
    };
  const nodeNamed = (nameOrId: string) =>
    state.node(nameOrId) ?? state.nodes().find((n) => n.value.ID !== "" && n.value.ID === nameOrId.toLowerCase());
  return {
    "/v1/catalog/nodes": ({ query }) => {
      const isKept = rowFilter(query, nodeFields);
      const near = nearOrder<{ Node: string }>(deps, query, (row) => row.Node);
      return {
        key: questionKey("/v1/catalog/nodes", query),
        topics: ["nodes", ...near.topics],
        compute: () => {
          const isWanted = nodeMetaFilter(query);
          const rows = state.nodes().filter((n) => isWanted(n.value));
          return near.sort(rows.map(showNode).filter(isKept));
        },
      };
    },
    "/v1/catalog/services": ({ query }) => ({
      key: questionKey("/v1/catalog/services", query),
      topics: query.has("node-meta") ? ["services", "nodes"] : ["services"],
      compute: () => servicesWithTags(state, query),
    }),
    "/v1/catalog/service/": rows("service"),
    "/v1/catalog/connect/": rows("connect"),
    "/v1/catalog/node/": ({ query, rest }) => {
      const name = argument(rest, "node name");
      const isKept = rowFilter(query, serviceFields);
      return {
        key: questionKey(`/v1/catalog/node/${name}`, query),
        topics: [`node/${(nodeNamed(name)?.value.Node ?? name).toLowerCase()}`],
        compute: () => {
          const node = nodeNamed(name);
          return node
            ? {
                Node: showNode(node),
                Services: Object.fromEntries(
                  state
                    .servicesOf(node.value.Node)
                    .map(showService)
                    .filter(isKept)
                    .map((s) => [s.ID, s]),
                ),
              }
            : null;
        },
      };
    },
    "/v1/catalog/node-services/": ({ query, rest }) => {
      const name = argument(rest, "node name");
      const isKept = rowFilter(query, serviceFields);
      return {
        key: questionKey(`/v1/catalog/node-services/${name}`, query),
        topics: [`node/${(nodeNamed(name)?.value.Node ?? name).toLowerCase()}`],
        compute: () => {
          const node = nodeNamed(name);
          return node
            ? { Node: showNode(node), Services: state.servicesOf(node.value.Node).map(showService).filter(isKept) }
            : { Node: null, Services: null };
        },
      };
    },
    "/v1/catalog/gateway-services/": ({ query, rest }) => {
      const name = argument(rest, "gateway name");
      return {
        key: questionKey(`/v1/catalog/gateway-services/${name}`, query),
        topics: ["gateway-services"],
        compute: () => {
          const rows = gatewayServices(state, name);
          return rows.length === 0 ? null : rows; // as Consul's
        },
      };
    },
  };
}

/** Each service name with the tags of its instances, in the order of their first appearance. */
function servicesWithTags(state: CatalogState, query: URLSearchParams): Record<string, string[]> {
  if (!query.has("node-meta")) return Object.fromEntries(state.names());
  const isWanted = nodeMetaFilter(query);
  return namesWithTags(
    state.services().filter(({ value }) => {
      const node = state.node(value.Node)?.value;
      return node !== undefined && isWanted(node);
    }),
  );
}

export function catalogTable(deps: CatalogDeps): ApiTable {
  const { state, datacenter, log } = deps;
  const reads = Object.fromEntries(
    Object.entries(catalogQuestions(deps)).map(([path, ask]) => [path, { GET: read(state, ask) }]),
  );
  return {
    ...reads,
    // Not Consul's: what DNS asks for a reverse lookup.
    "/v1/internal/service-address/": {
      GET: (request) => {
        const found = state.instancesAt(argument(request.rest, "address"));
        reply(
          request,
          found.map(({ value }) => ({ Node: value.Node, ID: value.Service.ID, Service: value.Service.Service })),
        );
      },
    },
    "/v1/catalog/datacenters": { GET: (request) => reply(request, [datacenter]) },
    "/v1/catalog/register": {
      PUT: async (request) => {
        const body = decodeBody(await readBody(request.req, MAX_BODY), REGISTER_FIELDS);
        requireDatacenter(body["Datacenter"], datacenter);
        const registration = toRegistration(body, datacenter);
        requireOwnNode(request.req, registration.node, { store: state.store, log });
        await state.store.run(register(registration));
        reply(request, true);
      },
    },
    "/v1/catalog/deregister": {
      PUT: async (request) => {
        const body = decodeBody(await readBody(request.req, MAX_BODY), DEREGISTER_FIELDS);
        requireDatacenter(body["Datacenter"], datacenter);
        const command = deregister(body);
        requireOwnNode(request.req, { Node: body["Node"] as string }, { store: state.store, log });
        await state.store.run(command);
        reply(request, true);
      },
    },
  };
}

/** Refuses what is for another datacenter. */
export function requireDatacenter(asked: unknown, ours: string): void {
  if (typeof asked === "string" && asked !== "" && asked !== ours) throw refusal(500, "No path to datacenter");
}
