/** /v1/agent about the node itself: who it is, whom it sees, its logs, and its end. */
import { readFileSync } from "node:fs";
import { arch, cpus, freemem, hostname, platform, release, totalmem, uptime } from "node:os";
import { ApiError } from "@heddle/api-client";
import {
  type ApiRequest,
  type ApiTable,
  describeError,
  formatEntry,
  parseLogLevel,
  refusal,
  reply,
  replyEmpty,
  whenDraining,
} from "@heddle/daemon";
import type { AgentDeps } from "../deps.ts";

/** Serf's member states, as numbers of the API. */
const STATUS = { alive: 1, left: 3, failed: 4 } as const;
const MAX_BACKLOG_BYTES = 1024 * 1024; // a monitor that does not read is ended

export function nodeTable(deps: AgentDeps): ApiTable {
  const { config, log } = deps;
  return {
    "/v1/agent/self": { GET: (request) => reply(request, self(deps)) },
    "/v1/agent/members": { GET: (request) => members(deps, request) },
    "/v1/agent/host": { GET: (request) => reply(request, host()) },
    "/v1/agent/monitor": { GET: (request) => monitor(deps, request) },
    "/v1/agent/reload": {
      PUT: async (request) => {
        try {
          await deps.reload();
        } catch (cause) {
          throw refusal(500, describeError(cause), cause);
        }
        replyEmpty(request);
      },
    },
    "/v1/agent/leave": {
      PUT: async (request) => {
        replyEmpty(request);
        await deps.leave();
      },
    },
    "/v1/agent/force-leave/": {
      PUT: async (request) => {
        if (request.rest === "") throw refusal(500, "agent: No node found with name ''");
        const body = { Node: request.rest, Prune: request.query.has("prune") };
        await deps.catalog.put("/v1/internal/force-leave", { body }).catch((cause: unknown) => {
          if (!(cause instanceof ApiError) || cause.status !== 404) throw cause;
          throw refusal(500, `agent: No node found with name '${request.rest}'`);
        });
        log.info("Force leaving node", { node: request.rest });
        replyEmpty(request);
      },
    },
    "/v1/agent/join/": { PUT: (request) => join(deps, request) },
    "/v1/agent/token/": {
      PUT: () => {
        throw refusal(401, "ACL support disabled");
      },
    },
    "/v1/agent/version": {
      GET: (request) =>
        reply(request, { HumanVersion: deps.version, SHA: "", BuildDate: "", FIPS: "", Product: "heddle" }),
    },
    "/v1/agent/metrics": { GET: (request) => metrics(deps, request) },
  };

  function self({ state, version, followed }: AgentDeps) {
    return {
      Config: {
        Datacenter: config.datacenter,
        PrimaryDatacenter: config.primaryDatacenter,
        NodeName: config.nodeName,
        NodeID: config.nodeId,
        Revision: "",
        Server: config.server,
        Version: version,
      },
      DebugConfig: {
        ACLsEnabled: config.acl.enabled,
        ACLDefaultPolicy: followed.rules.value?.defaultAllow === false ? "deny" : "allow",
        Bootstrap: config.bootstrap,
        ConnectEnabled: true,
        DataDir: config.dataDir,
        DevMode: config.devMode,
        // By this Consul's `debug` knows whether there is pprof; ours is under /v1/agent/debug.
        EnableDebug: false,
        EnableNodeProfiles: config.enableDebug,
        GRPCPort: config.ports.grpc,
        Version: version,
      },
      Coord: { Vec: [0, 0, 0, 0, 0, 0, 0, 0], Error: 1.5, Adjustment: 0, Height: 1e-5 },
      Member: memberOf(deps, {
        ...{ Node: config.nodeName, Address: config.advertiseAddr, ID: config.nodeId },
        ...{ Server: config.server, Status: "alive" },
      }),
      Stats: stats(state.services().length, state.checks().length),
      Meta: { "consul-network-segment": "", ...deps.settings().nodeMeta },
      xDS: { SupportedProxies: {} },
    };
  }

  function stats(services: number, checks: number) {
    return {
      agent: {
        check_monitors: "0",
        check_ttls: String(deps.state.checks().filter((c) => c.definition.TTLMs).length),
        checks: String(checks),
        services: String(services),
      },
      build: { prerelease: "", revision: "", version: deps.version },
      consul: {
        acl: "disabled",
        bootstrap: String(config.bootstrap),
        known_datacenters: "1",
        leader: String(config.server),
        leader_addr: `${config.advertiseAddr}:${config.ports.server}`,
        server: String(config.server),
      },
      raft: raftStats(config.server),
      runtime: {
        arch: arch(),
        cpu_count: String(cpus().length),
        goroutines: "0",
        max_procs: String(cpus().length),
        os: platform(),
        version: process.version,
      },
      serf_lan: SERF_STATS,
      ...(config.server && { serf_wan: SERF_STATS }),
    };
  }
}

