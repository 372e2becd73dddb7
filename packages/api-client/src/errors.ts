/** What goes wrong between a client and the agent, in words that say what to do. */
import { type ErrorCode, HeddleError, HTTP_STATUS, TimeoutError, UnavailableError } from "@heddle/daemon";

/** The agent answered with a status that the caller did not expect. `body` is its text, at most 1,000 characters. */
export class ApiError extends HeddleError {
  readonly body: string;
  constructor(method: string, path: string, status: number, body: string) {
    const text = body.trim().slice(0, 1000);
    super(codeOf(status), `${method} ${path}: the agent answered ${status}${text ? `: ${text}` : ""}`, { status });
    this.body = text;
  }
}

function codeOf(status: number): ErrorCode {
  if (status === 403) return "permission_denied";
  const known = (Object.keys(HTTP_STATUS) as ErrorCode[]).find((code) => HTTP_STATUS[code] === status);
  return known ?? (status >= 500 ? "unavailable" : "invalid_argument");
}

/** Nothing of the request has reached a server, so that it may be sent to another one whatever it asks. */
export class UnreachableError extends UnavailableError {}

const NEVER_SENT = new Set(["ECONNREFUSED", "ENOENT", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

const WHY: Record<string, string> = {
  ECONNREFUSED: "connection refused (is `heddle agent` running?)",
  ECONNRESET: "the connection was reset",
  EPIPE: "the connection was closed",
  ENOENT: "there is no such socket (is `heddle agent` running?)",
  EACCES: "permission denied",
  ENOTFOUND: "there is no such host",
  EAI_AGAIN: "the name could not be resolved",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no route to the network",
  ETIMEDOUT: "the connection timed out",
  EPROTO: "no TLS there (is the agent's listener plain HTTP?)",
  HPE_INVALID_CONSTANT: "the answer is not HTTP (is the agent's listener HTTPS?)",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate is of an unknown authority (-ca-file names the right one)",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate is of an unknown authority (-ca-file names the right one)",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is of an unknown authority (-ca-file names the right one)",
  CERT_HAS_EXPIRED: "its certificate has expired (or the clock here is ahead)",
  CERT_NOT_YET_VALID:
    "its certificate is not valid yet by the clock here: that one is behind, or the server's is ahead",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name (-tls-server-name says which to expect)",
};

/** Turns a socket's error into "cannot reach the agent at …: why". */
export function explainTransportError(error: unknown, address: string): Error {
  if (error instanceof HeddleError) return error;
  const { code } = error as NodeJS.ErrnoException;
  const known = code === undefined ? undefined : WHY[code];
  const Kind = code !== undefined && NEVER_SENT.has(code) ? UnreachableError : UnavailableError;
  if (known) return new Kind(`cannot reach the agent at ${address}: ${known}`, { cause: error });
  const why = (error as Error).message || String(error);
  return new UnavailableError(`cannot reach the agent at ${address}: ${why}`, { cause: error });
}

export function requestTimeout(address: string, timeoutMs: number): TimeoutError {
  return new TimeoutError(`the agent at ${address} gave no answer within ${timeoutMs} ms`);
}
