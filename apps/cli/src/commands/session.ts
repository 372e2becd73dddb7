/** `heddle session create|destroy|info|list|renew`: what locks are held by. Consul has these on its HTTP API only. */
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, formatJson, printJson } from "../output.ts";

interface Session {
  ID: string;
  Name: string;
  Node: string;
  LockDelay: number;
  Behavior: string;
  TTL: string;
}

const path = (action: string, id: string): string => `/v1/session/${action}/${encodeURIComponent(id)}`;

function oneId(args: readonly string[]): string {
  if (args.length !== 1) throw new CommandError("Error: command requires exactly one argument: the session's id");
  return args[0] as string;
}

export const create = command({
  usage: "session create [options]",
  about: "Creates a session and prints its id.\n\n    $ heddle session create -name=backup -ttl=30s",
  api: "datacenter",
  flags: {
    behavior: flag.text("What becomes of its keys when it ends: release or delete.", "release"),
    format: flag.format(),
    lockDelay: flag.text("How long its locks stay refused to others after it was invalidated.", "15s"),
    name: flag.text("Name of the session."),
    node: flag.text("Node that it depends on; the agent's own by default."),
    ttl: flag.text("Ends unless renewed within this time, 10s to 24h; empty: never."),
  },
  async run({ api, flags, terminal }) {
    const { behavior, lockDelay, name, node, ttl } = flags;
    const body = {
      Behavior: behavior,
      LockDelay: lockDelay,
      ...(name && { Name: name }),
      ...(node && { Node: node }),
      ...(ttl && { TTL: ttl }),
    };
    const { body: made } = await attempt(
      "Error creating session",
      api.put<{ ID: string }>("/v1/session/create", { body }),
    );
    terminal.out(flags.format === "json" ? `${formatJson(made)}\n` : `${made.ID}\n`);
  },
});

export const destroy = command({
  usage: "session destroy [options] ID",
  about: "Ends a session; its locks are released (or its keys deleted, as it was created).",
  api: "datacenter",
  async run({ api, args, terminal }) {
    const id = oneId(args);
    await attempt("Error destroying session", api.put(path("destroy", id)));
    terminal.out(`Session destroyed: ${id}\n`);
  },
});

export const info = command({
  usage: "session info [options] ID",
  about: "Prints a session as JSON.",
  api: "datacenter",
  flags: { format: flag.jsonFormat() },
  async run({ api, args, terminal }) {
    const id = oneId(args);
    const { body } = await attempt("Error reading session", api.get<Session[]>(path("info", id)));
    if (body.length === 0) throw new CommandError(`Error: Session "${id}" not found.`);
    terminal.out(`${formatJson(body[0])}\n`);
  },
});

export const list = command({
  usage: "session list [options]",
  about: "Lists the sessions.",
  api: "datacenter",
  flags: { format: flag.format(), node: flag.text("Only those of this node.") },
  async run({ api, flags, terminal }) {
    const answer = api.get<Session[]>(flags.node ? path("node", flags.node) : "/v1/session/list");
    const { body, raw } = await attempt("Error listing sessions", answer);
    if (flags.format === "json") return printJson(terminal, raw);
    const rows = body.map((s) => [s.ID, s.Name || "-", s.Node, s.TTL || "-", s.Behavior]);
    terminal.out(columns([["ID", "Name", "Node", "TTL", "Behavior"], ...rows]));
  },
});

export const renew = command({
  usage: "session renew [options] ID",
  about: "Renews a session that has a TTL.",
  api: "datacenter",
  async run({ api, args, terminal }) {
    const id = oneId(args);
    await attempt("Error renewing session", api.put(path("renew", id)));
    terminal.out(`Session renewed: ${id}\n`);
  },
});
