/** The store on etcd, loaded where one is named. */
import type { Logger } from "@heddle/daemon";
import type { EtcdSettings } from "../address.ts";
import { createEtcdClient } from "./client.ts";
import { EtcdStore } from "./store.ts";

export interface OpenEtcdOptions extends EtcdSettings {
  name: string;
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
    log: own,
    waitUntil,
  });
}
