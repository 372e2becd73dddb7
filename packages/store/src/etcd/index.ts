/** The store on etcd, loaded where one is named. */
import type { Logger } from "@heddle/daemon";
import type { EtcdSettings } from "../address.ts";
import { createEtcdClient } from "./client.ts";
import { openSeenFile } from "./seen.ts";
import { EtcdStore } from "./store.ts";

export interface OpenEtcdOptions extends EtcdSettings {
  name: string;
  /** What the server remembers of etcd is kept there; empty: it remembers nothing. */
  dataDir: string;
  emptyRevision: number;
  log: Logger;
  waitUntil?: AbortSignal | undefined;
}

/** Throws UnavailableError where no endpoint answers. */
export function openEtcdStore({
  endpoints,
  tls,
  user,
  root,
  name,
  dataDir,
  emptyRevision,
  log,
  waitUntil,
}: OpenEtcdOptions): Promise<EtcdStore> {
  const own = log.child("store");
  return EtcdStore.open({
    client: createEtcdClient({ endpoints, tls, user, log: own }),
    root,
    name,
    emptyRevision,
    seen: dataDir === "" ? undefined : openSeenFile(dataDir, name, own),
    log: own,
    waitUntil,
  });
}
