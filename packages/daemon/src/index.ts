export { apiRouter, encodeJson, refusal, refusalHeaders, reply, replyEmpty } from "./api.ts";
export { backoffMs, sleep, systemClock } from "./clock.ts";
export { ConfigError, formatOptions, loadOptions, option } from "./config.ts";
export { decodeBody, decodeObject, parseBody, parseExactBody } from "./decode.ts";
export { cannotWrite, makeDataDirectory, makeDirectory } from "./directory.ts";
export { formatDuration, parseDuration } from "./duration.ts";
export {
  describeError,
  HeddleError,
  HTTP_STATUS,
  InvalidArgumentError,
  PermissionDeniedError,
  RateLimitedError,
  TimeoutError,
  TooLargeError,
  UnavailableError,
} from "./errors.ts";
export { whenDraining } from "./drain.ts";
export { createIdentity, followIdentityFiles } from "./identity.ts";
export { exactNumber, parseToPassOn } from "./exact-numbers.ts";
export { RequestLimit } from "./request-limit.ts";
export { readBody, readJson, sendJson, sendText, startHttpServer } from "./http.ts";
export {
  callerOf,
  isLoopback,
  loadInternalIdentity,
  requireRole,
  requireTlsOffLoopback,
  toInternalError,
} from "./internal.ts";
export { guardedTable, guardedUpgrade, startInternalServer } from "./internal-server.ts";
export { formatJoinLine, isJoinLine, parseJoinLine } from "./join-line.ts";
export { foldHealth, runUntilSignal, TaskGroup } from "./lifecycle.ts";
export { explainListenError, portHolder } from "./listen.ts";
export {
  createLogHub,
  formatEntry,
  LOG_FORMATS,
  LOG_LEVELS,
  parseLogLevel,
  silentLog,
  writeToStandardOutput,
} from "./log.ts";
export { createRegistry, opsRoutes } from "./metrics.ts";
export { opsOptions, startOpsServer } from "./ops-server.ts";
export { publicApi } from "./public-api.ts";
export { readParams } from "./read-params.ts";
export { whyCut } from "./revoked-callers.ts";
export { SharedAnswer } from "./shared-answer.ts";
export type { ApiHandler, ApiMethod, ApiRequest, ApiTable, ApiTableOptions } from "./api.ts";
export type { Clock, Timer } from "./clock.ts";
export type { ConfigSources, Option } from "./config.ts";
export type { Decoded, Spec } from "./decode.ts";
export type { ErrorCode } from "./errors.ts";
export type { Followable } from "./followable.ts";
export type { FollowedIdentity, LiveIdentity, SettableIdentity } from "./identity.ts";
export type { HttpServer, HttpServerOptions } from "./http.ts";
export type { Caller, InternalFiles, InternalIdentity } from "./internal.ts";
export type { InternalPart, InternalServerOptions, Roles } from "./internal-server.ts";
export type { JoinLine } from "./join-line.ts";
export type { Health, MainOptions, Running } from "./lifecycle.ts";
export type { Fields, LogEntry, LogFormat, Logger, LogHub, LogLevel, LogOptions } from "./log.ts";
export type { Operation, Operations, Schema } from "./openapi.ts";
export type { OpsDeps } from "./metrics.ts";
export type { OpsServer, OpsServerOptions } from "./ops-server.ts";
export type { RevokedCallers } from "./revoked-callers.ts";
export type { ReadParams } from "./read-params.ts";
