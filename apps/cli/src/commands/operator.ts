/** `heddle operator raft list-peers|remove-peer` and `operator autopilot get-config|set-config`. */
import { attempt, command, CommandError, refuseExtra } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, printJson } from "../output.ts";

interface RaftServer {
  ID: string;
  Node: string;
  Address: string;
  Leader: boolean;
  Voter: boolean;
  ProtocolVersion: string;
}

export const listPeers = command({
  usage: "operator raft list-peers [options]",
  about: "Lists the servers that hold the state, and which of them leads.",
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, flags, terminal }) {
    const answer = api.get<{ Servers: RaftServer[] | null }>("/v1/operator/raft/configuration");
    const { body, raw } = await attempt("Error getting peers: Failed to retrieve raft configuration", answer);
    if (flags.format === "json") return printJson(terminal, raw);
    const rows = (body.Servers ?? []).map((s) => [
      s.Node || "(unknown)",
      s.ID,
      s.Address,
      s.Leader ? "leader" : "follower",
      String(s.Voter),
      s.ProtocolVersion || "<=1",
    ]);
    terminal.out(columns([["Node", "ID", "Address", "State", "Voter", "RaftProtocol"], ...rows]));
  },
});

export const removePeer = command({
  usage: "operator raft remove-peer [options]",
  about: "Removes a server that is gone for good from those that hold the state.",
  api: "datacenter",
  flags: { address: flag.text("Its address."), id: flag.text("Its id.") },
  async run({ api, flags, terminal }) {
    const { address, id } = flags;
    if (!address && !id)
      throw new CommandError("Error removing peer: an address or id is required for the peer to remove");
    if (address && id) throw new CommandError("Error removing peer: cannot give both an address and id");
    await attempt(
      "Error removing peer",
      api.delete("/v1/operator/raft/peer", { query: { address: address || undefined, id: id || undefined } }),
    );
    terminal.out(`Removed peer with ${address ? "address" : "id"} "${address || id}"\n`);
  },
});

type Autopilot = Record<string, unknown>;
const AUTOPILOT_PATH = "/v1/operator/autopilot/configuration";
const AUTOPILOT_KEYS = [
  "CleanupDeadServers",
  "LastContactThreshold",
  "MaxTrailingLogs",
  "MinQuorum",
  "ServerStabilizationTime",
  "RedundancyZoneTag",
  "DisableUpgradeMigration",
  "UpgradeVersionTag",
];

export const getAutopilot = command({
  usage: "operator autopilot get-config [options]",
  about: "Prints how the servers look after themselves.",
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, flags, terminal }) {
    const { body, raw } = await attempt("Error querying Autopilot configuration", api.get<Autopilot>(AUTOPILOT_PATH));
    if (flags.format === "json") return printJson(terminal, raw);
    for (const key of AUTOPILOT_KEYS) {
      const value = body[key] ?? "";
      terminal.out(`${key} = ${key.endsWith("Tag") ? JSON.stringify(value) : String(value as number | string)}\n`);
    }
  },
});

const anyInteger = (help: string) => flag.integer(help, 0, Number.MAX_SAFE_INTEGER, 0);

export const setAutopilot = command({
  usage: "operator autopilot set-config [options]",
  about: "Changes how the servers look after themselves; what is not given stays.",
  api: "datacenter",
  flags: {
    cleanupDeadServers: flag.boolean("Remove dead servers when new ones have joined."),
    disableUpgradeMigration: flag.boolean("Kept; there is nothing that it would change."),
    lastContactThreshold: flag.text("How long a server may be without its leader."),
    maxTrailingLogs: anyInteger("How far a server may be behind its leader."),
    minQuorum: anyInteger("How many servers must stay before dead ones are removed."),
    redundancyZoneTag: flag.text("Kept; there is nothing that it would change."),
    serverStabilizationTime: flag.text("How long a new server must be healthy before it counts."),
    upgradeVersionTag: flag.text("Kept; there is nothing that it would change."),
  },
  async run({ api, args, flags, seen, terminal }) {
    refuseExtra(args, 0); // "-cleanup-dead-servers false" would set it to true: a boolean takes no next word
    const { body } = await attempt("Error querying Autopilot configuration", api.get<Autopilot>(AUTOPILOT_PATH));
    const given = Object.entries(flags).filter(([key]) => AUTOPILOT_KEYS.includes(pascal(key)) && seen.has(key));
    const changed = given.map(([key, value]) => [pascal(key), value]);
    const config = { ...body, ...(Object.fromEntries(changed) as Autopilot) };
    const answer = await attempt(
      "Error setting Autopilot configuration",
      api.put(AUTOPILOT_PATH, { query: { cas: String(body.ModifyIndex as number) }, body: config }),
    );
    if (answer.body !== true) throw new CommandError("Configuration could not be atomically updated, please try again");
    terminal.out("Configuration updated!\n");
  },
});

const pascal = (key: string): string => key[0]?.toUpperCase() + key.slice(1);
