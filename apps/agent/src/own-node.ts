/** What the agent tells the catalog of its own node. */
import type { NodeService } from "@heddle/service-definition";
import type { NodeFacts } from "./catalog-sync.ts";
import type { AgentConfig } from "./config/index.ts";

export function nodeFacts(config: AgentConfig): NodeFacts {
  return {
    ID: config.nodeId,
    Node: config.nodeName,
    Address: config.advertiseAddr,
    TaggedAddresses: config.taggedAddresses,
    NodeMeta: { "consul-network-segment": "", ...config.nodeMeta },
  };
}

/** What a server says of itself: clients find the servers as the service `consul`. */
export function serverService(config: AgentConfig, version: string): NodeService | undefined {
  if (!config.server) return undefined;
  return {
    ID: "consul",
    Service: "consul",
    Tags: [],
    Address: "",
    Meta: {
      raft_version: "3",
      serf_protocol_current: "2",
      serf_protocol_max: "5",
      serf_protocol_min: "1",
      non_voter: "false",
      version,
    },
    Port: config.ports.server,
    Weights: { Passing: 1, Warning: 1 },
    EnableTagOverride: false,
  };
}
