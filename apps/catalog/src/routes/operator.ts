/**
 * /v1/operator: what runs the servers. There is no Raft and no gossip here: the answers describe what there is instead, one
 * server or several on etcd, in the shapes that Consul's tools read.
 */
import {
  type ApiRequest,
  type ApiTable,
  decodeObject,
  describeError,
  formatDuration,
  parseBody,
  parseDuration,
  readBody,
  refusal,
  reply,
  type Spec,
} from "@heddle/daemon";
import type { CatalogDeps } from "../deps.ts";
import { AUTOPILOT } from "../records.ts";

const MAX_BODY = 64 * 1024;
const KEY = "configuration";

interface AutopilotRecord {
  CleanupDeadServers: boolean;
  LastContactThreshold: string;
  MaxTrailingLogs: number;
  MinQuorum: number;
  ServerStabilizationTime: string;
  RedundancyZoneTag: string;
  DisableUpgradeMigration: boolean;
  UpgradeVersionTag: string;
}

export const AUTOPILOT_FIELDS: Record<string, Spec> = {
  CleanupDeadServers: "boolean",
  LastContactThreshold: "duration",
  MaxTrailingLogs: "uint64",
  MinQuorum: "uint64",
  ServerStabilizationTime: "duration",
  RedundancyZoneTag: "string",
  DisableUpgradeMigration: "boolean",
  UpgradeVersionTag: "string",
  CreateIndex: "integer",
  ModifyIndex: "integer",
};

const DEFAULT_AUTOPILOT: AutopilotRecord = {
  CleanupDeadServers: true,
  LastContactThreshold: "200ms",
  MaxTrailingLogs: 250,
  MinQuorum: 0,
  ServerStabilizationTime: "10s",
  RedundancyZoneTag: "",
  DisableUpgradeMigration: false,
  UpgradeVersionTag: "",
};

export function operatorTable(deps: CatalogDeps): ApiTable {
  const startedAt = new Date().toISOString();
  // What datacenters tell each other of their gateways: there is one, and it has told itself nothing.
  const federation = () => ({
    Datacenter: deps.datacenter,
    UpdatedAt: startedAt,
    PrimaryModifyIndex: 1,
    CreateIndex: 1,
    ModifyIndex: 1,
  });
  return {
    "/v1/operator/raft/configuration": {
      GET: (request) => reply(request, { Servers: raftServers(deps), Index: 0 }),
    },
    "/v1/internal/federation-states": { GET: (request) => reply(request, [federation()], READ_HEADERS) },
    "/v1/internal/federation-states/mesh-gateways": { GET: (request) => reply(request, {}, READ_HEADERS) },
    "/v1/internal/federation-state/": {
      GET: (request) => {
        if (request.rest === "") throw refusal(400, "Bad request: Missing datacenter name");
        if (request.rest !== deps.datacenter) throw refusal(404, "");
        const meta = { Index: 1, LastContact: 0, KnownLeader: true, ConsistencyLevel: "" };
        reply(request, { State: federation(), ...meta }, READ_HEADERS);
      },
    },
    "/v1/operator/raft/peer": { DELETE: ({ query }) => refusePeer(query) },
    "/v1/operator/autopilot/configuration": {
      GET: (request) => reply(request, autopilot(deps)),
      PUT: async (request) => reply(request, await setAutopilot(deps, request)),
    },
    "/v1/operator/autopilot/health": {
      GET: async (request) => reply(request, await serverHealth(deps)),
    },
    "/v1/operator/keyring": {
      GET: (request) => keyring(deps, request, "Keyring is empty"),
      POST: (request) => keyring(deps, request, "No keyring to modify"),
      PUT: (request) => keyring(deps, request, "No keyring to modify"),
      DELETE: (request) => keyring(deps, request, "No keyring to modify"),
    },
  };
}

const nodeIdOf = ({ state }: CatalogDeps, name: string): string => state.node(name)?.value.ID ?? "";

function raftServers(deps: CatalogDeps) {
  const leader = deps.cluster.leader()?.id;
  return deps.cluster.servers().map(({ id, name, address }) => ({
    ...{ ID: nodeIdOf(deps, name) || id, Node: name, Address: address, Leader: id === leader },
    ...{ ProtocolVersion: "3", Voter: true },
  }));
}

/** A server is listed while its lease lives. What of etcd's members may still be lost counts like servers of Raft. */
async function serverHealth(deps: CatalogDeps) {
  const { cluster, state } = deps;
  const { lastContactMs, knowsLeader } = state.store.contact();
  const { isHealthy, tolerance } = await cluster.quorum();
  const servers = cluster.servers();
  return {
    Healthy: isHealthy && knowsLeader,
    FailureTolerance: Math.min(servers.length - 1, tolerance),
    Servers: servers.map(({ id, name, address, version, startedAt }) => {
      const isSelf = id === cluster.self.id;
      return {
        ...{ ID: nodeIdOf(deps, name) || id, Name: name, Address: address, SerfStatus: "alive" },
        Version: version || (state.instances("consul")[0]?.value.Service.Meta?.["version"] ?? ""),
        Leader: cluster.leader()?.id === id,
        // Of the others no more is known than that they live: their leases say so.
        LastContact: isSelf ? formatDuration(lastContactMs) : formatDuration(cluster.maxSilenceMs),
        ...{ LastTerm: 1, LastIndex: Math.max(1, state.store.revision) },
        ...{ Healthy: !isSelf || knowsLeader, Voter: true, StableSince: new Date(startedAt).toISOString() },
      };
    }),
  };
}

/** A server is one of them by its lease: nobody can be taken away. */

