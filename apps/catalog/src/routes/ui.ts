/** /v1/internal/ui: the lists of a web page, of nodes with all that is on them and of services in numbers. */
import { type ApiTable } from "@heddle/daemon";
import { instanceFields, nodeInfoFields } from "@heddle/filter";
import type { ProxyConfig } from "@heddle/service-definition/types";
import type { StoredRecord } from "@heddle/store";
import { type Ask, read } from "../blocking.ts";
import type { CatalogDeps } from "../deps.ts";
import { type GatewayService, gatewayServices } from "../gateway-services.ts";
import { CHECKS, NODES, SERVICES, type NodeRecord } from "../records.ts";
import { type Instance, showCheck, showInstances, showService } from "../views.ts";
import { argument, questionKey, rowFilter } from "./reads.ts";

const EVERYTHING = [NODES, SERVICES, CHECKS];

export function uiQuestions({ state, datacenter, dnsDomain }: CatalogDeps): Record<string, Ask> {
  const showNode = ({ value }: StoredRecord<NodeRecord>) => ({
    ID: value.ID,
    Node: value.Node,
    Address: value.Address,
    TaggedAddresses: value.TaggedAddresses,
    Meta: value.Meta,
    Services: state.servicesOf(value.Node).map((s) => ({ ...showService(s), Tags: orNull(s.value.Service.Tags) })),
    Checks: state
      .checksOf(value.Node)
      .map((c) => ({ ...showCheck(c), ServiceTags: orNull(c.value.ServiceTags ?? []) })),
  });
  return {
    "/v1/internal/ui/nodes": ({ query }) => {
      const isKept = rowFilter(query, nodeInfoFields);
      return {
        key: questionKey("/v1/internal/ui/nodes", query),
        topics: EVERYTHING,
        compute: () => state.nodes().map(showNode).filter(isKept),
      };
    },
    "/v1/internal/ui/node/": ({ query, rest }) => {
      const name = argument(rest, "node name");
      return {
        key: questionKey(`/v1/internal/ui/node/${name}`, query),
        topics: EVERYTHING,
        compute: () => {
          const node = state.node(name);
          return node && showNode(node);
        },
      };
    },
    "/v1/internal/ui/services": ({ query }) => {
      const isKept = rowFilter(query, instanceFields);
      return {
        key: questionKey("/v1/internal/ui/services", query),
        topics: EVERYTHING,
        compute: () => summarize(showInstances(state, state.services()).filter(isKept)),
      };
    },
    "/v1/internal/ui/gateway-services-nodes/": ({ query, rest }) => {
      const gateway = argument(rest, "gateway name");
      return {
        key: questionKey(`/v1/internal/ui/gateway-services-nodes/${gateway}`, query),
        topics: [...EVERYTHING, "gateway-services"],
        compute: () => {
          const byName = new Map<string, GatewayService[]>();
          for (const row of gatewayServices(state, gateway)) {
            const rows = byName.get(row.Service.Name);
            if (rows) rows.push(row);
            else byName.set(row.Service.Name, [row]);
          }
          return [...byName].map(([name, rows]) => {
            const instances = showInstances(state, state.instances(name));
            const addresses = rows.flatMap((row) => gatewayAddresses(row, `ingress.${datacenter}.${dnsDomain}.`));
            const shown = summary(name, instances);
            return {
              ...shown,
              Nodes: orNull(shown.Nodes),
              GatewayConfig: addresses.length > 0 ? { Addresses: addresses } : {},
            };
          });
        },
      };
    },
  };
}

/** Where an ingress gateway is reached for a service: by the hosts that it takes, else by the name that DNS has for it. */
function gatewayAddresses(row: GatewayService, zone: string): string[] {
  if (row.GatewayKind !== "ingress-gateway") return [];
  return (row.Hosts ?? [`${row.Service.Name}.${zone}`]).map((host) => `${host}:${row.Port ?? 0}`);
}

export function uiTable(deps: CatalogDeps): ApiTable {
  return Object.fromEntries(
    Object.entries(uiQuestions(deps)).map(([path, ask]) => [
      path,
      { GET: read(deps.state, ask, { consistency: false }) },
    ]),
  );
}

/** One row a service name, in the order of names. */
function summarize(instances: Instance[]) {
  const byName = new Map<string, Instance[]>();
  for (const instance of instances) {
    const of = byName.get(instance.Service.Service);
    if (of) of.push(instance);
    else byName.set(instance.Service.Service, [instance]);
  }
  return [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, of]) => summary(name, of));
}

function summary(name: string, instances: Instance[]) {
  const services = instances.map((i) => i.Service);
  const checks = instances.flatMap((i) => i.Checks);
  const kind = services.find((s) => s.Kind)?.Kind;
  const count = (status: string) => checks.filter((c) => c.Status === status).length;
  const destinations = services.flatMap((s) => (s.Proxy as ProxyConfig).DestinationServiceName ?? []);
  return {
    ...(kind && { Kind: kind }),
    Name: name,
    Tags: orNull(unique(services.flatMap((s) => s.Tags)).sort()),
    Nodes: instances.flatMap((i) => i.Node?.Node ?? []), // one an instance
    InstanceCount: instances.length,
    ...(kind === "connect-proxy" && { ProxyFor: unique(destinations).sort() }),
    ChecksPassing: count("passing"),
    ChecksWarning: count("warning"),
    ChecksCritical: count("critical"),
    ExternalSources: orNull(unique(services.flatMap((s) => s.Meta?.["external-source"] ?? [])).sort()),
    GatewayConfig: {},
  };
}

const unique = (list: string[]): string[] => [...new Set(list)];
// These lists of Consul's show null where nothing was ever given.
const orNull = <T>(list: T[]): T[] | null => (list.length === 0 ? null : list);
