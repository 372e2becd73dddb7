/** What the agent's own rows answer. */
import type { Spec } from "@heddle/daemon";
import { RULE_REPORT_FIELDS } from "@heddle/intentions";
import { REVOCATIONS } from "./connect.ts";
import {
  AGENT_SERVICE,
  byName,
  CHECK,
  COORDINATE,
  integers,
  list,
  META,
  object,
  ROOTS,
  texts,
  titled,
} from "./shared.ts";

const LOCAL_HEALTH = titled("LocalHealth", {
  AggregatedStatus: "string",
  Service: AGENT_SERVICE,
  Checks: list(CHECK),
});
const MEMBER = titled("Member", {
  ...texts("Name", "Addr"),
  Tags: META,
  ...integers("Port", "Status", "ProtocolMin", "ProtocolMax", "ProtocolCur"),
  ...integers("DelegateMin", "DelegateMax", "DelegateCur"),
});
const SELF = titled("Self", {
  Config: object({
    ...texts("Datacenter", "PrimaryDatacenter", "NodeName", "NodeID", "Revision", "Version"),
    Server: "boolean",
  }),
  DebugConfig: byName("any"),
  Coord: COORDINATE,
  Member: MEMBER,
  Stats: byName(META),
  Meta: META,
  xDS: byName("any"),
});
const HOST = titled("Host", {
  Memory: object(integers("total", "available", "used", "free")),
  CPU: list(object({ ...integers("cpu", "mhz"), modelName: "string" })),
  Host: object({
    ...texts("hostname", "os", "platform", "platformVersion", "kernelVersion", "kernelArch"),
    uptime: "integer",
  }),
  Disk: byName("any"),
  CollectionTime: "uint64",
  Errors: "strings",
});
const SAMPLE = titled("MetricSample", {
  Name: "string",
  Labels: META,
  Count: "integer",
  Rate: "number",
  Sum: "number",
  Min: "number",
  Max: "number",
  Mean: "number",
  Stddev: "number",
});
const METRICS = titled("Metrics", {
  Timestamp: "string",
  Gauges: list(titled("MetricGauge", { Name: "string", Labels: META, Value: "number" })),
  Points: list("any"),
  Counters: list(SAMPLE),
  Samples: list(SAMPLE),
});
const LEAF = titled("LeafCertificate", {
  ...texts("SerialNumber", "CertPEM", "PrivateKeyPEM", "Service", "ServiceURI", "ValidAfter", "ValidBefore"),
  CreateIndex: "index",
  ModifyIndex: "index",
});
const EVENT = titled("UserEvent", {
  ...texts("ID", "Name", "Payload", "NodeFilter", "ServiceFilter", "TagFilter"),
  Version: "integer",
  LTime: "index",
});
const HELD_RULES = titled("HeldRules", { ...RULE_REPORT_FIELDS, LastSeen: "string" });

export const AGENT_ANSWERS: Record<string, Spec> = {
  "GET /v1/agent/checks": byName(CHECK),
  "GET /v1/agent/connect/ca/leaf/": LEAF,
  "GET /v1/agent/connect/ca/revocations": REVOCATIONS,
  "GET /v1/agent/connect/ca/roots": ROOTS,
  "POST /v1/agent/connect/authorize": object({ Authorized: "boolean", Reason: "string" }),
  "POST /v1/agent/connect/decisions": object({ Followed: "boolean" }),
  "GET /v1/agent/connect/proxies": list(HELD_RULES),
  "POST /v1/agent/connect/proxies": "boolean",
  "GET /v1/agent/debug/runtime": byName("any"),
  "GET /v1/agent/health/service/id/": LOCAL_HEALTH,
  "GET /v1/agent/health/service/name/": list(LOCAL_HEALTH),
  "GET /v1/agent/host": HOST,
  "GET /v1/agent/members": list(MEMBER),
  "GET /v1/agent/metrics": METRICS,
  "GET /v1/agent/self": SELF,
  "GET /v1/agent/service/": AGENT_SERVICE,
  "GET /v1/agent/services": byName(AGENT_SERVICE),
  "GET /v1/agent/version": object(texts("HumanVersion", "SHA", "BuildDate", "FIPS", "Product")),
  "PUT /v1/event/fire/": EVENT,
  "GET /v1/event/list": list(EVENT),
  "GET /v1/openapi.json": byName("any"),
};
