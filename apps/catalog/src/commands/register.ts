/** Catalog registration as a command: a node, a service on it and checks, written in one atomic step. */
import { problemList } from "@heddle/config-entries";
import { type Decoded, parseDuration, refusal, type Spec } from "@heddle/daemon";
import type { NodeService, ServiceKind } from "@heddle/service-definition/types";
import { validateMeta } from "@heddle/service-definition/validate";
import type { Command, View, Write } from "@heddle/store";
import {
  checkKey,
  CHECKS,
  COORDINATES,
  MEMBERS,
  nodeKey,
  nodePrefix,
  NODES,
  serviceKey,
  SERVICES,
  SERF_HEALTH,
  type CheckRecord,
  type MemberRecord,
  type NodeRecord,
  type Owner,
  type ServiceRecord,
} from "../records.ts";
import { invalidateSessions } from "./sessions.ts";

const ADDRESS: Spec = { object: { Address: "string", Port: "integer" } };
const CONNECT: Record<string, Spec> = { Native: "boolean", SidecarService: "any", Proxy: "any" };
const EXPOSED_PATH: Spec = {
  object: {
    ListenerPort: "integer",
    Path: "string",
    LocalPathPort: "integer",
    Protocol: "string",
    ParsedFromCheck: "boolean",
  },
};
const PROXY: Spec = {
  object: {
    DestinationServiceName: "string",
    DestinationServiceID: "string",
    LocalServiceAddress: "string",
    LocalServicePort: "integer",
    LocalServiceSocketPath: "string",
    Config: { map: "any" },
    Upstreams: {
      list: {
        object: {
          DestinationType: "string",
          DestinationNamespace: "string",
          DestinationName: "string",
          Datacenter: "string",
          LocalBindAddress: "string",
          LocalBindPort: "integer",
          LocalBindSocketPath: "string",
          LocalBindSocketMode: "string",
          Config: { map: "any" },
          MeshGateway: { object: { Mode: "string" } },
          IngressHosts: "strings",
        },
      },
    },
    MeshGateway: { object: { Mode: "string" } },
    Expose: { object: { Checks: "boolean", Paths: { list: EXPOSED_PATH } } },
    TransparentProxy: "any",
    Mode: "string",
  },
};
export const SERVICE = {
  object: {
    Kind: "string",
    ID: "string",
    Service: "string",
    Tags: "strings",
    Address: "string",
    TaggedAddresses: { map: ADDRESS },
    Meta: { map: "string" },
    Port: "integer",
    Weights: { object: { Passing: "integer", Warning: "integer" } },
    EnableTagOverride: "boolean",
    ProxyDestination: "string",
    Proxy: PROXY,
    Connect: { object: CONNECT },
    LocallyRegisteredAsSidecar: "boolean",
    Namespace: "string",
    CreateIndex: "index",
    ModifyIndex: "index",
  },
} satisfies Spec;
const CHECK_DEFINITION: Spec = {
  object: {
    HTTP: "string",
    TLSServerName: "string",
    TLSSkipVerify: "boolean",
    Header: { map: "strings" },
    Method: "string",
    Body: "string",
    TCP: "string",
    UDP: "string",
    GRPC: "string",
    GRPCUseTLS: "boolean",
    H2PING: "string",
    OSService: "string",
    Interval: "duration",
    IntervalDuration: "duration",
    OutputMaxSize: "integer",
    Timeout: "duration",
    TimeoutDuration: "duration",
    DeregisterCriticalServiceAfter: "duration",
    DeregisterCriticalServiceAfterDuration: "duration",
    ScriptArgs: "strings",
    DockerContainerID: "string",
    Shell: "string",
    AliasNode: "string",
    AliasService: "string",
    TTL: "duration",
  },
};
export const CHECK_FIELDS: Record<string, Spec> = {
  Node: "string",
  CheckID: "string",
  Name: "string",
  Status: "string",
  Notes: "string",
  Output: "string",
  ServiceID: "string",
  ServiceName: "string",
  ServiceTags: "strings",
  Type: "string",
  Namespace: "string",
  Definition: CHECK_DEFINITION,
  CreateIndex: "index",
  ModifyIndex: "index",
};

