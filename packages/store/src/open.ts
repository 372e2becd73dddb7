/** Opens a daemon's store: in memory, or on a SQLite file in its data directory. */
import { join } from "node:path";
import { describeError, type Logger } from "@heddle/daemon";
import { memoryBackend } from "./memory.ts";
import { Store } from "./store.ts";

// No record may have an index that clients make up for "surely old" (1, 2, 3): an empty Consul is further on when it serves.
const EMPTY_REVISION = 16;

export interface OpenStoreOptions {
  /** The data directory; empty keeps everything in memory. */
  dataDir: string;
  /** The daemon's file inside it: "catalog" is `catalog.db`. */
  name: string;
  log: Logger;
  /** Where the counting of revisions starts. */
  emptyRevision?: number;
  /** Called when the disk failed in a way that leaves its content unknown. The process ends by default. */
  onFatal?: (error: Error) => void;
}

/** Throws UnavailableError where the directory is in use, not writable, full or of a newer version. */
export async function openStore({
  dataDir,
  name,
  log,
  onFatal,
  emptyRevision = EMPTY_REVISION,
}: OpenStoreOptions): Promise<Store> {
  if (dataDir === "") return Store.open(memoryBackend(), emptyRevision);
  const { sqliteBackend } = await import("./sqlite.ts");
  const fatal = (error: Error) => {
    log.error("the disk failed, ending: what it holds of the last write is unknown", { error: describeError(error) });
    process.exit(1);
  };
  const path = join(dataDir, `${name}.db`);
  return Store.open(await sqliteBackend({ path, log, onFatal: onFatal ?? fatal }), emptyRevision);
}
