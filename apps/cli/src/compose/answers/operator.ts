/** What the rows of the operator and of the servers' state answer. */
import { AUTOPILOT_FIELDS } from "@heddle/catalog/operations";
import type { Spec } from "@heddle/daemon";
import { byName, INDEXES, integers, list, object, QUERY_META, texts, titled } from "./shared.ts";

const FEDERATION_STATE = titled("FederationState", {
  ...texts("Datacenter", "UpdatedAt"),
  PrimaryModifyIndex: "index",
  ...INDEXES,
});

export const OPERATOR_ANSWERS: Record<string, Spec> = {
  "GET /v1/internal/federation-states": list(FEDERATION_STATE),
  "GET /v1/internal/federation-states/mesh-gateways": byName("any"),
  "GET /v1/internal/federation-state/": object({ State: FEDERATION_STATE, ...QUERY_META }),
  "GET /v1/operator/autopilot/configuration": titled("AutopilotConfiguration", {
    ...AUTOPILOT_FIELDS,
    ...INDEXES,
  }),
  "PUT /v1/operator/autopilot/configuration": "boolean",
  "GET /v1/operator/autopilot/health": titled("ServersHealth", {
    Healthy: "boolean",
    FailureTolerance: "integer",
    Servers: list(
      object({
        ...texts("ID", "Name", "Address", "SerfStatus", "Version", "LastContact", "StableSince"),
        ...integers("LastTerm", "LastIndex"),
        Leader: "boolean",
        Healthy: "boolean",
        Voter: "boolean",
      }),
    ),
  }),
  "GET /v1/operator/raft/configuration": titled("RaftConfiguration", {
    Servers: list(
      object({ ...texts("ID", "Node", "Address", "ProtocolVersion"), Leader: "boolean", Voter: "boolean" }),
    ),
    Index: "index",
  }),
  "GET /v1/status/leader": "string",
  "GET /v1/status/peers": "strings",
};
