export { createApiClient } from "./client.ts";
export { ApiError } from "./errors.ts";
export { apiOptions, DEFAULT_ADDRESS, toApiClientOptions } from "./options.ts";
export { parseAddress } from "./transport.ts";
export type { ApiClient, ApiClientOptions, ApiResponse, Query, RequestOptions } from "./client.ts";
export type { ApiOptionValues, OptionSources } from "./options.ts";
export type { TlsSettings } from "./transport.ts";
export type { WatchFailure, WatchOptions } from "./watch.ts";
