/**
 * The internal API's listener: plain text on loopback only; anywhere else mutual TLS, with the caller's role taken from its
 * certificate and checked on every request.
 */
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { TLSSocket } from "node:tls";
import { HeddleError, InvalidArgumentError, PermissionDeniedError } from "./errors.ts";

export interface InternalFiles {
  caFile: string;
  certFile: string;
  keyFile: string;
}

/** Certificate, key and roots of the internal API, as PEM. */
export interface InternalIdentity {
  certPem: string;
  keyPem: string;
  roots: string[];
}

/** Reads the three files; undefined where none is given. Throws InvalidArgumentError where only some are, or one is unreadable. */
export function loadInternalIdentity({ caFile, certFile, keyFile }: InternalFiles): InternalIdentity | undefined {
  const files = { "-ca-file": caFile, "-cert-file": certFile, "-key-file": keyFile };
  const given = Object.entries(files).filter(([, path]) => path !== "");
  if (given.length === 0) return undefined;
  const missing = Object.entries(files).filter(([, path]) => path === "");
  if (missing.length > 0)
    throw new InvalidArgumentError(
      `the internal API's TLS needs all of -ca-file, -cert-file and -key-file: ${missing.map(([k]) => k).join(", ")} not given`,
    );
  const read = (path: string) => {
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      throw new InvalidArgumentError(`cannot read ${path}`, { cause });
    }
  };
  return { certPem: read(certFile), keyPem: read(keyFile), roots: [read(caFile)] };
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** Refuses plain text anywhere but on loopback, saying what to do. */
export function requireTlsOffLoopback(host: string, identity: object | undefined): void {
  if (identity !== undefined || isLoopback(host)) return;
  throw new InvalidArgumentError(
    `refusing to serve the internal API in plain text on ${host}: give -ca-file, -cert-file and -key-file (made by 'heddle tls ca create' and 'heddle tls cert create'), or listen on 127.0.0.1`,
  );
}

/** Who a caller is by its certificate. */
export interface Caller {
  role: string;
  /** The node that it speaks for, where it may speak for one only. */
  node?: string;
}

const callers = new WeakMap<IncomingMessage, Caller>();

/** Who a request is from, once `requireRole` has seen it; undefined on loopback without TLS. */
export const callerOf = (req: IncomingMessage): Caller | undefined => callers.get(req);

export const rememberCaller = (req: IncomingMessage, caller: Caller): void => void callers.set(req, caller);

/**
 * Refuses a caller whose certificate holds none of the roles. On loopback without TLS everybody of this machine may call:
 * undefined.
 */
export async function requireRole(req: IncomingMessage, roles: readonly string[]): Promise<Caller | undefined> {
  if (!(req.socket instanceof TLSSocket)) return undefined;
  const { peerDaemon } = await import("@heddle/tls");
  const { role, node } = peerDaemon(req.socket) ?? {};
  if (role !== undefined && roles.includes(role)) {
    const caller = { role, ...(node !== undefined && { node }) };
    rememberCaller(req, caller);
    return caller;
  }
  throw new PermissionDeniedError(
    `a caller with role '${role ?? "none"}' may not ${req.method ?? "GET"} ${(req.url ?? "").split("?")[0]}: want ${roles.join(" or ")}`,
  );
}

/** The answer to an error on an internal path: its status and `{ error: { code, message } }`. */
export function toInternalError(error: unknown): {
  status: number;
  body: { error: { code: string; message: string } };
} {
  const known = error instanceof HeddleError ? error : undefined;
  return {
    status: known?.status ?? 500,
    body: {
      error: { code: known?.code ?? "internal", message: error instanceof Error ? error.message : String(error) },
    },
  };
}
