/** Errors in Go's words: a check's output is part of the interface, and people search for these texts. */

// What Go's syscall.Errno prints.
const ERRNO: Record<string, string> = {
  E2BIG: "argument list too long",
  EACCES: "permission denied",
  EADDRNOTAVAIL: "cannot assign requested address",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset by peer",
  EHOSTUNREACH: "no route to host",
  EINVAL: "invalid argument",
  EMFILE: "too many open files",
  ENETUNREACH: "network is unreachable",
  ENOENT: "no such file or directory",
  ENOEXEC: "exec format error",
  ENOTDIR: "not a directory",
  EPERM: "operation not permitted",
  EPIPE: "broken pipe",
  ETIMEDOUT: "connection timed out",
};

/** The errno of a failed system call in words, or the error's own message. */
export function errnoText(error: NodeJS.ErrnoException): string {
  return ERRNO[error.code ?? ""] ?? error.message;
}

/** "dial tcp 127.0.0.1:1: connect: connection refused": what Go's net.Dial says. */
export function dialText(error: unknown, network: "tcp" | "udp", target: string): string {
  // A name with several addresses fails with an error for each: Go tells the first.
  const first = (error instanceof AggregateError ? error.errors[0] : error) as NodeJS.ErrnoException & {
    address?: string;
    port?: number;
    hostname?: string;
  };
  if (first.syscall === "getaddrinfo") {
    const why = first.code === "ENOTFOUND" ? "no such host" : "Temporary failure in name resolution";
    return `dial ${network}: lookup ${first.hostname ?? target}: ${why}`;
  }
  const at = first.address === undefined ? target : joinHostPort(first.address, first.port ?? 0);
  return `dial ${network} ${at}: ${first.code === undefined ? first.message : `connect: ${errnoText(first)}`}`;
}

export const joinHostPort = (host: string, port: number | string): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

/** What Go's TLS says where Node has a code; undefined for an error of another kind. */
export function tlsText(
  error: NodeJS.ErrnoException & { reason?: string; host?: string },
  name: string,
): string | undefined {
  // The code depends on whether the record came before or after our first write.
  if (/wrong version number|packet length too long/.test(error.message))
    return "tls: first record does not look like a TLS handshake";
  switch (error.code ?? "") {
    case "CERT_HAS_EXPIRED":
    case "CERT_NOT_YET_VALID":
      return "x509: certificate has expired or is not yet valid";
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return "x509: certificate signed by unknown authority";
    case "ERR_TLS_CERT_ALTNAME_INVALID": {
      // The reason ends in the names that the certificate has: "…altnames: DNS:a, URI:b", "…list: 10.0.0.1".
      const list = /(?:altnames|list): ?(.*)$/.exec(error.reason ?? "")?.[1] ?? "";
      const names = list
        .split(", ")
        .filter((entry) => !/^(?:URI|IP Address|email):/.test(entry))
        .map((entry) => entry.replace(/^DNS:/, ""))
        .join(", ");
      if (names) return `x509: certificate is valid for ${names}, not ${name}`;
      return error.reason?.startsWith("IP:")
        ? `x509: cannot validate certificate for ${name} because it doesn't contain any IP SANs`
        : `x509: certificate is not valid for ${name}`;
    }
    case "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL":
    case "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED":
    case "ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE":
      return `remote error: tls: ${(error.reason ?? error.message).replace(/^.*alert /, "")}`;
    default:
      return undefined;
  }
}
