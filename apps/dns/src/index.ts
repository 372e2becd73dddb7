export { DEFAULT_DNS_PORT, DNS_OPTIONS, loadConfig } from "./config.ts";
export { createDns } from "./dns.ts";
export { main } from "./main.ts";
export { DNS_EXPLAIN } from "./routes/explain.ts";
export { start } from "./server.ts";
export type { CatalogStream } from "./catalog/follower.ts";
export type { DnsConfig } from "./config.ts";
export type { Dns, DnsOptions } from "./dns.ts";
export type { RunningDns, StartDeps } from "./server.ts";
