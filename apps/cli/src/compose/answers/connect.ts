/** What the rows of intentions and of the certificate authority answer. */
import type { Spec } from "@heddle/daemon";
import { byName, ID, INDEXES, integers, list, META, object, ROOTS, texts, titled } from "./shared.ts";

const INTENTION = titled("Intention", {
  ...texts("ID", "Description", "SourceNS", "SourceName", "DestinationNS", "DestinationName", "SourceType", "Action"),
  ...texts("DefaultAddr", "CreatedAt", "UpdatedAt", "Hash"),
  Permissions: list("any"),
  JWT: object({
    Providers: list(object({ Name: "string", VerifyClaims: list(object({ Path: "strings", Value: "string" })) })),
  }),
  ...integers("DefaultPort", "Precedence"),
  Meta: META,
  ...INDEXES,
});
const PLACE = texts("Node", "Process", "Proxy", "Service");
const HOLDER = titled("RuleHolder", {
  ...PLACE,
  Version: "index",
  LastSeen: "string",
  IsSilent: "boolean",
  IsCurrent: "boolean",
  Open: "integer",
});
const UNREPORTED = list(titled("UnreportedInstance", texts("Node", "ServiceID", "Service")));
const RULE: Record<string, Spec> = {
  ...texts("ID", "Source", "Destination", "Action", "Description"),
  Precedence: "integer",
};
const IDLE_RULES = list(object(texts("ID", "Source", "Destination", "Because")));
const EXPLANATION = titled("Explanation", {
  ...texts("Source", "Destination", "Reason"),
  Allowed: "boolean",
  Rule: titled("ExplainedRule", RULE),
  Default: object({ Allowed: "boolean", Reason: "string" }),
  Trace: list(titled("ExplainedStep", { ...RULE, ...texts("Outcome", "Why") })),
  Version: "index",
  Holders: list(HOLDER),
  Unreported: UNREPORTED,
  IdleRules: IDLE_RULES,
});
const PAIR = titled("PlannedPair", {
  ...texts("Source", "Destination", "Before", "After", "LastSeen", "LastRefused"),
  ...integers("Open", "Bytes", "Refused"),
  Where: list(object({ ...PLACE, Source: "string", Count: "integer" })),
});
const PLAN = titled("Plan", {
  ...integers("Connections", "CutPairs", "OpenedPairs", "Unchanged", "Holders"),
  Cut: list(PAIR),
  Opened: list(PAIR),
  Unreported: UNREPORTED,
  IdleRules: IDLE_RULES,
});
const REVOKED = texts("Service", "Reason", "RevokedAt", "ExpiresAt");
const REVOKED_SERVICE = titled("RevokedService", { ...REVOKED, Reinstated: "boolean" });
export const REVOCATIONS = titled("Revocations", {
  Serials: list(titled("RevokedSerial", { ...REVOKED, SerialNumber: "string" })),
  Services: list(REVOKED_SERVICE),
  Nodes: list(titled("RevokedNode", texts("Node", "KeyID", "RevokedAt", "ExpiresAt"))),
});
const JOIN_TOKEN: Record<string, Spec> = {
  ...texts("ID", "Node", "CreatedAt", "ExpiresAt"),
  ...integers("Uses", "Used"),
  UsedBy: list(object(texts("Node", "At"))),
};
const CA_STATUS = titled("CAStatus", {
  ...texts("TrustDomain", "State", "LastAbortedAt", "RenewAt", "LeavesCountedSince"),
  Rotation: object({ ...texts("Phase", "Since", "From", "Because"), Followed: "number", Abortable: "boolean" }),
  Roots: list(
    object({
      ...texts("ID", "PrivateKeyType", "Origin", "NotAfter", "RotatedOutAt", "RemoveAt"),
      ...integers("PrivateKeyBits", "Leaves"),
      DaysLeft: "number",
      Active: "boolean",
      CrossSigned: "boolean",
    }),
  ),
  Intermediate: object({ ...texts("ID", "NotAfter", "RenewAt"), DaysLeft: "number" }),
  Following: object({
    ...integers("Agents", "AgentsInformed", "Proxies", "ProxiesTrusting", "Leaves", "LeavesRenewed"),
    WaitsFor: "strings",
    ClocksApart: list(object({ Agent: "string", AheadMs: "integer" })),
  }),
  Followers: "integer",
});

export const CONNECT_ANSWERS: Record<string, Spec> = {
  "PUT /v1/connect/ca/abort": object(texts("Aborted", "ActiveRootID")),
  "GET /v1/connect/ca/configuration": titled("CAConfiguration", {
    Provider: "string",
    Config: byName("any"),
    State: META,
    ForceWithoutCrossSigning: "boolean",
    ...INDEXES,
  }),
  "PUT /v1/connect/ca/csr": object({ CSR: "string" }),
  "GET /v1/connect/ca/join-tokens": list(titled("JoinToken", JOIN_TOKEN)),
  "PUT /v1/connect/ca/join-tokens": object({ ...JOIN_TOKEN, Join: "string" }),
  "DELETE /v1/connect/ca/join-tokens/": "boolean",
  "GET /v1/connect/ca/joined-nodes": list(object(texts("Node", "Token", "JoinedAt", "SignedAt"))),
  "DELETE /v1/connect/ca/joined-nodes/": "boolean",
  "PUT /v1/connect/ca/reinstate": REVOKED_SERVICE,
  "GET /v1/connect/ca/revocations": REVOCATIONS,
  "PUT /v1/connect/ca/revoke": titled("Revoked", { ...REVOKED, SerialNumber: "string", Reinstated: "boolean" }),
  "PUT /v1/connect/ca/rollback": object({ ActiveRootID: "string" }),
  "PUT /v1/connect/ca/rotate": object(texts("ActiveRootID", "IntermediateID")),
  "GET /v1/connect/ca/roots": ROOTS,
  "GET /v1/connect/ca/status": CA_STATUS,
  "GET /v1/connect/intentions": list(INTENTION),
  "POST /v1/connect/intentions": ID,
  "GET /v1/connect/intentions/": INTENTION,
  "PUT /v1/connect/intentions/": ID,
  "DELETE /v1/connect/intentions/": "boolean",
  "GET /v1/connect/intentions/check": object({ Allowed: "boolean" }),
  "GET /v1/connect/intentions/exact": INTENTION,
  "PUT /v1/connect/intentions/exact": "boolean",
  "DELETE /v1/connect/intentions/exact": "boolean",
  "GET /v1/connect/intentions/explain": EXPLANATION,
  "GET /v1/connect/intentions/match": byName(list(INTENTION)),
  "POST /v1/connect/intentions/plan": PLAN,
};
