/** `heddle catalog services|nodes|datacenters`. */
import type { Query } from "@heddle/api-client";
import { attempt, command, CommandError, refuseExtra } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, formatJson, pairs, printJson } from "../output.ts";

const SHORT_ID = 8;
const nodeMetaFlag = () => flag.pairs("Only of nodes that have this metadata.");
const nodeMeta = (meta: Record<string, string>): string[] =>
  Object.entries(meta).map(([key, value]) => `${key}:${value}`);

export const services = command({
  usage: "catalog services [options]",
  about:
    "Lists the services of the datacenter by name.\n\n    $ heddle catalog services -tags\n    $ heddle catalog services -node=web-1",
  api: "datacenter",
  hasNamespace: true,
  flags: {
    filter: flag.text("Filter expression that the agent applies."),
    format: flag.format(),
    node: flag.text("Only the services of this node, by name or id."),
    nodeMeta: nodeMetaFlag(),
    tags: flag.boolean("Print each service's tags beside it."),
  },
  async run({ api, args, flags, terminal }) {
    refuseExtra(args, 0);
    const query: Query = { "node-meta": nodeMeta(flags.nodeMeta), filter: flags.filter || undefined };
    const tags = await attempt("Error listing services", flags.node ? ofNode() : ofDatacenter());
    if (flags.format === "json") return terminal.out(`${formatJson(Object.fromEntries(tags))}\n`);
    if (tags.size === 0) return terminal.err("No services match the given query - try expanding your search.\n");
    const rows = [...tags]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, list]) => (flags.tags ? [name, [...list].sort().join(",")] : [name]));
    terminal.out(columns(rows, "      "));

    async function ofDatacenter(): Promise<Map<string, string[]>> {
      return new Map(Object.entries((await api.get<Record<string, string[]>>("/v1/catalog/services", { query })).body));
    }
    async function ofNode(): Promise<Map<string, string[]>> {
      type NodeServices = { Services: Record<string, { Service: string; Tags: string[] | null }> } | null;
      const { body } = await api.get<NodeServices>(`/v1/catalog/node/${encodeURIComponent(flags.node)}`, {
        query,
        allow: [404],
      });
      const found = new Map<string, string[]>();
      for (const { Service, Tags } of Object.values(body?.Services ?? {}))
        found.set(Service, [...new Set([...(found.get(Service) ?? []), ...(Tags ?? [])])]);
      return found;
    }
  },
});

interface CatalogNode {
  ID: string;
  Node: string;
  Address: string;
  Datacenter: string;
  TaggedAddresses: Record<string, string> | null;
  Meta?: Record<string, string> | null;
  NodeMeta?: Record<string, string> | null;
}

export const nodes = command({
  usage: "catalog nodes [options]",
  about:
    "Lists the nodes of the datacenter.\n\n    $ heddle catalog nodes -detailed\n    $ heddle catalog nodes -service=web",
  api: "datacenter",
  flags: {
    detailed: flag.boolean("Print whole ids, tagged addresses and metadata."),
    filter: flag.text("Filter expression that the agent applies."),
    format: flag.format(),
    near: flag.text("Sort by the round-trip time from this node; _agent is the agent's own."),
    nodeMeta: nodeMetaFlag(),
    service: flag.text("Only nodes that have this service."),
  },
  async run({ api, args, flags, terminal }) {
    refuseExtra(args, 0);
    const path = flags.service ? `/v1/catalog/service/${encodeURIComponent(flags.service)}` : "/v1/catalog/nodes";
    const query: Query = {
      "node-meta": nodeMeta(flags.nodeMeta),
      near: flags.near || undefined,
      filter: flags.filter || undefined,
    };
    const { body, raw } = await attempt("Error listing nodes", api.get<CatalogNode[] | null>(path, { query }));
    if (flags.format === "json") return printJson(terminal, raw);
    const unique = [...new Map((body ?? []).map((node) => [node.Node, node])).values()];
    if (unique.length === 0) return terminal.err("No nodes match the given query - try expanding your search.\n");
    const head = ["Node", "ID", "Address", "DC", ...(flags.detailed ? ["TaggedAddresses", "Meta"] : [])];
    const rows = unique.map((node) => [
      node.Node,
      flags.detailed ? node.ID : node.ID.slice(0, SHORT_ID),
      node.Address,
      node.Datacenter,
      ...(flags.detailed ? [pairs(node.TaggedAddresses), pairs(node.Meta ?? node.NodeMeta)] : []),
    ]);
    terminal.out(columns([head, ...rows]));
  },
});

export const datacenters = command({
  usage: "catalog datacenters [options]",
  about: "Lists the known datacenters, nearest first.",
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, args, flags, terminal }) {
    refuseExtra(args, 0);
    const { body, raw } = await attempt("Error listing datacenters", api.get<string[]>("/v1/catalog/datacenters"));
    if (body.length === 0) throw new CommandError("The agent knows no datacenter");
    if (flags.format === "json") printJson(terminal, raw);
    else terminal.out(columns(body.map((name) => [name])));
  },
});
