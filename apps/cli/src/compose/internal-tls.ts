/** How a node is on the internal API, by its configuration alone: what is said before anything has started. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { type AgentConfig, hasJoined } from "@heddle/agent";
import { isJoinLine, isLoopback } from "@heddle/daemon";

/** Whether a server's identity comes from its own CA: off loopback, where no files say otherwise. */
export function hasOwnIdentity({ server, tls, bindAddr, internal }: AgentConfig): boolean {
  return server && tls.certFile === "" && tls.keyFile === "" && !isLoopback(bindAddr) && internal.caAddr === "";
}

/** Whether this node speaks mutual TLS with other daemons. */
export function usesTls(config: AgentConfig): boolean {
  const { server, tls, startJoin, retryJoin, dataDir } = config;
  if (tls.certFile !== "" || hasOwnIdentity(config)) return true;
  return !server && ([...startJoin, ...retryJoin].some(isJoinLine) || hasJoined(dataDir));
}

/**
 * Consul's flat keys give all listeners one certificate, and what `consul tls` makes names hosts alone, no role of a daemon: it serves HTTPS, and
 * the internal API goes on as if it had been given none. A certificate given to the internal API by itself stays, to be judged there.
 */
export function withHostCertificates(config: AgentConfig): AgentConfig {
  const { caFile, certFile, https } = config.tls;
  if (caFile + certFile === "" || certFile !== https.certFile || caFile !== https.caFile || hasUri(certFile))
    return config;
  const warning = `cert_file: ${certFile} is for HTTPS alone: it names hosts and no daemon's role, so the internal API has certificates of its own`;
  return {
    ...config,
    tls: { ...config.tls, caFile: "", certFile: "", keyFile: "" },
    warnings: certFile === "" ? config.warnings : [...config.warnings, warning],
  };
}

/** False also for a file that is not there: the listener that wants it says so. */
function hasUri(certFile: string): boolean {
  try {
    return /(?:^|, )URI:/.test(new X509Certificate(readFileSync(certFile)).subjectAltName ?? "");
  } catch {
    return false;
  }
}