// There is neither Raft nor Serf here; who reads their figures finds those of a healthy server of its own.
const SERF_STATS = {
  coordinate_resets: "0",
  encrypted: "false",
  event_queue: "0",
  event_time: "1",
  failed: "0",
  health_score: "0",
  intent_queue: "0",
  left: "0",
  member_time: "1",
  members: "1",
  query_queue: "0",
  query_time: "1",
};

function raftStats(isServer: boolean) {
  return {
    applied_index: "0",
    commit_index: "0",
    fsm_pending: "0",
    last_contact: "0",
    last_log_index: "0",
    last_log_term: "0",
    last_snapshot_index: "0",
    last_snapshot_term: "0",
    latest_configuration: "[]",
    latest_configuration_index: "0",
    num_peers: "0",
    protocol_version: "3",
    protocol_version_max: "3",
    protocol_version_min: "0",
    snapshot_version_max: "1",
    snapshot_version_min: "0",
    state: isServer ? "Leader" : "Client",
    term: "0",
  };
}

async function members(deps: AgentDeps, request: ApiRequest): Promise<void> {
  const segment = request.query.get("segment") ?? "";
  if (segment !== "" && segment !== "_all")
    throw refusal(500, "Network segments are not supported in this version of Consul");
  const { body: found } = await deps.catalog.get<Member[]>("/v1/internal/members");
  const isWan = request.query.has("wan");
  reply(
    request,
    found.filter(({ Server }) => Server || !isWan).map((member) => memberOf(deps, member, isWan)),
  );
}

/**
 * There is nothing to join by: an agent belongs to its servers. Scripts ask for it all the same, again and again, so a member of this
 * mesh is joined already; whoever names another address is told how a node gets there.
 */
async function join({ catalog, config }: AgentDeps, request: ApiRequest): Promise<void> {
  const { body: members } = await catalog.get<Member[]>("/v1/internal/members");
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*|.*:.*:.*?))(?::(\d+))?$/.exec(request.rest) ?? [];
  const host = bracketed ?? plain ?? "";
  const { serfLan, serfWan } = config.ports;
  const isPort = port === undefined || Number(port) === serfLan || Number(port) === serfWan;
  const isMember = members.some(({ Node, Address }) => host !== "" && (host === Address || host === Node));
  if (isMember && isPort) return replyEmpty(request);
  throw refusal(
    500,
    `1 error occurred:\n\t* Failed to join ${request.rest}: no member of this mesh has that address. There is no gossip: start the agent with -retry-join=${host || "ADDRESS"} (retry_join), the address of a server\n\n`,
  );
}

/** What the catalog tells of a node whose agent holds, or held, a lease. */
interface Member {
  Node: string;
  ID: string;
  Address: string;
  Server: boolean;
  Status: keyof typeof STATUS;
}

