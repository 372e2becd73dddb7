export { createCa } from "./ca.ts";
export { CA_OPTIONS, DEFAULT_CA_PORT, loadConfig } from "./config.ts";
export { readEncryptionKeys } from "./encryption-key.ts";
export { main } from "./main.ts";
export { CA_ROLES } from "./roles.ts";
export { start } from "./server.ts";
export type { Ca, CaOptions } from "./ca.ts";
export type { CaConfig } from "./config.ts";
export type { Issuer, SignedLeaf } from "./issuer.ts";