const READ_HEADERS = { "X-Consul-Index": 1, "X-Consul-KnownLeader": "true", "X-Consul-LastContact": 0 };

function refusePeer(query: URLSearchParams): never {
  const id = query.get("id") ?? "";
  const address = query.get("address") ?? "";
  if (id === "" && address === "")
    throw refusal(
      400,
      "Bad request: Must specify either ?id with the server's ID or ?address with IP:port of peer to remove",
    );
  if (id !== "" && address !== "") throw refusal(400, "Bad request: Must specify only one of ?id or ?address");
  const [what, value] = id === "" ? ["address", address] : ["id", id];
  throw refusal(500, `${what} ${JSON.stringify(value)} was not found in the Raft configuration`);
}

function autopilot({ state }: CatalogDeps) {
  const stored = state.store.get<AutopilotRecord>(AUTOPILOT, KEY);
  return {
    ...(stored?.value ?? DEFAULT_AUTOPILOT),
    CreateIndex: stored?.createIndex ?? 1,
    ModifyIndex: stored?.modifyIndex ?? 1,
  };
}

/** Kept and shown; false where `cas` is of another version. */
async function setAutopilot(deps: CatalogDeps, { req, query }: ApiRequest): Promise<boolean> {
  const bytes = await readBody(req, MAX_BODY);
  const value = (() => {
    try {
      return toAutopilot(bytes);
    } catch (cause) {
      const why = describeError(cause).replace("Request decode failed: ", "");
      throw refusal(400, `Bad request: Error parsing autopilot config: ${why}`, cause);
    }
  })();
  const cas = query.get("cas");
  if (cas !== null && !/^\d{1,20}$/.test(cas))
    throw refusal(
      400,
      `Bad request: Error parsing cas value: strconv.ParseUint: parsing ${JSON.stringify(cas)}: invalid syntax`,
    );
  const { result } = await deps.state.store.run((view) => {
    const now = view.get(AUTOPILOT, KEY)?.modifyIndex ?? 1;
    if (cas !== null && BigInt(cas) !== BigInt(now)) return { writes: [], result: false };
    return { writes: [{ table: AUTOPILOT, key: KEY, value }], result: true };
  });
  return result;
}

function toMs(duration: string): number {
  try {
    return parseDuration(duration);
  } catch {
    throw refusal(400, `time: invalid duration ${JSON.stringify(duration)}`);
  }
}

function toAutopilot(bytes: Buffer): AutopilotRecord {
  const body = decodeObject(parseBody(bytes), AUTOPILOT_FIELDS);
  // Go counts bare numbers in whole nanoseconds, and takes no empty text for a duration.
  const duration = (value: unknown): string =>
    formatDuration(typeof value === "string" ? toMs(value) : Math.trunc(Number(value ?? 0)) / 1e6);
  return {
    CleanupDeadServers: body["CleanupDeadServers"] === true,
    LastContactThreshold: duration(body["LastContactThreshold"]),
    MaxTrailingLogs: Number(body["MaxTrailingLogs"] ?? 0),
    MinQuorum: Number(body["MinQuorum"] ?? 0),
    ServerStabilizationTime: duration(body["ServerStabilizationTime"]),
    RedundancyZoneTag: (body["RedundancyZoneTag"] as string | undefined) ?? "",
    DisableUpgradeMigration: body["DisableUpgradeMigration"] === true,
    UpgradeVersionTag: (body["UpgradeVersionTag"] as string | undefined) ?? "",
  };
}

/** Every node reports that there is no gossip whose keys could be kept. */
async function keyring({ nodeName, datacenter }: CatalogDeps, request: ApiRequest, problem: string): Promise<void> {
  const factor = request.query.get("relay-factor") ?? "";
  if (factor !== "") {
    if (!/^[+-]?\d+$/.test(factor))
      throw refusal(
        400,
        `Bad request: Error parsing relay factor: strconv.Atoi: parsing ${JSON.stringify(factor)}: invalid syntax`,
      );
    if (Number(factor) < 0 || Number(factor) > 5)
      throw refusal(400, "Bad request: Invalid relay-factor: Relay factor must be in range: [0, 5]");
  }
  if (request.method !== "GET") {
    const at = badBase64(await readKey(request));
    if (at >= 0) {
      const why = `illegal base64 data at input byte ${at}`;
      throw problems([`WAN error: ${why}`, `${datacenter} (LAN) error: ${why}`]);
    }
  }
  const wide = [
    "WAN error: 1/1 nodes reported failure",
    `${nodeName}.${datacenter}: ${problem} (encryption not enabled)`,
  ];
  const isLocal = request.method === "GET" && /^(?:1|t|true)$/i.test(request.query.get("local-only") ?? "");
  throw problems([
    ...(isLocal ? [] : wide),
    `${datacenter} (LAN) error: 1/1 nodes reported failure`,
    `${nodeName}: ${problem} (encryption not enabled)`,
  ]);
}

async function readKey({ req }: ApiRequest): Promise<string> {
  const bytes = await readBody(req, MAX_BODY);
  try {
    return (decodeObject(parseBody(bytes), { Key: "string" }).Key as string | undefined) ?? "";
  } catch (cause) {
    throw refusal(400, `Bad request: ${describeError(cause)}`, cause);
  }
}

const problems = (lines: string[]) =>
  refusal(500, `${lines.length} errors occurred:\n${lines.map((line) => `\t* ${line}\n`).join("")}\n`);

/** Where Go's decoder stops, or -1. */
function badBase64(text: string): number {
  const bad = /[^A-Za-z0-9+/]/.exec(text.replace(/={0,2}$/, ""));
  if (bad) return bad.index;
  return text.length % 4 === 0 ? -1 : text.length - (text.length % 4);
}
