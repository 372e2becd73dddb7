/** `heddle kv put`, `kv delete` and `kv import`. */
import type { Query } from "@heddle/api-client";
import { attempt, command, CommandError, refuseExtra } from "../command.ts";
import { readData } from "../data.ts";
import { flag } from "../flags.ts";
import { parseExact } from "../output.ts";
import { keyPath, withoutSlash } from "./kv-read.ts";

export const put = command({
  usage: "kv put [options] KEY [DATA]",
  about: `Writes a value. DATA stands as it is, comes from standard input (-) or from a file (@file); without it the
value is empty. What follows KEY is never read as a flag.

    $ heddle kv put config/connections 5
    $ heddle kv put config/license @license.lic
    $ echo 5 | heddle kv put config/connections -
    $ heddle kv put -cas -modify-index=844 config/connections 6`,
  api: "datacenter",
  hasNamespace: true,
  argumentsAreData: true,
  flags: {
    acquire: flag.boolean("Take the key's lock for -session; the key is created where it does not exist."),
    base64: flag.boolean("DATA is base64."),
    cas: flag.boolean("Write only if the key still has -modify-index."),
    flags: flag.uint64("A number that is kept with the key, for its readers."),
    modifyIndex: flag.uint64("The ModifyIndex that -cas wants."),
    release: flag.boolean("Give the key's lock back; -session must hold it."),
    session: flag.text("Id of the session for -acquire and -release."),
  },
  async run({ api, args, flags, terminal }) {
    const [key = "", data = ""] = args;
    if (args.length === 0) throw new CommandError("Error! Missing KEY argument");
    if (args.length > 2) throw new CommandError(`Error! Too many arguments (expected 1 or 2, got ${args.length})`);
    if (key.startsWith("/"))
      throw new CommandError(`Error! Failed writing data: Invalid key. Key must not begin with a '/': ${key}`);
    if (flags.cas && flags.modifyIndex === 0n) throw new CommandError("Must specify -modify-index with -cas!");
    if ((flags.acquire || flags.release) && flags.session === "")
      throw new CommandError("Error! Missing -session (required with -acquire and -release)");
    let body = await readData(data, terminal);
    if (flags.base64) body = fromBase64(body.toString("utf8"), "Error! Cannot base 64 decode data");

    const query: Query = { flags: flags.flags === 0n ? undefined : String(flags.flags) };
    if (flags.cas) query.cas = String(flags.modifyIndex);
    else if (flags.acquire) query.acquire = flags.session;
    else if (flags.release) query.release = flags.session;
    const answer = await attempt("Error! Failed writing data", api.put(keyPath(key), { query, body }));
    const isDone = answer.body === true;
    if (flags.cas && !isDone) throw new CommandError(`Error! Did not write to ${key}: CAS failed`);
    if (!isDone) throw new CommandError(`Error! Did not ${flags.acquire ? "acquire" : "release"} lock`);
    if (flags.cas || (!flags.acquire && !flags.release)) terminal.out(`Success! Data written to: ${key}\n`);
    else terminal.out(`Success! Lock ${flags.acquire ? "acquired" : "released"} on: ${key}\n`);
  },
});

export const remove = command({
  usage: "kv delete [options] KEY_OR_PREFIX",
  about:
    "Deletes a key, or with -recurse everything that begins with a prefix. A key that does not exist is no error.\n\n    $ heddle kv delete config/connections\n    $ heddle kv delete -recurse config/",
  api: "datacenter",
  hasNamespace: true,
  flags: {
    cas: flag.boolean("Delete only if the key still has -modify-index."),
    modifyIndex: flag.uint64("The ModifyIndex that -cas wants."),
    recurse: flag.boolean("Delete every key that begins with the prefix."),
  },
  async run({ api, args, flags, terminal }) {
    refuseExtra(args, 1);
    const key = withoutSlash(args[0] ?? "");
    if (key === "" && !flags.recurse) throw new CommandError("Error! Missing KEY argument");
    if (flags.cas && flags.modifyIndex === 0n) throw new CommandError("Must specify -modify-index with -cas!");
    if (!flags.cas && flags.modifyIndex !== 0n) throw new CommandError("Cannot specify -modify-index without -cas!");
    if (flags.cas && flags.recurse) throw new CommandError("Cannot specify both -cas and -recurse!");
    const query: Query = flags.recurse ? { recurse: true } : { cas: flags.cas ? String(flags.modifyIndex) : undefined };
    const answer = await attempt("Error! Failed deleting data", api.delete(keyPath(key), { query }));
    if (flags.cas && answer.body !== true) throw new CommandError(`Error! Did not delete key ${key}: CAS failed`);
    terminal.out(flags.recurse ? `Success! Deleted keys with prefix: ${key}\n` : `Success! Deleted key: ${key}\n`);
  },
});

export const importTree = command({
  usage: "kv import [options] [DATA]",
  about:
    "Writes the keys that `heddle kv export` gave. DATA stands as it is, comes from standard input (-) or from a file\n(@file). Nothing is written unless all of it can be read.\n\n    $ heddle kv import @config.json",
  api: "datacenter",
  hasNamespace: true,
  argumentsAreData: true,
  async run({ api, args, terminal }) {
    if (args.length === 0) throw new CommandError("Error! Missing DATA argument");
    if (args.length > 1) throw new CommandError(`Error! Too many arguments (expected 1, got ${args.length})`);
    const entries = parseTree((await readData(args[0] as string, terminal)).toString("utf8"));
    for (const { key, flags, value } of entries) {
      await attempt(
        `Error! Failed writing data for key ${key}`,
        api.put(keyPath(key), { query: { flags }, body: value }),
      );
      terminal.out(`Imported: ${key}\n`);
    }
  },
});

function parseTree(text: string): { key: string; flags: string | undefined; value: Buffer }[] {
  const refuse = (why: string, cause?: unknown) => new CommandError(`Cannot unmarshal data: ${why}`, 1, { cause });
  let tree: unknown;
  try {
    tree = parseExact(text);
  } catch (cause) {
    throw refuse((cause as Error).message, cause);
  }
  if (!Array.isArray(tree)) throw refuse('want a list of {"key", "flags", "value"}, as \'heddle kv export\' writes it');
  return tree.map((entry: { key?: unknown; flags?: unknown; value?: unknown } | null, i) => {
    if (typeof entry?.key !== "string") throw refuse(`[${i}].key: want text`);
    const { key, flags = 0, value = "" } = entry;
    if ((typeof flags !== "number" && typeof flags !== "bigint") || !/^\d+$/.test(String(flags)))
      throw refuse(`[${i}].flags: want a whole number, not negative`);
    if (typeof value !== "string") throw refuse(`[${i}].value: want base64 text`);
    return {
      key: withoutSlash(key),
      flags: flags === 0 ? undefined : String(flags),
      value: fromBase64(value, `Cannot base 64 decode value for key ${key}`),
    };
  });
}

/** Buffer.from skips what it does not know; a value that is no base64 must not be written as something else. */
function fromBase64(text: string, what: string): Buffer {
  const compact = text.replace(/[\r\n]/g, "");
  const bad = /[^A-Za-z0-9+/]/.exec(compact.replace(/={0,2}$/, ""));
  if (bad !== null || compact.length % 4 !== 0)
    throw new CommandError(`${what}: illegal base64 data at input byte ${bad?.index ?? compact.length}`);
  return Buffer.from(compact, "base64");
}
