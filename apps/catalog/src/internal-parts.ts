/** What a catalog serves on the internal API, and to whom: the same for a daemon of its own and within an agent. */
import { guardedTable, guardedUpgrade, type InternalPart } from "@heddle/daemon";
import type { Catalog } from "./catalog.ts";
import { EXTERNAL_PATH } from "./external/external-server.ts";
import { LEASE_PATH } from "./members/lease-server.ts";
import { CATALOG_ROLES, EXTERNAL_ROLES, LEASE_ROLES, PEER_ROLES } from "./roles.ts";

export function internalParts(catalog: Catalog, context: Parameters<typeof guardedTable>[2]): InternalPart[] {
  return [
    guardedTable(catalog.table, CATALOG_ROLES, context),
    guardedTable(catalog.peerTable, PEER_ROLES, context),
    guardedUpgrade(
      "/v1/stream",
      (...[req, socket, head]) => catalog.stream.upgrade(req, socket, head),
      CATALOG_ROLES.readers,
    ),
    guardedUpgrade(LEASE_PATH, (...request) => catalog.leases.upgrade(...request), LEASE_ROLES),
    guardedUpgrade(
      EXTERNAL_PATH,
      (...[req, socket, head]) => catalog.externals.upgrade(req, socket, head),
      EXTERNAL_ROLES,
    ),
  ];
}
