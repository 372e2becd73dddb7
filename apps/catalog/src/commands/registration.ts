/** What a body that registers asks for: a node, a service on it and checks, with the refusals of Consul's Catalog.Register. */
import { problemList } from "@heddle/config-entries";
import { type Decoded, parseDuration, refusal } from "@heddle/daemon";
import type { NodeService, ServiceKind } from "@heddle/service-definition/types";
import { validateMeta } from "@heddle/service-definition/validate";
import type { CheckRecord, NodeRecord } from "../records.ts";

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