/** The body of PUT /v1/catalog/register. */
export const REGISTER_FIELDS: Record<string, Spec> = {
  ID: "string",
  Node: "string",
  Address: "string",
  TaggedAddresses: { map: "string" },
  NodeMeta: { map: "string" },
  Datacenter: "string",
  Service: { object: { ...SERVICE.object, Connect: { object: CONNECT, isOpen: true } } },
  Check: { object: CHECK_FIELDS },
  Checks: { list: { object: CHECK_FIELDS } },
  SkipNodeUpdate: "boolean",
};

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const MAX_WEIGHT = 65_535; // SRV records hold 16 bits
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export interface Registration {
  node: NodeRecord;
  skipNodeUpdate: boolean;
  service?: NodeService;
  checks: CheckRecord[];
}

/** What a valid body asks for. Throws the refusals of Consul's Catalog.Register. */
export function toRegistration(body: Decoded, datacenter: string): Registration {
  const name = text(body["Node"]);
  const skipNodeUpdate = body["SkipNodeUpdate"] === true;
  if (name === "") throw refusal(500, "Must provide node");
  if (text(body["Address"]) === "" && !skipNodeUpdate)
    throw refusal(500, "Must provide address if SkipNodeUpdate is not set");
  const id = text(body["ID"]);
  refuseBadNodeId(id);
  const node: NodeRecord = {
    ID: id,
    Node: name,
    Address: text(body["Address"]),
    Datacenter: datacenter,
    TaggedAddresses: (body["TaggedAddresses"] as Record<string, string> | undefined) ?? null,
    Meta: (body["NodeMeta"] as Record<string, string> | undefined) ?? null,
  };
  const service = body["Service"] ? toService(body["Service"] as Decoded) : undefined;
  if (service) refuseBadServiceMeta(name, service);
  const given = [
    ...(body["Check"] ? [body["Check"] as Decoded] : []),
    ...((body["Checks"] as Decoded[] | undefined) ?? []),
  ];
  const checks = given.filter((c) => c !== undefined).map((c) => toCheck(c, name));
  return { node, skipNodeUpdate, ...(service && { service }), checks };
}

/** Throws where a node's id is given and is no UUID. */
export function refuseBadNodeId(id: string): void {
  if (id !== "" && id.length !== 36) throw refusal(500, `Bad node ID: uuid string is wrong length`);
  if (id !== "" && !UUID.test(id)) throw refusal(500, `Bad node ID: uuid is improperly formatted`);
}

/** A service of a registration. Throws where it has an id and no name, or is a proxy for nothing. */
export function toService(given: Decoded): NodeService {
  const name = text(given["Service"]);
  const id = text(given["ID"]);
  if (name === "" && id !== "") throw refusal(500, "Must provide service name with ID");
  if (name === "") throw refusal(500, "Must provide service name");
  const kind = text(given["Kind"]) as ServiceKind;
  const proxy = (given["Proxy"] as Decoded | undefined) ?? {};
  for (const path of ((proxy["Expose"] as Decoded | undefined)?.["Paths"] as Decoded[] | undefined) ?? [])
    path["ParsedFromCheck"] ??= false;
  if (kind === "connect-proxy") {
    const problems: string[] = [];
    if (text(proxy["DestinationServiceName"]).trim() === "")
      problems.push("Proxy.DestinationServiceName must be non-empty for Connect proxy services");
    if (!given["Port"]) problems.push("Port must be set for a Connect proxy");
    if ((given["Connect"] as Decoded | undefined)?.["Native"] === true)
      problems.push("A Proxy cannot also be Connect Native, only typical services");
    if (problems.length > 0) throw refusal(500, problemList(problems));
  }
  return {
    ...(kind !== "" && { Kind: kind }),
    ID: id === "" ? name : id,
    Service: name,
    Tags: (given["Tags"] as string[] | undefined) ?? [],
    Address: text(given["Address"]),
    ...(given["TaggedAddresses"] !== undefined && {
      TaggedAddresses: given["TaggedAddresses"] as NonNullable<NodeService["TaggedAddresses"]>,
    }),
    Meta: (given["Meta"] as Record<string, string> | undefined) ?? (null as unknown as Record<string, string>),
    Port: (given["Port"] as number | undefined) ?? 0,
    Weights: toWeights(given["Weights"] as { Passing?: number; Warning?: number } | undefined),
    EnableTagOverride: given["EnableTagOverride"] === true,
    Proxy: proxy,
    Connect: (given["Connect"] as NodeService["Connect"]) ?? {},
  };
}

/** Throws where a service carries metadata that no agent would have let through. */
export function refuseBadServiceMeta(node: string, { ID, Kind, Meta }: NodeService): void {
  const problem = validateMeta(Meta ?? {}, Kind);
  if (problem !== undefined)
    throw refusal(
      500,
      `failed inserting service: Invalid Service Meta for node ${node} and serviceID ${ID}: ${problem}`,
    );
}

