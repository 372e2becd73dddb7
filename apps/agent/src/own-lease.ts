/** Tells the catalog that this node lives, and lets other agents see it. */
import { internalTls, tlsOptions } from "@heddle/api-client";
import { isLoopback, type LiveIdentity, type Logger, type RevokedCallers } from "@heddle/daemon";
import { isAnyAddress } from "@heddle/service-definition";
import type { ClientOptions } from "ws";
import { askAlive, startAliveListener } from "./alive.ts";
import type { AgentConfig } from "./config/index.ts";
import { holdLease, type LeaseOptions } from "./lease.ts";

export interface OwnLeaseOptions extends Pick<LeaseOptions, "onDeregister" | "onRegained" | "onSilence" | "onWayBack"> {
  catalogUrl: string;
  identity: LiveIdentity | undefined;
  revoked: RevokedCallers;
  log: Logger;
}

/** Who this node is, as a member of the mesh. */
export const memberOf = ({ nodeName, nodeId, advertiseAddr, server }: AgentConfig) => ({
  ...{ Node: nodeName, ID: nodeId, Address: advertiseAddr, Server: server },
});

/** Holds this node's lease, with the listener on which others ask, until it is disposed of. */
export async function startLease(
  config: AgentConfig,
  { catalogUrl, identity, revoked, log, ...on }: OwnLeaseOptions,
): Promise<AsyncDisposable> {
  const { advertiseAddr, bindAddr, nodeName, ports } = config;
  // Where others cannot come to, they must not be sent: they would take this node for dead.
  const isSeen = identity ? isAnyAddress(bindAddr) || bindAddr === advertiseAddr : isLoopback(advertiseAddr);
  const listener = isSeen
    ? await startAliveListener({
        host: identity ? bindAddr : advertiseAddr,
        port: Math.max(0, ports.serfLan),
        identity,
        revoked,
        node: nodeName,
        log: log.child("alive"),
      })
    : undefined;
  const tls = internalTls(identity, ["catalog", "server"]);
  const lease = holdLease({
    url: catalogUrl,
    tls: tls && (() => tlsOptions(tls) as ClientOptions),
    facts: {
      ...memberOf(config),
      ProbePort: listener ? Number(new URL(listener.url).port) : 0,
      ProbeTLS: identity !== undefined,
    },
    ...on,
    probe: (target) => askAlive(target, identity),
    log: log.child("lease"),
  });
  return {
    async [Symbol.asyncDispose]() {
      lease.close();
      await listener?.close();
    },
  };
}
