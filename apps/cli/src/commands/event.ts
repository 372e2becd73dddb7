/** `heddle event`: a user event to all nodes, or to those that the filters pick. */
import { attempt, command, CommandError, parseRegExp } from "../command.ts";
import { flag } from "../flags.ts";
import { formatJson } from "../output.ts";

export const event = command({
  usage: "event [options] [PAYLOAD]",
  about: "Fires a user event across the datacenter.\n\n    $ heddle event -name=deploy 1.4.2",
  api: "datacenter",
  argumentsAreData: true,
  flags: {
    format: flag.format(),
    name: flag.text("Name of the event."),
    node: flag.text("Regular expression of the nodes that it is for."),
    service: flag.text("Regular expression of the services that it is for."),
    tag: flag.text("Regular expression of the tags that it is for; needs -service."),
  },
  async run({ api, args, flags, terminal }) {
    const { name, node, service, tag } = flags;
    if (name === "") throw new CommandError("Event name must be specified\nSee 'heddle event --help'.");
    if (args.length > 1) throw new CommandError("Too many command line arguments.\nSee 'heddle event --help'.");
    for (const [what, text] of Object.entries({ node, service, tag }))
      parseRegExp(text, `Failed to compile ${what} filter regexp`);
    if (tag && !service) throw new CommandError("Cannot provide tag filter without service filter.");
    const query = { node: node || undefined, service: service || undefined, tag: tag || undefined };
    const fired = api.put<{ ID: string }>(`/v1/event/fire/${encodeURIComponent(name)}`, { query, body: args[0] ?? "" });
    const { body } = await attempt("Error firing event", fired);
    terminal.out(flags.format === "json" ? `${formatJson(body)}\n` : `Event ID: ${body.ID}\n`);
  },
});
