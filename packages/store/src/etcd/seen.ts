/**
 * The newest commit that this server has seen of etcd, in a file of its data directory: at its next start it finds out whether etcd's data
 * was put back meanwhile. Written once a second at most: what was committed in the second before a kill it does not know.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describeError, type Logger, makeDataDirectory } from "@heddle/daemon";
import type { Head } from "./load.ts";

export interface SeenCommit extends Head {
  /** Of the store's keys: another mesh in the same etcd has another history. */
  prefix: string;
  /** What was given out for it. */
  index: number;
}

export interface SeenFile {
  /** Undefined where there is none of this prefix, or none that can be read. */
  read(prefix: string): SeenCommit | undefined;
  write(seen: SeenCommit): void;
}

/** Throws UnavailableError where the folder cannot be made. A file that cannot be written is told of once: nothing fails for it. */
export function openSeenFile(dataDir: string, name: string, log: Logger): SeenFile {
  const path = join(dataDir, `${name}.etcd-seen.json`);
  makeDataDirectory(dirname(path));
  let isTold = false;
  return {
    read(prefix) {
      try {
        const seen = JSON.parse(readFileSync(path, "utf8")) as SeenCommit;
        const isOne =
          Number.isSafeInteger(seen.revision) && Number.isSafeInteger(seen.index) && typeof seen.text === "string";
        return isOne && seen.prefix === prefix ? seen : undefined;
      } catch {
        return undefined;
      }
    },
    write(seen) {
      try {
        writeFileSync(`${path}.new`, JSON.stringify(seen), { mode: 0o600 });
        renameSync(`${path}.new`, path);
        isTold = false;
      } catch (error) {
        if (!isTold) log.warn("cannot note which commit of etcd was seen last", { path, error: describeError(error) });
        isTold = true;
      }
    },
  };
}