// Consul stores 1 and 1 for weights that it would not accept from an agent.
function toWeights(given: { Passing?: number; Warning?: number } | undefined): { Passing: number; Warning: number } {
  const { Passing = 0, Warning = 0 } = given ?? {};
  const isValid = Passing >= 1 && Passing <= MAX_WEIGHT && Warning >= 0 && Warning <= MAX_WEIGHT;
  return isValid ? { Passing, Warning } : { Passing: 1, Warning: 1 };
}

/** A check of a registration on a node. Throws where it names another node. */
export function toCheck(given: Decoded, node: string): CheckRecord {
  const ofNode = text(given["Node"]);
  if (ofNode !== "" && ofNode.toLowerCase() !== node.toLowerCase())
    throw refusal(500, `check node "${ofNode}" does not match node "${node}"`);
  if (text(given["CheckID"]) === "" && text(given["Name"]) === "")
    throw refusal(
      500,
      `failed inserting check: failed inserting check: object missing primary index on node "${node}": want a CheckID or a Name`,
    );
  // Consul's catalog takes any status: what is not passing, warning or critical is simply none of them.
  const status = (text(given["Status"]) || "critical") as CheckRecord["Status"];
  const definition = cleanDefinition(given["Definition"] as Decoded | undefined);
  return {
    Node: node,
    CheckID: text(given["CheckID"]) || text(given["Name"]),
    Name: text(given["Name"]),
    Status: status,
    Notes: text(given["Notes"]),
    Output: text(given["Output"]),
    ServiceID: text(given["ServiceID"]),
    ServiceName: text(given["ServiceName"]),
    ServiceTags: (given["ServiceTags"] as string[] | undefined) ?? [],
    Type: text(given["Type"]) || typeOf(definition),
    Definition: definition,
  };
}

const DEFINITION_TYPES: [key: string, type: string][] = [
  ["TTL", "ttl"],
  ["HTTP", "http"],
  ["TCP", "tcp"],
  ["GRPC", "grpc"],
  ["UDP", "udp"],
  ["H2PING", "h2ping"],
  ["DockerContainerID", "docker"],
  ["ScriptArgs", "script"],
  ["AliasNode", "alias"],
  ["AliasService", "alias"],
];

const typeOf = (definition: Record<string, unknown>): string =>
  DEFINITION_TYPES.find(([key]) => definition[key])?.[1] ?? "";

const DURATIONS = ["Interval", "Timeout", "TTL", "DeregisterCriticalServiceAfter"];

function cleanDefinition(given: Decoded | undefined): Record<string, unknown> {
  for (const key of DURATIONS) if (!isDuration(given?.[key])) throw badDuration(given?.[key]);
  return Object.fromEntries(
    Object.entries(given ?? {}).filter(([, v]) => v !== undefined && v !== "" && v !== 0 && v !== false),
  );
}

function isDuration(value: unknown): boolean {
  if (typeof value !== "string" || value === "") return true;
  try {
    parseDuration(value);
    return true;
  } catch {
    return false;
  }
}

const badDuration = (value: unknown) =>
  refusal(400, `Request decode failed: time: invalid duration ${JSON.stringify(value)}`);

/** Writes a registration. What is equal to what is stored is not written: it wakes nobody. */
export function register(registration: Registration): Command<true> {
  return (view) => {
    const { node, service, checks, skipNodeUpdate } = registration;
    const existing = view.get<NodeRecord>(NODES, nodeKey(node.Node));
    if (!skipNodeUpdate) refuseTakenName(view, node);
    const writes = !existing || !skipNodeUpdate ? nodeWrites(view, node) : [];
    const nodeName = existing?.value.Node ?? node.Node;
    if (service) writes.push(...serviceWrites(view, nodeName, service));
    for (const check of checks) writes.push(...checkWrites(view, { ...check, Node: nodeName }, service));
    return { writes, result: true };
  };
}

/** Throws where another node that is alive has this name: whose id is another may not take its place. */
export function refuseTakenName(view: View, { ID, Node, Address }: NodeRecord): void {
  const holder = view.get<NodeRecord>(NODES, nodeKey(Node))?.value;
  if (ID === "" || !holder || holder.ID === ID) return;
  // An agent that lost its data directory comes back with another id: the name is whose lease it is.
  if (view.get<MemberRecord>(MEMBERS, nodeKey(Node))?.value.ID === ID) return;
  const alive = view.get<CheckRecord>(CHECKS, checkKey(Node, SERF_HEALTH))?.value;
  const isRenaming = view.list<NodeRecord>(NODES).some(({ value }) => value.ID === ID);
  if (!alive || alive.Status === "critical" || (holder.ID === "" && isRenaming)) return;
  throw refusal(
    500,
    `failed inserting node: Error while renaming Node ID: "${ID}"${isRenaming ? ` (${Address})` : ""}: Node name ${Node} is reserved by node ${holder.ID} with name ${holder.Node} (${holder.Address})`,
  );
}

