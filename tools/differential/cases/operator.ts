import type { Run } from "../run.ts";

const PATHS =
  `/v1/operator/raft/configuration /v1/operator/raft/peer /v1/operator/raft/transfer-leader /v1/operator/autopilot/configuration
  /v1/operator/autopilot/health /v1/operator/keyring /v1/operator/area /v1/operator/segment /v1/operator/license /v1/status/leader /v1/status/peers
  /v1/coordinate/datacenters /v1/coordinate/nodes /v1/coordinate/node/n1 /v1/coordinate/node/none /v1/coordinate/node/ /v1/coordinate/update
  /v1/snapshot /v1/agent/reload /v1/agent/join/127.0.0.1 /v1/agent/join/ /v1/agent/force-leave/none /v1/agent/force-leave/ /v1/agent/force-leave/n1
  /v1/agent/token/default /v1/agent/token/bogus /v1/agent/monitor /v1/internal/ui/nodes /v1/internal/ui/node/n1 /v1/internal/ui/node/none
  /v1/internal/ui/node/ /v1/internal/ui/services /v1/internal/ui/gateway-services-nodes/gw /v1/internal/ui/gateway-services-nodes/
  /v1/internal/ui/gateway-intentions/gw /v1/internal/ui/gateway-intentions/ /v1/internal/federation-states /v1/internal/federation-states/mesh-gateways
  /v1/internal/federation-state/dc1 /v1/internal/federation-state/ /v1/internal/federation-state/dc9 /v1/internal/acl/authorize /v1/acl/tokens /v1/acl/info/x /v1/acl/bootstrap
  /v1/acl/login /v1/acl/replication /v1/acl/rules/translate /v1/catalog/service/ /v1/catalog/node/ /v1/health/service/ /v1/health/node/
  /v1/health/checks/ /v1/health/state/ /v1/session/info/ /v1/session/node/ /v1/config/ /v1/config/bogus /v1/config/service-defaults/
  /v1/discovery-chain/ /v1/connect/intentions/match /v1/connect/intentions/check /v1/connect/intentions/ /v1/query/ /v1/query/x/execute
  /v1/query//execute /v1/catalog/gateway-services/ /v1/catalog/connect/ /v1/kv/ /v1/ /v1 / /v2/x /ui /favicon.ico /robots.txt /v1/agent/`.split(
    /\s+/,
  );
const METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"];
const QUERIES = ["", "?dc=dc2", "?stale&consistent", "?index=x", "?wait=x", "?dc=", "?ns=x"];
// They end or replace the agent's state, or last.
const NOT = new Set([
  "PUT /v1/agent/leave",
  "PUT /v1/agent/reload",
  "GET /v1/agent/monitor",
  "GET /v1/snapshot",
  "PUT /v1/agent/force-leave/n1",
]);

/** Every path that has no list of its own, by every method and with every odd parameter, so that orders of errors are seen, too. */
export default async function operator({ send }: Run): Promise<void> {
  for (const path of PATHS)
    for (const method of METHODS)
      for (const query of QUERIES) {
        if (NOT.has(`${method} ${path}`) && query === "") continue;
        if (method === "GET" && path === "/v1/agent/monitor") continue;
        await send(method, `${path}${query}`);
      }
}
