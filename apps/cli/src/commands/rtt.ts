/** `heddle rtt`: the round-trip time between two nodes, estimated from their network coordinates (Vivaldi, as in Consul). */
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { formatJson } from "../output.ts";

interface Coordinate {
  Vec: number[];
  Error: number;
  Adjustment: number;
  Height: number;
}

interface NodeCoordinate {
  Node: string;
  Coord: Coordinate;
}

export const rtt = command({
  usage: "rtt [options] NODE1 [NODE2]",
  about:
    "Estimates the round-trip time between two nodes, by their network coordinates; without NODE2 from the agent's own.\nWith -wan, nodes are servers named <node>.<datacenter>.\n\n    $ heddle rtt web-1 db-1",
  api: "agent",
  flags: { format: flag.format(), wan: flag.boolean("Between servers of different datacenters.") },
  async run({ api, args, flags, terminal }) {
    if (args.length < 1 || args.length > 2)
      throw new CommandError("One or two node names must be specified\nSee 'heddle rtt --help'.");
    if (flags.wan && args.some((name) => !name.includes(".")))
      throw new CommandError("Node names must be specified as <node name>.<datacenter> with -wan");
    const self = async (): Promise<string> => {
      type Self = { Config: { NodeName: string; Datacenter: string } };
      const { Config } = (await attempt("Error querying agent", api.get<Self>("/v1/agent/self"))).body;
      return flags.wan ? `${Config.NodeName}.${Config.Datacenter}` : Config.NodeName;
    };
    const names = [args[0] as string, args[1] ?? (await self())] as const;
    const known = await attempt("Error getting coordinates", flags.wan ? wide() : local());
    const [a, b] = names.map((name) => {
      const found = known.get(name);
      if (!found) throw new CommandError(`Could not find a coordinate for node "${name}"`);
      return found;
    }) as [Coordinate, Coordinate];
    const seconds = distance(a, b);
    if (flags.format === "json")
      return terminal.out(
        `${formatJson({ Nodes: names, Seconds: seconds, Coordinates: flags.wan ? "WAN" : "LAN" })}\n`,
      );
    terminal.out(
      `Estimated ${names[0]} <-> ${names[1]} rtt: ${(seconds * 1000).toFixed(3)} ms (using ${flags.wan ? "WAN" : "LAN"} coordinates)\n`,
    );

    async function local(): Promise<Map<string, Coordinate>> {
      const { body } = await api.get<NodeCoordinate[]>("/v1/coordinate/nodes");
      return new Map(body.map(({ Node, Coord }) => [Node, Coord]));
    }
    async function wide(): Promise<Map<string, Coordinate>> {
      const { body } =
        await api.get<{ Datacenter: string; Coordinates: NodeCoordinate[] }[]>("/v1/coordinate/datacenters");
      return new Map(
        body.flatMap(({ Datacenter, Coordinates }) =>
          Coordinates.map(({ Node, Coord }) => [`${Node}.${Datacenter}`, Coord]),
        ),
      );
    }
  },
});

/** Seconds. */
export function distance(a: Coordinate, b: Coordinate): number {
  const plain = Math.hypot(...a.Vec.map((x, i) => x - (b.Vec[i] ?? 0))) + a.Height + b.Height;
  const adjusted = plain + a.Adjustment + b.Adjustment;
  return adjusted > 0 ? adjusted : plain;
}
