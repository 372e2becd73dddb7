/** `heddle members` and `heddle info`: what an agent knows of its cluster and of itself. */
import { attempt, command, parseRegExp } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, formatJson, pairs, sortedEntries } from "../output.ts";

const NO_MEMBERS = 2;
const STATUS = ["none", "alive", "leaving", "left", "failed"];
const ROLES: Record<string, string> = { consul: "server", node: "client" };

interface Member {
  Name: string;
  Addr: string;
  Port: number;
  Tags: Record<string, string>;
  Status: number;
}

export const members = command({
  usage: "members [options]",
  about: "Lists the nodes of the cluster, as the agent sees them. Exit status 2 where none is left to list.",
  api: "agent",
  flags: {
    detailed: flag.boolean("Print every tag of the nodes."),
    format: flag.format(),
    segment: flag.text("Only the nodes of this network segment."),
    status: flag.text("Only nodes whose status matches this regular expression.", ".*"),
    wan: flag.boolean("The servers of all datacenters."),
  },
  async run({ api, flags, terminal }) {
    const wanted = parseRegExp(flags.status, "Failed to compile status regexp");
    const query = { segment: flags.segment || "_all", wan: flags.wan ? "1" : undefined };
    const { body } = await attempt(
      "Error retrieving members",
      api.get<Member[] | null>("/v1/agent/members", { query }),
    );
    const found = (body ?? []).filter((member) => wanted.test(STATUS[member.Status] ?? "unknown"));
    if (found.length === 0) return NO_MEMBERS;
    found.sort((a, b) => (a.Name < b.Name ? -1 : 1));
    if (flags.format === "json") return terminal.out(`${formatJson(found)}\n`);
    const head = flags.detailed ? ["Tags"] : ["Type", "Build", "Protocol", "DC", "Segment"];
    const rows = found.map((member) => [
      member.Name,
      address(member),
      STATUS[member.Status] ?? "unknown",
      ...(flags.detailed ? [pairs(member.Tags, ",")] : facts(member)),
    ]);
    terminal.out(columns([["Node", "Address", "Status", ...head], ...rows]));
  },
});

const address = ({ Addr, Port }: Member): string => `${Addr.includes(":") ? `[${Addr}]` : Addr}:${Port}`;

function facts({ Tags }: Member): string[] {
  const type = ROLES[Tags.role ?? ""] ?? "unknown";
  const segment = Tags.segment || (type === "server" ? "<all>" : "<default>");
  return [type, Tags.build?.split(":")[0] || "unknown", Tags.vsn || "unknown", Tags.dc || "unknown", segment];
}

export const info = command({
  usage: "info [options]",
  about: "Prints the figures of an agent, by section.",
  api: "agent",
  flags: { format: flag.format() },
  async run({ api, flags, terminal }) {
    type Self = { Stats?: Record<string, Record<string, unknown>> };
    const { body } = await attempt("Error querying agent", api.get<Self>("/v1/agent/self"));
    const stats = body.Stats ?? {};
    if (flags.format === "json") return terminal.out(`${formatJson(stats)}\n`);
    for (const [section, values] of sortedEntries(stats)) {
      terminal.out(`${section}:\n`);
      for (const [key, value] of sortedEntries(values)) terminal.out(`\t${key} = ${String(value)}\n`);
    }
  },
});