/** The writes that store a node: the one that had its id under another name goes. */
export function nodeWrites(view: View, node: NodeRecord): Write[] {
  const existing = view.get<NodeRecord>(NODES, nodeKey(node.Node));
  const writes = renameWrites(view, node);
  const merged = { ...node, ID: node.ID || (existing?.value.ID ?? "") };
  if (!same(existing?.value, merged)) writes.push({ table: NODES, key: nodeKey(node.Node), value: merged });
  return writes;
}

/** The writes that store an instance; where its name is another now, its checks carry it too. An owner stays one. */
export function serviceWrites(view: View, node: string, service: NodeService, owner?: Owner): Write[] {
  const key = serviceKey(node, service.ID);
  const before = view.get<ServiceRecord>(SERVICES, key);
  const Owner = owner ?? before?.value.Owner;
  const record: ServiceRecord = { Node: node, Service: service, ...(Owner && { Owner }) };
  const writes: Write[] = same(before?.value, record) ? [] : [{ table: SERVICES, key, value: record }];
  if (before && before.value.Service.Service !== service.Service) writes.push(...renamedChecks(view, node, service));
  return writes;
}

/** The writes that store a check: its service's name and tags filled in, its sessions ended where it is critical. */
export function checkWrites(view: View, check: CheckRecord, service?: NodeService): Write[] {
  const value = { ...check };
  if (check.ServiceID !== "") {
    const found =
      service?.ID === check.ServiceID
        ? service
        : view.get<ServiceRecord>(SERVICES, serviceKey(check.Node, check.ServiceID))?.value.Service;
    if (!found) throw refusal(500, `failed inserting check: Missing service registration on node "${check.Node}"`);
    value.ServiceName = found.Service;
    value.ServiceTags = found.Tags;
  } else {
    value.ServiceName = "";
  }
  const key = checkKey(check.Node, check.CheckID);
  const before = view.get<CheckRecord>(CHECKS, key)?.value;
  const Owner = check.Owner ?? before?.Owner;
  if (Owner) value.Owner = Owner;
  // What the agent said of its own check stays when others write it.
  if (!check.Owner && before?.ReapAfterMs) value.ReapAfterMs = before.ReapAfterMs;
  if (same(before, value)) return [];
  const ended =
    value.Status === "critical" && before?.Status !== "critical"
      ? invalidateSessions(view, { node: check.Node, checkId: check.CheckID })
      : [];
  return [{ table: CHECKS, key, value }, ...ended];
}

function renamedChecks(view: View, node: string, service: NodeService): Write[] {
  return view
    .list<CheckRecord>(CHECKS, nodePrefix(node))
    .filter((c) => c.value.ServiceID === service.ID)
    .map((c) => ({
      table: CHECKS,
      key: c.key,
      value: { ...c.value, ServiceName: service.Service, ServiceTags: service.Tags },
    }));
}

// A node that comes back under another name with the same id takes the place of the old one.
function renameWrites(view: View, node: NodeRecord): Write[] {
  if (node.ID === "") return [];
  const old = view
    .list<NodeRecord>(NODES)
    .find((n) => n.value.ID === node.ID && nodeKey(n.value.Node) !== nodeKey(node.Node));
  return old ? nodeRemoval(view, old.value.Node) : [];
}

/** The writes that take a node and everything on it away. */
export function nodeRemoval(view: View, node: string): Write[] {
  return [
    ...view.list(SERVICES, nodePrefix(node)).map(({ table, key }) => ({ table, key })),
    ...view.list(CHECKS, nodePrefix(node)).map(({ table, key }) => ({ table, key })),
    ...view.list(COORDINATES, nodePrefix(node)).map(({ table, key }) => ({ table, key })),
    ...invalidateSessions(view, { node }),
    { table: NODES, key: nodeKey(node) },
  ];
}

/** Deep equality of plain values, whatever the order of keys. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((k) => Object.hasOwn(b, k) && same((a as Decoded)[k], (b as Decoded)[k]));
}
