/** What the catalog tells Prometheus. */
import { Gauge, type Registry } from "prom-client";
import type { Catalog } from "./catalog.ts";
import { CHECKS, KV, NODES, SERVICES, SESSIONS } from "./records.ts";

export function registerCatalogMetrics(registry: Registry, catalog: Catalog): void {
  const { state, stream } = catalog;
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  gauge("heddle_catalog_index", "Revision of the last durable commit.", () => state.store.revision);
  gauge("heddle_catalog_waiters", "Blocking queries and subscriptions that wait.", () => state.topics.waiting);
  gauge("heddle_catalog_streams", "Open change streams.", () => stream.connections);
  gauge("heddle_catalog_leases", "Agents that are heard of.", () => catalog.members.held);
  gauge("heddle_catalog_last_contact_seconds", "Since memory was known to hold every commit.", () => {
    return state.store.contact().lastContactMs / 1_000;
  });
  const events = new Gauge({
    name: "heddle_catalog_store_events",
    help: "Of a store on etcd: writes run again after another server's, reads of everything, calls tried again.",
    labelNames: ["event"],
    registers: [registry],
    collect() {
      for (const [event, count] of state.store.events) events.set({ event }, count);
    },
  });
  const records = new Gauge({
    name: "heddle_catalog_records",
    help: "Records of each table.",
    labelNames: ["table"],
    registers: [registry],
    collect() {
      for (const table of [NODES, SERVICES, CHECKS, KV, SESSIONS, "intentions"])
        records.set({ table }, state.store.count(table));
    },
  });
}
