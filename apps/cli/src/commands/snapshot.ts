/** `heddle snapshot save|restore|inspect`: the servers' state as a file (docs/snapshot-format.md). */
import { randomBytes } from "node:crypto";
import { closeSync, createReadStream, createWriteStream, openSync, type ReadStream, renameSync, rmSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import type { SnapshotMeta } from "@heddle/store/snapshot";
import { attempt, command, CommandError, refuseExtra } from "../command.ts";
import { fileProblem } from "../data.ts";
import { flag } from "../flags.ts";
import { columns, formatJson } from "../output.ts";

const TIMEOUT_MS = 10 * 60_000; // of silence; a large state takes its time

export const save = command({
  usage: "snapshot save [options] FILE",
  about: `Takes a snapshot of everything the servers hold and checks it. The file holds keys and values as they are:
it is made for its owner alone (0600), keep it so. The certificate authority's key is not in it.

    $ heddle snapshot save backup.snap`,
  api: "datacenter",
  async run({ api, args, terminal }) {
    const file = theFile(args);
    const unverified = `${file}.unverified.tmp${randomBytes(4).toString("hex")}`;
    const handle = opened("Error writing unverified snapshot file", unverified, "wx");
    closeSync(handle);
    try {
      const answer = await attempt(
        "Error saving snapshot",
        api.stream("GET", "/v1/snapshot", { timeoutMs: TIMEOUT_MS }),
      );
      await attempt("Error writing unverified snapshot file", pipeline(answer, createWriteStream(unverified)));
      const meta = await verify(createReadStream(unverified));
      renameSync(unverified, file);
      terminal.out(`Saved and verified snapshot to index ${meta.Index}\n`);
    } catch (error) {
      rmSync(unverified, { force: true });
      throw error;
    }
  },
});

export const restore = command({
  usage: "snapshot restore [options] FILE",
  about: `Makes the servers hold what they held when the snapshot was taken, in one step; what came later is gone. A file
that is cut short or damaged is refused, and nothing changes.

    $ heddle snapshot restore backup.snap`,
  api: "datacenter",
  async run({ api, args, terminal }) {
    const body = readFile(theFile(args));
    const answer = attempt(
      "Error restoring snapshot",
      api.stream("PUT", "/v1/snapshot", { body, timeoutMs: TIMEOUT_MS }),
    );
    (await answer).resume();
    terminal.out("Restored snapshot\n");
  },
});

export const inspect = command({
  usage: "snapshot inspect [options] FILE",
  about:
    "Checks a snapshot, Heddle's or Consul's, and shows what it says of itself.\n\n    $ heddle snapshot inspect backup.snap",
  flags: { format: flag.format() },
  async run({ args, flags, terminal }) {
    const { ID, Size, Index, Term, Version } = await verify(readFile(theFile(args)));
    const meta = { ID, Size, Index, Term, Version };
    if (flags.format === "json") return terminal.out(`${formatJson(meta)}\n`);
    terminal.out(
      `${columns(
        Object.entries(meta).map(([name, value]) => [name, String(value)]),
        "      ",
      )}\n`,
    );
  },
});

function theFile(args: readonly string[]): string {
  if (args[0] === undefined) throw new CommandError("Missing FILE argument");
  refuseExtra(args, 1);
  return args[0];
}

function opened(what: string, path: string, mode: "r" | "wx"): number {
  try {
    return openSync(path, mode, 0o600);
  } catch (cause) {
    throw new CommandError(`${what}: open ${path}: ${fileProblem(cause)}`, 1, { cause });
  }
}

const readFile = (path: string): ReadStream =>
  createReadStream(path, { fd: opened("Error opening snapshot file", path, "r") });

async function verify(source: ReadStream): Promise<SnapshotMeta> {
  const { readArchive } = await import("@heddle/store/snapshot");
  return attempt(
    "Error verifying snapshot",
    readArchive(source, () => {}),
  );
}
