/** `heddle config read|write|list|delete`: configuration entries. */
import { attempt, command, CommandError, type Context, explain } from "../command.ts";
import { readBytes } from "../data.ts";
import { flag } from "../flags.ts";
import { printJson } from "../output.ts";
import { type Effect, showEffect, waitFlags, waitOptions } from "./intention-effect.ts";

const kindFlag = () => flag.text("Kind of the entry, such as service-defaults.");
const nameFlag = () => flag.text("Name of the entry.");
const entryPath = (kind: string, name?: string): string =>
  ["/v1/config", kind, ...(name === undefined ? [] : [name])]
    .map((part, i) => (i === 0 ? part : encodeURIComponent(part)))
    .join("/");

function wanted({ kind, name }: { kind: string; name?: string }): void {
  if (kind === "") throw new CommandError("Must specify the -kind parameter");
  if (name === "") throw new CommandError("Must specify the -name parameter");
}

export const read = command({
  usage: "config read [options] -kind KIND -name NAME",
  about: "Prints a configuration entry as JSON.\n\n    $ heddle config read -kind proxy-defaults -name global",
  api: "datacenter",
  hasNamespace: true,
  flags: { format: flag.jsonFormat(), kind: kindFlag(), name: nameFlag() },
  async run({ api, flags, terminal }) {
    wanted(flags);
    const { raw } = await attempt(
      `Error reading config entry ${flags.kind}/${flags.name}`,
      api.get(entryPath(flags.kind, flags.name)),
    );
    printJson(terminal, raw);
  },
});

export const list = command({
  usage: "config list [options] -kind KIND",
  about: "Lists the names of the configuration entries of a kind.\n\n    $ heddle config list -kind service-defaults",
  api: "datacenter",
  hasNamespace: true,
  flags: { format: flag.format(), kind: kindFlag() },
  async run({ api, flags, terminal }) {
    wanted({ kind: flags.kind });
    const answer = api.get<{ Name: string }[] | null>(entryPath(flags.kind));
    const { body, raw } = await attempt(`Error listing config entries for kind "${flags.kind}"`, answer);
    if (flags.format === "json") return printJson(terminal, raw);
    for (const { Name } of body ?? []) terminal.out(`${Name}\n`);
  },
});

export const remove = command({
  usage: "config delete [options] -kind KIND -name NAME",
  about: "Deletes a configuration entry.\n\n    $ heddle config delete -kind service-defaults -name web",
  api: "datacenter",
  hasNamespace: true,
  flags: {
    cas: flag.boolean("Delete only if the entry still has -modify-index."),
    kind: kindFlag(),
    modifyIndex: flag.uint64("The ModifyIndex that -cas wants."),
    name: nameFlag(),
    ...waitFlags(),
  },
  async run({ api, flags, terminal }) {
    wanted(flags);
    // -cas is of Consul 1.11; there a -modify-index by itself deletes whatever is there.
    if (!flags.cas && flags.modifyIndex !== 0n) throw new CommandError("Cannot specify -modify-index without -cas");
    const what = `${flags.kind}/${flags.name}`;
    const { query, ...wait } = waitOptions(flags);
    const { body } = await attempt(
      `Error deleting config entry ${what}`,
      api.delete<Effect | boolean>(entryPath(flags.kind, flags.name), {
        ...wait,
        query: { ...query, cas: flags.cas ? String(flags.modifyIndex) : undefined },
      }),
    );
    const isDeleted = typeof body === "object" ? body.Written : body;
    if (flags.cas && isDeleted !== true) throw new CommandError(`Config entry not deleted: ${what}`);
    terminal.out(`Config entry deleted: ${what}\n`);
    if (flags.waitCut && typeof body === "object") return showEffect(terminal, body);
  },
});

export const write = command({
  usage: "config write [options] FILE",
  about:
    "Creates or replaces the configuration entry of a file, JSON or HCL; - is standard input.\n\n    $ heddle config write web.hcl",
  api: "datacenter",
  hasNamespace: true,
  flags: {
    cas: flag.boolean("Write only if the entry still has -modify-index; 0: only if there is none."),
    modifyIndex: flag.uint64("The ModifyIndex that -cas wants."),
    ...waitFlags(),
  },
  async run({ api, args, flags, terminal }) {
    const [file] = args;
    if (args.length !== 1 || file === undefined)
      throw new CommandError("Must provide exactly one positional argument to specify the config entry to write");
    const entry = await parse(file, terminal);
    const field = (name: string): string => {
      const value = Object.entries(entry).find(([key]) => key.toLowerCase() === name)?.[1];
      return typeof value === "string" ? value : "";
    };
    const what = `${field("kind")}/${field("name")}`;
    const { query, ...wait } = waitOptions(flags);
    const options = {
      ...wait,
      query: { ...query, cas: flags.cas ? String(flags.modifyIndex) : undefined },
      body: entry,
    };
    const { body } = await attempt(
      `Error writing config entry ${what}`,
      api.put<Effect | boolean>("/v1/config", options),
    );
    const isWritten = typeof body === "object" ? body.Written : body;
    if (flags.cas && isWritten !== true) throw new CommandError(`Config entry not updated: ${what}`);
    terminal.out(`Config entry written: ${what}\n`);
    if (typeof body === "object") return showEffect(terminal, body);
  },
});

async function parse(
  file: string,
  terminal: Context<Record<string, never>>["terminal"],
): Promise<Record<string, unknown>> {
  const bytes = file === "-" ? await terminal.readStdin() : readBytes(file, "Failed to load data: Failed to read file");
  const { parseHcl } = await import("@heddle/hcl");
  try {
    return parseHcl(bytes.toString("utf8"), file === "-" ? "(stdin)" : file).value;
  } catch (cause) {
    throw new CommandError(`Failed to decode config entry input: ${explain(cause)}`, 1, { cause });
  }
}
