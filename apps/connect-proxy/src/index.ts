export { loadConfig, proxyOptions, usage } from "./config.ts";
export { main } from "./main.ts";
export { start } from "./server.ts";
export type { Config, ProxySource } from "./config.ts";
export type { ListenerState } from "./listeners.ts";
export type { Deps, RunningProxy } from "./server.ts";
