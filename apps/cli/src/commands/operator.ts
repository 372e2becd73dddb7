/** `heddle operator raft list-peers`. */
import { attempt, command } from "../command.ts";
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
    const { body, raw } = await attempt("Error getting peers", answer);
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
