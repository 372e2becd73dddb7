/** Opens a daemon's store: in memory, on a SQLite file in its data directory, or on etcd. */
import { join } from "node:path";
import { describeError, type Logger } from "@heddle/daemon";
import { memoryBackend } from "./memory.ts";
import type { EtcdSettings } from "./address.ts";
import { LocalStore } from "./local-store.ts";
import type { Store } from "./record.ts";

// No record may have an index that clients make up for "surely old" (1, 2, 3): an empty Consul is further on when it serves.
const EMPTY_REVISION = 16;

export interface OpenStoreOptions {
  /** The data directory; empty keeps everything in memory. With etcd, where what was seen of it is remembered; may be empty. */
  dataDir: string;
  /** The daemon's file inside it: "catalog" is `catalog.db`. */
  name: string;
  /** Where etcd is; undefined keeps the records in the data directory. */
  etcd?: EtcdSettings | undefined;
  log: Logger;
  /** Where the counting of revisions starts. */
  emptyRevision?: number;
  /** Where given, an etcd that is away is waited for until it aborts: daemons start in any order. */
  waitUntil?: AbortSignal | undefined;
  /** Called when the disk failed in a way that leaves its content unknown. The process ends by default. */
  onFatal?: (error: Error) => void;
}

/**
 * Throws UnavailableError where the directory is in use, not writable, full or of a newer version, and where etcd refuses
 * or, if it is not waited for, does not answer.
 */
export async function openStore({
  dataDir,
  name,
  etcd,
  log,
  onFatal,
  emptyRevision = EMPTY_REVISION,
  waitUntil,
}: OpenStoreOptions): Promise<Store> {
  if (etcd) {
    const { openEtcdStore } = await import("./etcd/index.ts");
    return openEtcdStore({ ...etcd, name, dataDir, emptyRevision, log, waitUntil });
  }
  if (dataDir === "") return LocalStore.open(memoryBackend(), emptyRevision);
  const { sqliteBackend } = await import("./sqlite.ts");
  const fatal = (error: Error) => {
    log.error("the disk failed, ending: what it holds of the last write is unknown", { error: describeError(error) });
    process.exit(1);
  };
  const path = join(dataDir, `${name}.db`);
  return LocalStore.open(await sqliteBackend({ path, log, onFatal: onFatal ?? fatal }), emptyRevision);
}
