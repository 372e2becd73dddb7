/**
 * The errors that cross a boundary: a small taxonomy, each with the HTTP status it becomes at the edge.
 * Codes are part of the internal API and are never reused.
 */

export type ErrorCode =
  | "already_exists"
  | "conflict"
  | "identity"
  | "internal"
  | "invalid_argument"
  | "method_not_allowed"
  | "not_found"
  | "permission_denied"
  | "rate_limited"
  | "timeout"
  | "too_large"
  | "unavailable";

export const HTTP_STATUS: Record<ErrorCode, number> = {
  already_exists: 409,
  conflict: 409,
  identity: 403,
  internal: 500,
  invalid_argument: 400,
  method_not_allowed: 405,
  not_found: 404,
  permission_denied: 403,
  rate_limited: 429,
  timeout: 504,
  too_large: 413,
  unavailable: 503,
};

/** An error with a stable code. `status` overrides the code's own where Consul answers otherwise. */
export class HeddleError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  constructor(code: ErrorCode, message: string, options: { cause?: unknown; status?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.status = options.status ?? HTTP_STATUS[code];
  }
}

type Options = { cause?: unknown; status?: number };

export class InvalidArgumentError extends HeddleError {
  constructor(message: string, options?: Options) {
    super("invalid_argument", message, options);
  }
}
export class PermissionDeniedError extends HeddleError {
  constructor(message: string, options?: Options) {
    super("permission_denied", message, options);
  }
}
export class UnavailableError extends HeddleError {
  constructor(message: string, options?: Options) {
    super("unavailable", message, options);
  }
}
export class TimeoutError extends HeddleError {
  constructor(message: string, options?: Options) {
    super("timeout", message, options);
  }
}
export class TooLargeError extends HeddleError {
  constructor(message: string, options?: Options) {
    super("too_large", message, options);
  }
}
export class RateLimitedError extends HeddleError {
  constructor(message: string, options?: Options) {
    super("rate_limited", message, options);
  }
}

/** The messages of an error and its causes, outermost first, joined by ": ". */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  let at: unknown = error;
  while (at !== undefined && at !== null && parts.length < 8) {
    if (at instanceof AggregateError && at.message === "") {
      parts.push(at.errors.map(describeError).join(", "));
      break;
    }
    const message = at instanceof Error ? at.message || at.name : typeof at === "string" ? at : JSON.stringify(at);
    if (!parts.some((p) => p.includes(message))) parts.push(message);
    at = at instanceof Error ? at.cause : undefined;
  }
  return parts.join(": ");
}
