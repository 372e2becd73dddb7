/** How a node is on the internal API, by its configuration alone: what is said before anything has started. */
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
