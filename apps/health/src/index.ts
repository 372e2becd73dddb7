export { CHECKS_PATH, createHealthChecker } from "./checker.ts";
export { HEALTH_OPTIONS, loadConfig } from "./config.ts";
export { main } from "./main.ts";
export { findScriptUser } from "./script-user.ts";
export { start } from "./server.ts";
export type { ErrorMessage, ResultMessage, SyncMessage } from "./check.ts";
export type { HealthChecker, HealthCheckerOptions } from "./checker.ts";
export type { HealthConfig } from "./config.ts";
export type { HealthDeps } from "./server.ts";
