/** `heddle intention check|get|list|match`. */
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, formatJson, printJson, sortedEntries } from "../output.ts";
import { actionOf, describeIntention, findIntention, type Intention, target } from "./intention.ts";

const CHECK_FAILED = 2; // 1 is an answer: denied

export const check = command({
  usage: "intention check [options] SRC DST",
  about:
    "Says whether SRC may connect to DST: exit status 0 and Allowed, 1 and Denied, or 2 where it cannot be known.\n\n    $ heddle intention check web db",
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, args, flags, terminal }) {
    const [source, destination] = args;
    if (args.length !== 2)
      throw new CommandError("Error: command requires exactly two arguments: src and dst", CHECK_FAILED);
    const query = { source, destination, "source-type": "consul" };
    const answer = api.get<{ Allowed: boolean }>("/v1/connect/intentions/check", { query });
    const { body, raw } = await attempt("Error checking the connection", answer, CHECK_FAILED);
    if (flags.format === "json") printJson(terminal, raw);
    else terminal.out(body.Allowed ? "Allowed\n" : "Denied\n");
    return body.Allowed ? 0 : 1;
  },
});

export const get = command({
  usage: "intention get [options] SRC DST\nintention get [options] ID",
  about: "Shows an intention, found by its source and destination or by its id.\n\n    $ heddle intention get web db",
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, args, flags, terminal }) {
    const intention = await findIntention(api, args);
    if (flags.format === "json") return terminal.out(`${formatJson(intention)}\n`);
    const rows = [
      ["Source:", target(intention.SourceNS, intention.SourceName)],
      ["Destination:", target(intention.DestinationNS, intention.DestinationName)],
      ["Action:", actionOf(intention)],
      ["ID:", intention.ID ?? ""],
      ...(intention.Description ? [["Description:", intention.Description]] : []),
      ...sortedEntries(intention.Meta).map(([key, value]) => [`Meta[${key}]:`, value]),
      ["Created At:", formatDate(intention.CreatedAt ?? "")],
    ];
    terminal.out(columns(rows));
  },
});

/** RFC 850, as Consul prints it: "Sunday, 22-Nov-26 17:31:47 UTC". */
function formatDate(text: string): string {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return text;
  const [, day, month, year, time] = /^\w+, (\d+) (\w+) \d\d(\d\d) ([\d:]+)/.exec(date.toUTCString()) ?? [];
  return `${date.toLocaleDateString("en-US", { weekday: "long", timeZone: "UTC" })}, ${day}-${month}-${year} ${time} UTC`;
}

export const list = command({
  usage: "intention list [options]",
  about: "Lists all intentions, the one that is looked at first at the top.",
  api: "datacenter",
  flags: { filter: flag.text("Filter expression that the agent applies."), format: flag.format() },
  async run({ api, flags, terminal }) {
    const answer = api.get<Intention[] | null>("/v1/connect/intentions", {
      query: { filter: flags.filter || undefined },
    });
    const { body, raw } = await attempt("Error listing intentions", answer);
    if (flags.format === "json") return printJson(terminal, raw);
    if (!body?.length) return terminal.err("There are no intentions.\n");
    const rows = body.map((i) => [
      i.ID ?? "",
      target(i.SourceNS, i.SourceName),
      actionOf(i),
      target(i.DestinationNS, i.DestinationName),
      String(i.Precedence ?? ""),
    ]);
    terminal.out(columns([["ID", "Source", "Action", "Destination", "Precedence"], ...rows]));
  },
});

export const match = command({
  usage: "intention match [options] SRC|DST",
  about:
    "Lists the intentions that hold for a destination (or with -source for a source), first match first.\n\n    $ heddle intention match db\n    $ heddle intention match -source web",
  api: "datacenter",
  flags: {
    destination: flag.boolean("The argument is a destination; the default."),
    format: flag.format(),
    source: flag.boolean("The argument is a source."),
  },
  async run({ api, args, flags, terminal }) {
    if (args.length !== 1) throw new CommandError("Error: command requires exactly one argument: src or dst");
    if (flags.source && flags.destination)
      throw new CommandError("Error: only one of -source or -destination may be specified");
    const query = { by: flags.source ? "source" : "destination", name: args[0] };
    const answer = api.get<Record<string, Intention[] | null>>("/v1/connect/intentions/match", { query });
    const { body, raw } = await attempt("Error matching the connection", answer);
    if (flags.format === "json") return printJson(terminal, raw);
    for (const intention of Object.values(body).flatMap((found) => found ?? []))
      terminal.out(`${describeIntention(intention)}\n`);
  },
});
