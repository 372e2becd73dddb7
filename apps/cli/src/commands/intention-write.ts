/** `heddle intention create|delete`. */
import type { ApiClient } from "@heddle/api-client";
import { attempt, command, CommandError } from "../command.ts";
import { readBytes } from "../data.ts";
import { flag } from "../flags.ts";
import { type Effect, showEffect, waitFlags, waitOptions } from "./intention-effect.ts";
import type { Terminal } from "../terminal.ts";
import {
  describeIntention,
  findByNames,
  findIntention,
  type Intention,
  intentionPath,
  parseTarget,
  target,
} from "./intention.ts";

export const create = command({
  usage: "intention create [options] SRC DST\nintention create [options] -file FILE...",
  about: `Creates an intention that allows (or with -deny forbids) SRC to connect to DST. "*" stands for every service.
With -file, each FILE holds one intention as JSON, as the HTTP API has it; - is standard input.

    $ heddle intention create web db
    $ heddle intention create -deny web "*"

Where there is one between the two already, -replace puts the new one in its place.`,
  api: "datacenter",
  flags: {
    allow: flag.boolean("Allow; the default."),
    deny: flag.boolean("Forbid."),
    file: flag.boolean("The arguments are files."),
    format: flag.format(),
    meta: flag.pairs("Metadata of the intention."),
    plan: flag.boolean("Change nothing: tell which connections it would cut or let through."),
    replace: flag.boolean("Replace an intention between the same two."),
    ...waitFlags(),
  },
  async run({ api, args, flags, terminal }) {
    if (flags.allow && flags.deny) throw new CommandError("Only one of -allow or -deny may be specified.");
    const intentions = flags.file ? await readFiles(args, terminal) : [fromArguments(args, flags)];
    if (flags.plan)
      return (await import("./intention-plan.ts")).showPlan(
        { api, terminal, format: flags.format },
        { Set: intentions },
      );
    let status = 0;
    for (const intention of intentions) {
      const text = describeIntention(intention);
      const existing = flags.replace ? await findExisting(api, intention) : undefined;
      const options = { ...waitOptions(flags), body: intention };
      const { body } = existing?.ID
        ? await attempt(`Error replacing intention "${text}"`, api.put<Effect>(intentionPath(existing.ID), options))
        : await attempt(`Error creating intention "${text}"`, api.post<Effect>("/v1/connect/intentions", options));
      if (!existing?.ID) terminal.out(`Created: ${text}\n`);
      if (flags.waitCut) status = Math.max(status, showEffect(terminal, body));
    }
    return status;
  },
});

function fromArguments(args: readonly string[], flags: { deny: boolean; meta: Record<string, string> }): Intention {
  const [source, destination] = args;
  if (args.length !== 2 || source === undefined || destination === undefined)
    throw new CommandError("Error: Must specify two arguments: source and destination");
  const from = parseTarget(source, "source");
  const to = parseTarget(destination, "destination");
  return {
    ...(from.ns && { SourceNS: from.ns }),
    SourceName: from.name,
    ...(to.ns && { DestinationNS: to.ns }),
    DestinationName: to.name,
    SourceType: "consul",
    Action: flags.deny ? "deny" : "allow",
    ...(Object.keys(flags.meta).length > 0 && { Meta: flags.meta }),
  };
}

async function readFiles(paths: readonly string[], terminal: Terminal): Promise<Intention[]> {
  if (paths.filter((path) => path === "-").length > 1) throw new CommandError("Error: '-' may only be specified once");
  const intentions: Intention[] = [];
  for (const path of paths) {
    const text = (path === "-" ? await terminal.readStdin() : readBytes(path, "Error")).toString("utf8");
    try {
      const intention = JSON.parse(text) as Partial<Intention> | null;
      if (typeof intention !== "object" || intention === null || Array.isArray(intention))
        throw new TypeError("want one intention as a JSON object");
      intentions.push({
        ...intention,
        SourceName: intention.SourceName ?? "",
        DestinationName: intention.DestinationName ?? "",
        Action: intention.Action ?? "",
      });
    } catch (cause) {
      throw new CommandError(`Error: ${path}: ${(cause as Error).message}`, 1, { cause });
    }
  }
  return intentions;
}

function findExisting(api: ApiClient, intention: Intention): Promise<Intention | undefined> {
  return findByNames(
    api,
    target(intention.SourceNS, intention.SourceName),
    target(intention.DestinationNS, intention.DestinationName),
  );
}

export const remove = command({
  usage: "intention delete [options] SRC DST\nintention delete [options] ID",
  about:
    "Deletes an intention, found by its source and destination or by its id.\n\n    $ heddle intention delete web db",
  api: "datacenter",
  flags: {
    format: flag.format(),
    plan: flag.boolean("Change nothing: tell which connections it would cut or let through."),
    ...waitFlags(),
  },
  async run({ api, args, flags, terminal }) {
    const { ID = "" } = await findIntention(api, args);
    if (flags.plan)
      return (await import("./intention-plan.ts")).showPlan(
        { api, terminal, format: flags.format },
        { Delete: [{ ID }] },
      );
    const deleted = api.delete<Effect>(intentionPath(ID), waitOptions(flags));
    const { body } = await attempt("Error deleting the intention", deleted);
    terminal.out("Intention deleted.\n");
    if (flags.waitCut) return showEffect(terminal, body);
  },
});