function memberOf({ config, version }: AgentDeps, node: Member, isWan = false) {
  const { ports } = config;
  const isServer = node.Server;
  return {
    Name: isWan ? `${node.Node}.${config.datacenter}` : node.Node,
    Addr: node.Address,
    Port: Math.max(0, isWan ? ports.serfWan : ports.serfLan), // -1, none here, is no port to Go
    Tags: {
      acls: "0",
      build: `${version}:`,
      dc: config.datacenter,
      ...(isServer && { ft_fs: "1" }),
      id: node.ID,
      ...(isServer && { port: String(ports.server), raft_vsn: "3" }),
      role: isServer ? "consul" : "node",
      segment: "",
      vsn: "2",
      vsn_max: "3",
      vsn_min: "2",
      ...(isServer && !isWan && { wan_join_port: String(ports.serfWan) }),
    },
    Status: STATUS[node.Status],
    ProtocolMin: 1,
    ProtocolMax: 5,
    ProtocolCur: 2,
    DelegateMin: 2,
    DelegateMax: 5,
    DelegateCur: 4,
  };
}

function host() {
  const release_ = (() => {
    try {
      return Object.fromEntries(
        readFileSync("/etc/os-release", "utf8")
          .split("\n")
          .flatMap((line) =>
            (/^(\w+)="?(.*?)"?$/.exec(line) ?? []).slice(1, 3).length === 2
              ? [/^(\w+)="?(.*?)"?$/.exec(line)?.slice(1, 3) as [string, string]]
              : [],
          ),
      );
    } catch {
      return {} as Record<string, string>;
    }
  })();
  return {
    Memory: { total: totalmem(), available: freemem(), used: totalmem() - freemem(), free: freemem() },
    CPU: cpus().map((cpu, i) => ({ cpu: i, modelName: cpu.model, mhz: cpu.speed })),
    Host: {
      hostname: hostname(),
      uptime: Math.floor(uptime()),
      os: platform(),
      platform: release_["ID"] ?? "",
      platformVersion: release_["VERSION_ID"] ?? "",
      kernelVersion: release(),
      kernelArch: arch(),
    },
    Disk: {},
    CollectionTime: Date.now() * 1e6,
    Errors: null,
  };
}

async function metrics({ config, telemetry }: AgentDeps, request: ApiRequest): Promise<void> {
  const { query, req, res } = request;
  const accepts = req.headers.accept ?? "";
  const wantsText =
    query.get("format") === "prometheus" ||
    /application\/openmetrics-text|text\/plain;\s*version=0\.0\.4/.test(accepts);
  if (!wantsText) return reply(request, telemetry.display());
  const retentionMs = config.telemetry.prometheusRetentionTimeMs;
  if (retentionMs <= 0) throw refusal(415, "Prometheus is not enabled since its retention time is not positive");
  const { CONTENT_TYPE, formatPrometheus } = await import("../telemetry-prometheus.ts");
  const bytes = Buffer.from(formatPrometheus(telemetry, { now: Date.now(), retentionMs }));
  res.writeHead(200, { "Content-Type": CONTENT_TYPE, "Content-Length": bytes.length });
  res.end(bytes);
}

/** Streams log lines at a level until the caller goes away. */
function monitor({ hub }: AgentDeps, { query, res }: ApiRequest): void {
  const asked = query.get("loglevel") || "info";
  const level = parseLogLevel(asked);
  if (level === undefined) throw refusal(400, `Bad request: Unknown log level: ${asked}`);
  const isJson = query.has("logjson");
  res.writeHead(200, {
    "Content-Type": isJson ? "application/json" : "text/plain",
    "X-Content-Type-Options": "nosniff",
  });
  res.flushHeaders();
  const off = hub.tap(level, (entry) => {
    if (res.writableLength > MAX_BACKLOG_BYTES) return void res.destroy();
    res.write(
      isJson
        ? `${JSON.stringify({ "@timestamp": new Date(entry.time).toISOString(), "@level": entry.level, "@module": entry.component, "@message": entry.sentence, ...entry.fields })}\n`
        : `${formatEntry(entry).trimStart()}\n`,
    );
  });
  res.once("close", off);
  whenDraining(res, () => {
    off();
    res.end();
  });
}
