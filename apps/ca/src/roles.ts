/** Who may use the CA's public rows on the internal API; who may have something signed, the signing route says. */
import type { Roles } from "@heddle/daemon";

/** Roots and configuration are read by all; agents forward the changes that their users ask for. */
export const CA_ROLES: Roles = {
  readers: ["agent", "ca", "catalog", "dns", "health", "operator", "server"],
  writers: ["agent", "operator", "server"],
};
