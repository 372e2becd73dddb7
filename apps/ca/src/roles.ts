/** Who may use the CA's public rows on the internal API; who may have something signed, the signing route says. */
import type { Roles } from "@heddle/daemon";

/**
 * Roots and configuration are read by all. Agents change nothing: whoever sets the root can make himself any identity, so that
 * is for those on a server, and for operators.
 */
export const CA_ROLES: Roles = {
  readers: ["agent", "ca", "catalog", "dns", "health", "operator", "server"],
  writers: ["operator", "server"],
};
