/** `heddle import consul URL`: brings what a running Consul holds, and with -watch follows it until everybody has moved. */
import { type ApiClient, createApiClient } from "@heddle/api-client";
import { describeError } from "@heddle/daemon";
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import type { Terminal } from "../terminal.ts";
import { AREAS, type Area } from "../import/areas.ts";
import { bring } from "../import/bring.ts";

export const consul = command({
  usage: "import consul [options] URL",
  about: `Reads nodes, services, checks, keys, intentions, config entries and prepared
queries from a running Consul and writes them here. Nothing is written to
Consul, and nothing that is here and not there is touched. With -watch what
changes or goes there changes or goes here too, until the command is ended:
move the services meanwhile, and end it when the last one has moved. Sessions,
locks, ACLs and the certificate authority are not brought.

    $ heddle import consul http://10.0.0.1:8500
    $ heddle import consul -watch -only=kv,intentions http://10.0.0.1:8500`,
  api: "datacenter",
  flags: {
    watch: flag.boolean("Go on and follow what changes there."),
    only: flag.text(`What to bring, with commas: ${Object.keys(AREAS).join(", ")}; all by default.`),
    "from-token": flag.text("Token to show to Consul."),
  },
  async run({ api, args, flags, terminal }) {
    const [url, ...extra] = args;
    if (!url || extra.length > 0)
      throw new CommandError("want one argument: the URL of Consul, such as http://10.0.0.1:8500");
    const source = createApiClient({ address: url, token: flags["from-token"] || undefined });
    try {
      const areas = chosen(flags.only);
      for (const [name, area] of areas) {
        const brought = await attempt(
          `Error importing ${name}`,
          bring(area, { source, target: api, before: new Map() }),
        );
        terminal.out(`${name}: ${brought.there.size} found, ${brought.written} written\n`);
        area.state = brought.there;
      }
      if (flags.watch) await follow(areas, { source, target: api, terminal });
    } finally {
      source.close();
    }
  },
});

type Followed = Area & { state?: Map<string, unknown> };

function chosen(only: string): [string, Followed][] {
  if (only === "") return Object.entries(AREAS).map(([name, area]) => [name, { ...area }]);
  return only.split(",").map((name) => {
    const area = AREAS[name.trim()];
    if (!area) throw new CommandError(`-only: there is no '${name}': want ${Object.keys(AREAS).join(", ")}`);
    return [name.trim(), { ...area }];
  });
}

interface Ends {
  source: ApiClient;
  target: ApiClient;
  terminal: Terminal;
}

/** Each area is read again when one of its blocking queries answers; ends when the command is interrupted. */
async function follow(areas: [string, Followed][], { source, target, terminal }: Ends): Promise<void> {
  terminal.out("Following Consul; end with Ctrl-C\n");
  await Promise.all(
    areas.map(async ([name, area]) => {
      let last: Promise<void> = Promise.resolve();
      const again = async () => {
        try {
          const brought = await bring(area, { source, target, before: area.state ?? new Map() });
          area.state = brought.there;
          if (brought.written + brought.removed > 0)
            terminal.out(`${name}: ${brought.written} written, ${brought.removed} removed\n`);
        } catch (error) {
          terminal.err(`${name}: ${describeError(error)}, trying again with the next change\n`);
        }
      };
      await Promise.all(
        area.watches.map(async (path) => {
          for await (const _answer of source.watch(path, { signal: terminal.interrupted, allow: [404] }))
            await (last = last.then(again));
        }),
      );
    }),
  );
}
