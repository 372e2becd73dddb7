export { createCatalog } from "./catalog.ts";
export { CATALOG_OPTIONS, DEFAULT_KV_MAX_VALUE_SIZE, DEFAULT_SESSION_TTL_MIN_MS, loadConfig } from "./config.ts";
export { main } from "./main.ts";
export { registerCatalogMetrics } from "./metrics.ts";
export { CATALOG_ROLES } from "./roles.ts";
export { start } from "./server.ts";
export { askTrustDomain } from "./trust-domain.ts";
export type { Catalog, CatalogOptions } from "./catalog.ts";
export type { CatalogConfig } from "./config.ts";
