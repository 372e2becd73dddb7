/** `heddle query …`: prepared queries. Consul has these on its HTTP API only. */
import { attempt, command, CommandError } from "../command.ts";
import { readBytes } from "../data.ts";
import { flag } from "../flags.ts";
import { columns, formatJson, parseExact, printJson } from "../output.ts";
import type { Terminal } from "../terminal.ts";

interface PreparedQuery {
  ID: string;
  Name: string;
  Service: { Service: string };
  Template?: { Type?: string };
}

const path = (id: string, action = ""): string => `/v1/query/${encodeURIComponent(id)}${action}`;

function argumentsOf(args: readonly string[], count: number, what: string): string[] {
  if (args.length !== count)
    throw new CommandError(
      `Error: command requires exactly ${count === 1 ? "one argument" : "two arguments"}: ${what}`,
    );
  return [...args];
}

async function readQuery(file: string, terminal: Terminal): Promise<unknown> {
  const bytes = file === "-" ? await terminal.readStdin() : readBytes(file, "Error");
  try {
    return JSON.parse(bytes.toString("utf8")) as unknown;
  } catch (cause) {
    throw new CommandError(`Error: ${file}: ${(cause as Error).message}`, 1, { cause });
  }
}

export const create = command({
  usage: "query create [options] FILE",
  about: "Creates the prepared query of a file (JSON, as the HTTP API has it; - is standard input) and prints its id.",
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, args, flags, terminal }) {
    const [file = ""] = argumentsOf(args, 1, "the file");
    const made = api.post<{ ID: string }>("/v1/query", { body: await readQuery(file, terminal) });
    const { body } = await attempt("Error creating query", made);
    terminal.out(flags.format === "json" ? `${formatJson(body)}\n` : `${body.ID}\n`);
  },
});

export const update = command({
  usage: "query update [options] ID FILE",
  about: "Replaces a prepared query by that of a file (JSON; - is standard input).",
  api: "datacenter",
  async run({ api, args, terminal }) {
    const [id = "", file = ""] = argumentsOf(args, 2, "the query's id and the file");
    await attempt("Error updating query", api.put(path(id), { body: await readQuery(file, terminal) }));
    terminal.out(`Query updated: ${id}\n`);
  },
});

export const remove = command({
  usage: "query delete [options] ID",
  about: "Deletes a prepared query.",
  api: "datacenter",
  async run({ api, args, terminal }) {
    const [id = ""] = argumentsOf(args, 1, "the query's id");
    await attempt("Error deleting query", api.delete(path(id)));
    terminal.out(`Query deleted: ${id}\n`);
  },
});

export const get = command({
  usage: "query get [options] ID",
  about: "Prints a prepared query as JSON.",
  api: "datacenter",
  flags: { format: flag.jsonFormat() },
  async run({ api, args, terminal }) {
    const [id = ""] = argumentsOf(args, 1, "the query's id");
    const { raw } = await attempt("Error reading query", api.get(path(id)));
    const [query] = parseExact(raw.toString("utf8")) as unknown[];
    terminal.out(`${formatJson(query ?? null)}\n`);
  },
});

export const list = command({
  usage: "query list [options]",
  about: "Lists the prepared queries.",
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, flags, terminal }) {
    const { body, raw } = await attempt("Error listing queries", api.get<PreparedQuery[]>("/v1/query"));
    if (flags.format === "json") return printJson(terminal, raw);
    const rows = body.map((q) => [q.ID, q.Name || "-", q.Service.Service, q.Template?.Type || "-"]);
    terminal.out(columns([["ID", "Name", "Service", "Template"], ...rows]));
  },
});

interface Instance {
  Node: { Node: string; Address: string };
  Service: { ID: string; Address: string; Port: number };
}

interface LeftOut {
  Node: string;
  ServiceID: string;
  Reason: string;
}

export const execute = command({
  usage: "query execute [options] ID_OR_NAME",
  about: "Executes a prepared query and lists the instances that it finds.",
  api: "datacenter",
  flags: {
    format: flag.format(),
    limit: flag.integer("At most this many; 0: all.", 0, 1_000_000, 0),
    near: flag.text("Sort by the round-trip time from this node; _agent is the agent's own."),
    connect: flag.boolean("List instances that speak Connect for the service."),
    explain: flag.boolean("List what is left out, too, and why (Heddle's agents know)."),
  },
  async run({ api, args, flags, terminal }) {
    const [id = ""] = argumentsOf(args, 1, "the query's id or name");
    const query = {
      near: flags.near || undefined,
      limit: flags.limit || undefined,
      connect: flags.connect ? "true" : undefined, // Consul takes it without a value for false
      explain: flags.explain || undefined,
    };
    const { body, raw } = await attempt(
      "Error executing query",
      api.get<{ Nodes: Instance[] | null; LeftOut?: LeftOut[] }>(path(id, "/execute"), { query }),
    );
    if (flags.format === "json") return printJson(terminal, raw);
    const rows = (body.Nodes ?? []).map(({ Node, Service }) => [
      Node.Node,
      Service.ID,
      Service.Address || Node.Address,
      String(Service.Port),
    ]);
    terminal.out(columns([["Node", "Instance", "Address", "Port"], ...rows]));
    const leftOut = (body.LeftOut ?? []).map(({ Node, ServiceID, Reason }) => [Node, ServiceID, Reason]);
    if (leftOut.length > 0) terminal.out(`\n${columns([["Node", "Instance", "Left out because"], ...leftOut])}`);
  },
});

export const explainQuery = command({
  usage: "query explain [options] ID_OR_NAME",
  about: "Prints the query that a name would run, with its template filled in, as JSON.",
  api: "datacenter",
  flags: { format: flag.jsonFormat() },
  async run({ api, args, terminal }) {
    const [id = ""] = argumentsOf(args, 1, "the query's id or name");
    printJson(terminal, (await attempt("Error explaining query", api.get(path(id, "/explain")))).raw);
  },
});
