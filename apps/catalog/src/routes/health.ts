/** /v1/health: who is fit to be called. */
import type { ApiTable } from "@heddle/daemon";
import { refusal } from "@heddle/daemon";
import { checkFields, instanceFields } from "@heddle/filter";
import { read, type Ask } from "../blocking.ts";
import type { CatalogDeps } from "../deps.ts";
import type { NodeService } from "@heddle/service-definition/types";
import type { StoredRecord } from "@heddle/store";
import { effective } from "../effective.ts";
import type { CheckRecord, ServiceRecord } from "../records.ts";
import type { CatalogState } from "../state.ts";
import { type Instance, showCheck, showInstance, showInstances } from "../views.ts";
import { explain, wantsExplanation } from "./explain.ts";
import { argument, nearOrder, nodeMetaFilter, questionKey, rowFilter, tagFilter } from "./reads.ts";

/** What each list of instances holds, and what its readers wait on. */
const LISTS = {
  service: {
    topic: (name: string) => `health/${name}`,
    of: (state: CatalogState, name: string) => state.instances(name),
  },
  connect: {
    topic: (name: string) => `health-connect/${name}`,
    of: (state: CatalogState, name: string) => state.connectInstances(name),
  },
  ingress: {
    topic: () => "health-ingress",
    of: (state: CatalogState, name: string) => state.ingressInstances(name),
  },
};

/** Whether an instance is to be reached over Connect, and by which proxies: those that stand for it by its id on its node. */
function connectInfo(state: CatalogState, { Node, Service }: Instance) {
  const proxies = state
    .connectInstances(Service.Service)
    .filter(({ value }) => value.Service.Proxy?.DestinationServiceID === Service.ID && value.Node === Node?.Node)
    .map((record) => showInstance(state, record));
  const Native = (Service.Connect as NodeService["Connect"])?.Native === true;
  return {
    IsCapable: Native || proxies.length > 0,
    Native,
    Proxies: proxies.map((proxy) => ({
      ServiceID: proxy.Service.ID,
      Address: proxy.Service.Address || (proxy.Node?.Address ?? ""),
      Port: proxy.Service.Port,
      IsPassing: proxy.Checks.every(({ Status }) => Status === "passing"),
    })),
  };
}

