/** `heddle kv get` and `kv export`. */
import type { ApiClient, Query } from "@heddle/api-client";
import { attempt, command, CommandError, refuseExtra } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, formatJson, parseExact, printJson } from "../output.ts";
import type { Terminal } from "../terminal.ts";

export interface KvEntry {
  Key: string;
  Value: string | null;
  Flags: number | bigint;
  CreateIndex: number;
  ModifyIndex: number;
  LockIndex: number;
  Session?: string;
}

/** The path of a key: each part escaped, the slashes kept. */
export const keyPath = (key: string): string => `/v1/kv/${key.split("/").map(encodeURIComponent).join("/")}`;

/** Keys do not begin with a slash; Consul's client forgives one where it reads. */
export const withoutSlash = (key: string): string => key.replace(/^\//, "");

export const get = command({
  usage: "kv get [options] [KEY_OR_PREFIX]",
  about: `Prints the value of a key, or lists what begins with a prefix.

    $ heddle kv get config/connections
    $ heddle kv get -detailed config/connections
    $ heddle kv get -recurse config/
    $ heddle kv get -keys config/

An empty value prints as an empty line; a key that does not exist is an error.`,
  api: "datacenter",
  hasNamespace: true,
  flags: {
    base64: flag.boolean("Print the value in base64."),
    detailed: flag.boolean("Print the key's indexes, flags and session as well."),
    format: flag.format(),
    keys: flag.boolean("List the keys that begin with the prefix, without their values."),
    recurse: flag.boolean("Print every key that begins with the prefix."),
    separator: flag.text("With -keys: list only up to the first separator behind the prefix.", "/"),
  },
  async run({ api, args, flags, terminal }) {
    refuseExtra(args, 1);
    const key = withoutSlash(args[0] ?? "");
    if (key === "" && !flags.keys && !flags.recurse) throw new CommandError("Error! Missing KEY argument");
    const query: Query = flags.keys ? { keys: true, separator: flags.separator } : { recurse: flags.recurse };
    const { status, raw } = await read(api, key, query);
    if (status === 404 && !flags.keys && !flags.recurse) throw new CommandError(`Error! No key exists at: ${key}`);
    if (flags.format === "json") {
      printJson(terminal, status === 404 ? Buffer.from("[]") : raw);
    } else if (flags.keys) {
      if (status === 200) for (const name of JSON.parse(raw.toString("utf8")) as string[]) terminal.out(`${name}\n`);
    } else {
      const entries = status === 200 ? (parseExact(raw.toString("utf8")) as KvEntry[]) : [];
      printEntries(terminal, entries, flags);
    }
  },
});

function read(api: ApiClient, key: string, query: Query) {
  return attempt("Error querying the agent", api.get(keyPath(key), { query, allow: [404] }));
}

function printEntries(
  terminal: Terminal,
  entries: KvEntry[],
  flags: { base64: boolean; detailed: boolean; recurse: boolean },
): void {
  entries.forEach((entry, i) => {
    const base64 = entry.Value ?? "";
    const value = flags.base64 ? base64 : Buffer.from(base64, "base64");
    if (flags.detailed) {
      terminal.out(`${i > 0 ? "\n" : ""}${describeEntry(entry)}Value${value.length > 0 ? "            " : ""}`);
    } else if (flags.recurse) terminal.out(`${entry.Key}:`);
    terminal.out(value);
    terminal.out("\n");
  });
}

/** The lines of -detailed; the value, which may be any bytes, follows. */
function describeEntry(entry: KvEntry): string {
  const { CreateIndex, Flags, Key, LockIndex, ModifyIndex, Session } = entry;
  const rows = { CreateIndex, Flags, Key, LockIndex, ModifyIndex, Session: Session || "-" };
  return columns(
    Object.entries(rows).map(([name, value]) => [name.padEnd("ModifyIndex".length), String(value)]),
    "      ",
  );
}

export const exportTree = command({
  usage: "kv export [options] [KEY_OR_PREFIX]",
  about:
    "Writes every key that begins with the prefix as JSON, for `heddle kv import`.\n\n    $ heddle kv export config/ > config.json",
  api: "datacenter",
  hasNamespace: true,
  flags: { format: flag.jsonFormat() },
  async run({ api, args, terminal }) {
    refuseExtra(args, 1);
    const { status, raw } = await read(api, withoutSlash(args[0] ?? ""), { recurse: true });
    const entries = status === 200 ? (parseExact(raw.toString("utf8")) as KvEntry[]) : [];
    const tree = entries.map(({ Key, Flags, Value }) => ({ key: Key, flags: Flags, value: Value ?? "" }));
    terminal.out(`${formatJson(tree, "\t")}\n`);
  },
});
