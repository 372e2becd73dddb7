/** Who may use the catalog on the internal API. */
import type { Roles } from "@heddle/daemon";

/** An agent writes for its node and forwards what its users ask; an operator for all. */
export const CATALOG_ROLES: Roles = {
  readers: ["agent", "ca", "catalog", "dns", "operator", "server"],
  writers: ["agent", "operator", "server"],
};

/** Catalogs tell each other what they were told. */
export const PEER_ROLES: Roles = { readers: [], writers: ["catalog", "server"] };

/** Who may hold the lease of a node. */
export const LEASE_ROLES = ["agent", "server"] as const;

/** Who may probe nodes without an agent. */
export const EXTERNAL_ROLES = ["health", "operator", "server"] as const;