export function healthQuestions(deps: CatalogDeps): Record<string, Ask> {
  const { state } = deps;
  const instances = (kind: keyof typeof LISTS): Ask =>
    function askHealth({ query, rest }) {
      const name = argument(rest, "service name");
      const passing = passingOnly(query);
      const isKept = rowFilter(query, instanceFields);
      const near = nearOrder<Instance>(deps, query, (row) => row.Node?.Node ?? "");
      return {
        key: questionKey(`/v1/health/${kind}/${name.toLowerCase()}`, query),
        topics: [
          LISTS[kind].topic(name.toLowerCase()),
          ...near.topics,
          ...(query.has("connect-info") ? [LISTS.connect.topic(name.toLowerCase())] : []),
        ],
        compute: () => {
          // Consul knows no tags of those that speak Connect for a service.
          const hasTags = kind === "connect" ? () => true : tagFilter(query);
          const isWanted = nodeMetaFilter(query);
          const found = LISTS[kind].of(state, name);
          if (wantsExplanation(query)) {
            const candidates = found.map((record) => candidateOf(state, record));
            return explain(name, candidates, query, { hasTags, isWanted, passing, isKept, sort: near.sort });
          }
          const wanted = found
            .filter((record) => hasTags(record.value.Service.Tags))
            .filter((record) => isWanted(state.node(record.value.Node)?.value ?? ({ Meta: null } as never)));
          const rows = showInstances(state, wanted)
            .filter((row) => !passing || row.Checks.every((check) => check.Status === "passing"))
            .filter(isKept);
          return near.sort(rows).map(instanceShown(query));
        },
      };
    };
  const since = (check: Pick<CheckRecord, "CheckID" | "Node">) => deps.statusTimes.since(check);
  const instanceShown = (query: URLSearchParams) => (row: Instance) => ({
    ...row,
    ...(query.has("effective") && { Effective: effective(row.Checks, since) }),
    ...(query.has("connect-info") && { ConnectInfo: connectInfo(state, row) }),
  });
  const checkShown = (query: URLSearchParams) => (check: ReturnType<typeof showCheck>) => {
    if (!query.has("effective")) return check;
    const ofNode = state.checksOf(check.Node).filter(({ value }) => value.ServiceID === "");
    const counted = check.ServiceID === "" ? [check] : [...ofNode.map(({ value }) => value), check];
    return { ...check, Effective: effective(counted, since) };
  };
  const nearCheck = (query: URLSearchParams) => nearOrder<ReturnType<typeof showCheck>>(deps, query, (row) => row.Node);
  const isOnNode = (query: URLSearchParams) => {
    const isWanted = nodeMetaFilter(query);
    return (check: { value: { Node: string } }): boolean => {
      const node = state.node(check.value.Node);
      return node !== undefined && isWanted(node.value);
    };
  };
  return {
    "/v1/health/service/": instances("service"),
    "/v1/health/connect/": instances("connect"),
    "/v1/health/ingress/": instances("ingress"),
    "/v1/health/node/": ({ query, rest }) => {
      const name = argument(rest, "node name");
      const isKept = rowFilter(query, checkFields);
      return {
        key: questionKey(`/v1/health/node/${name.toLowerCase()}`, query),
        topics: [`checks/${name.toLowerCase()}`],
        compute: () => state.checksOf(name).map(showCheck).filter(isKept).map(checkShown(query)),
      };
    },
    "/v1/health/checks/": ({ query, rest }) => {
      const name = argument(rest, "service name");
      const isKept = rowFilter(query, checkFields);
      return {
        key: questionKey(`/v1/health/checks/${name.toLowerCase()}`, query),
        topics: [
          `checks-of/${name.toLowerCase()}`,
          ...(query.has("effective") ? [`health/${name.toLowerCase()}`] : []),
          ...nearCheck(query).topics,
        ],
        compute: () => {
          const rows = state
            .checks()
            .filter((c) => c.value.ServiceID !== "" && c.value.ServiceName.toLowerCase() === name.toLowerCase())
            .filter(isOnNode(query))
            .map(showCheck);
          return nearCheck(query).sort(rows.filter(isKept)).map(checkShown(query));
        },
      };
    },
    "/v1/health/state/": ({ query, rest }) => {
      const wanted = argument(rest, "check state");
      const isKept = rowFilter(query, checkFields);
      return {
        key: questionKey(`/v1/health/state/${wanted}`, query),
        topics: ["checks", ...nearCheck(query).topics],
        compute: () => {
          const rows = state
            .checks()
            .filter((c) => wanted === "any" || c.value.Status === wanted)
            .filter(isOnNode(query))
            .map(showCheck);
          return nearCheck(query).sort(rows.filter(isKept)).map(checkShown(query));
        },
      };
    },
  };
}

function candidateOf(state: CatalogState, record: StoredRecord<ServiceRecord>) {
  const { ID, Service, Tags } = record.value.Service;
  const row = showInstance(state, record);
  return { node: state.node(record.value.Node)?.value, id: ID, name: Service, tags: Tags, checks: row.Checks, row };
}

/** `?passing`, `?passing=true`, `?passing=false`; anything else is refused. */
function passingOnly(query: URLSearchParams): boolean {
  const value = query.get("passing");
  if (value === null) return false;
  if (value === "" || /^(?:1|t|true)$/i.test(value)) return true;
  if (/^(?:0|f|false)$/i.test(value)) return false;
  throw refusal(400, "Invalid value for ?passing");
}

export function healthTable(deps: CatalogDeps): ApiTable {
  return Object.fromEntries(
    Object.entries(healthQuestions(deps)).map(([path, ask]) => [path, { GET: read(deps.state, ask) }]),
  );
}
