/** Records as the API shows them: the shapes and keys of Consul's answers. */
import type { StoredRecord } from "@heddle/store";
import type { NodeService } from "@heddle/service-definition/types";
import type { CheckRecord, KvRecord, NodeRecord, ServiceRecord, SessionRecord } from "./records.ts";
import type { CatalogState } from "./state.ts";

export function showNode({ value, createIndex, modifyIndex }: StoredRecord<NodeRecord>) {
  return { ...value, CreateIndex: createIndex, ModifyIndex: modifyIndex };
}

export function showCheck({ value, createIndex, modifyIndex }: StoredRecord<CheckRecord>) {
  const { Owner: _, ReapAfterMs: __, ...check } = value;
  return { ...check, CreateIndex: createIndex, ModifyIndex: modifyIndex };
}

export function showSession({ value, createIndex, modifyIndex }: StoredRecord<SessionRecord>) {
  return { ...value, CreateIndex: createIndex, ModifyIndex: modifyIndex };
}

/** A service as it stands under a node or in a health answer. */
export function showService({ value, createIndex, modifyIndex }: StoredRecord<ServiceRecord>) {
  const { Kind, ID, Service, Tags, Address, TaggedAddresses, Meta, Port, Weights, EnableTagOverride, Connect } =
    value.Service;
  return {
    ...(Kind && { Kind }),
    ID,
    Service,
    Tags,
    Address,
    ...(hasKeys(TaggedAddresses) && { TaggedAddresses }),
    Meta,
    Port,
    Weights,
    EnableTagOverride,
    Proxy: showProxy(value.Service),
    Connect: showConnect(Connect),
    CreateIndex: createIndex,
    ModifyIndex: modifyIndex,
  };
}

/** A service joined with its node: a row of /v1/catalog/service and /v1/catalog/connect. */
export function showCatalogService(record: StoredRecord<ServiceRecord>, node: NodeRecord) {
  const service = record.value.Service;
  return {
    ID: node.ID,
    Node: node.Node,
    Address: node.Address,
    Datacenter: node.Datacenter,
    TaggedAddresses: node.TaggedAddresses,
    NodeMeta: node.Meta,
    ServiceKind: service.Kind ?? "",
    ServiceID: service.ID,
    ServiceName: service.Service,
    ServiceTags: service.Tags,
    ServiceAddress: service.Address,
    ...(hasKeys(service.TaggedAddresses) && { ServiceTaggedAddresses: service.TaggedAddresses }),
    ServiceWeights: service.Weights,
    ServiceMeta: service.Meta ?? {},
    ServicePort: service.Port,
    ServiceEnableTagOverride: service.EnableTagOverride,
    ServiceProxy: showProxy(service),
    ServiceConnect: showConnect(service.Connect),
    CreateIndex: record.createIndex,
    ModifyIndex: record.modifyIndex,
  };
}

/** An instance with its node and every check that counts for it: a row of /v1/health/service. */
export const showInstance = (state: CatalogState, record: StoredRecord<ServiceRecord>) =>
  showInstances(state, [record])[0] as Instance;

export type Instance = ReturnType<typeof showInstances>[number];

/** Many at once: the checks of each node are looked through once, however many instances are on it. */
export function showInstances(state: CatalogState, records: StoredRecord<ServiceRecord>[]) {
  const byNode = new Map<string, Map<string, StoredRecord<CheckRecord>[]>>();
  return records.map((record) => {
    const { Node, Service } = record.value;
    const node = state.node(Node);
    let ofNode = byNode.get(Node);
    if (!ofNode) byNode.set(Node, (ofNode = Map.groupBy(state.checksOf(Node), (c) => c.value.ServiceID)));
    // Its node's come first, as Consul has them.
    const checks = ["", Service.ID].flatMap((id) => ofNode.get(id) ?? []);
    return { Node: node ? showNode(node) : null, Service: showService(record), Checks: checks.map(showCheck) };
  });
}

/** The JSON of a key. Written by hand because flags up to 2^64-1 must stay exact. */
export function encodeKv({ value, createIndex, modifyIndex }: StoredRecord<KvRecord>): string {
  const session = value.Session === undefined ? "" : `,"Session":${JSON.stringify(value.Session)}`;
  const content = value.Value === null ? "null" : `"${value.Value}"`;
  return `{"LockIndex":${value.LockIndex},"Key":${JSON.stringify(value.Key)},"Flags":${value.Flags},"Value":${content}${session},"CreateIndex":${createIndex},"ModifyIndex":${modifyIndex}}`;
}

const showConnect = ({ Native, ...rest }: NonNullable<NodeService["Connect"]> = {}) =>
  Native ? { Native, ...rest } : rest;

function showProxy(service: NodeService) {
  const proxy = service.Proxy ?? {};
  return {
    ...Object.fromEntries(Object.entries(proxy).filter(([, v]) => v !== undefined && v !== "" && v !== 0)),
    ...(proxy.Upstreams && { Upstreams: proxy.Upstreams.map(showUpstream) }),
    MeshGateway: proxy.MeshGateway ?? {},
    Expose: proxy.Expose ?? {},
  };
}

function showUpstream(upstream: NonNullable<NonNullable<NodeService["Proxy"]>["Upstreams"]>[number]) {
  return {
    DestinationType: upstream.DestinationType ?? "",
    ...(upstream.DestinationNamespace && { DestinationNamespace: upstream.DestinationNamespace }),
    DestinationName: upstream.DestinationName,
    Datacenter: upstream.Datacenter ?? "",
    ...(upstream.LocalBindAddress && { LocalBindAddress: upstream.LocalBindAddress }),
    ...(upstream.LocalBindPort && { LocalBindPort: upstream.LocalBindPort }),
    ...(upstream.LocalBindSocketPath && { LocalBindSocketPath: upstream.LocalBindSocketPath }),
    ...(upstream.LocalBindSocketMode && { LocalBindSocketMode: upstream.LocalBindSocketMode }),
    Config: upstream.Config ?? null,
    MeshGateway: upstream.MeshGateway ?? {},
  };
}

const hasKeys = (map: object | undefined): boolean => map !== undefined && Object.keys(map).length > 0;
