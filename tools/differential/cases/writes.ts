import type { Run } from "../run.ts";
import { type Write, everyMutation } from "../writes.ts";

const WRITES: Readonly<Record<string, Write>> = {
  query: {
    method: "POST",
    path: "/v1/query",
    body: {
      Name: "q",
      Token: "",
      Session: "",
      Service: {
        Service: "web",
        Near: "_agent",
        OnlyPassing: true,
        Tags: ["a"],
        IgnoreCheckIDs: ["x"],
        NodeMeta: { a: "b" },
        ServiceMeta: { a: "b" },
        Connect: false,
        Failover: { NearestN: 1, Datacenters: ["dc1"] },
      },
      DNS: { TTL: "10s" },
      Template: { Type: "", Regexp: "", RemoveEmptyTags: false },
    },
    reads: ["/v1/query"],
  },
  cfgsd: {
    method: "PUT",
    path: "/v1/config",
    body: {
      Kind: "service-defaults",
      Name: "web",
      Protocol: "http",
      MeshGateway: { Mode: "local" },
      Expose: { Checks: true, Paths: [] },
      ExternalSNI: "x",
    },
    reads: ["/v1/config/service-defaults"],
  },
  cfgpd: {
    method: "PUT",
    path: "/v1/config",
    body: { Kind: "proxy-defaults", Name: "global", Config: { a: "b" }, MeshGateway: { Mode: "none" } },
    reads: ["/v1/config/proxy-defaults"],
  },
  cfgres: {
    method: "PUT",
    path: "/v1/config",
    body: {
      Kind: "service-resolver",
      Name: "web",
      DefaultSubset: "v1",
      Subsets: { v1: { Filter: "Service.Meta.v == 1", OnlyPassing: true } },
      Redirect: null,
      Failover: { "*": { Service: "db", Datacenters: ["dc1"] } },
      ConnectTimeout: "5s",
    },
    reads: ["/v1/config/service-resolver"],
  },
  cfgspl: {
    method: "PUT",
    path: "/v1/config",
    body: {
      Kind: "service-splitter",
      Name: "web",
      Splits: [
        { Weight: 90, ServiceSubset: "v1" },
        { Weight: 10, Service: "db" },
      ],
    },
    reads: ["/v1/config/service-splitter"],
  },
  cfgrou: {
    method: "PUT",
    path: "/v1/config",
    body: {
      Kind: "service-router",
      Name: "web",
      Routes: [
        {
          Match: {
            HTTP: {
              PathPrefix: "/a",
              Header: [{ Name: "x", Present: true, Invert: false }],
              QueryParam: [{ Name: "q", Exact: "1" }],
              Methods: ["GET"],
            },
          },
          Destination: {
            Service: "db",
            PrefixRewrite: "/",
            RequestTimeout: "5s",
            NumRetries: 2,
            RetryOnConnectFailure: true,
            RetryOnStatusCodes: [500],
          },
        },
      ],
    },
    reads: ["/v1/config/service-router"],
  },
  cfging: {
    method: "PUT",
    path: "/v1/config",
    body: {
      Kind: "ingress-gateway",
      Name: "igw",
      TLS: { Enabled: true },
      Listeners: [
        { Port: 8080, Protocol: "http", Services: [{ Name: "web", Hosts: ["x.com"] }] },
        { Port: 8081, Protocol: "tcp", Services: [{ Name: "db" }] },
      ],
    },
    reads: ["/v1/config/ingress-gateway", "/v1/catalog/gateway-services/igw"],
  },
  cfgter: {
    method: "PUT",
    path: "/v1/config",
    body: {
      Kind: "terminating-gateway",
      Name: "tgw",
      Services: [{ Name: "web", CAFile: "a", CertFile: "b", KeyFile: "c", SNI: "d" }, { Name: "*" }],
    },
    reads: ["/v1/config/terminating-gateway"],
  },
  txn: {
    method: "PUT",
    path: "/v1/txn",
    body: [
      { KV: { Verb: "set", Key: "t/a", Value: "dmFs", Flags: 3 } },
      { Node: { Verb: "set", Node: { ID: "aaaaaaaa-2222-3333-4444-555555555555", Node: "tn", Address: "10.9.9.9" } } },
      { Service: { Verb: "set", Node: "tn", Service: { ID: "ts", Service: "tsvc", Port: 1 } } },
      { Check: { Verb: "set", Check: { Node: "tn", CheckID: "tc", Name: "x", Status: "passing", ServiceID: "ts" } } },
      { KV: { Verb: "get", Key: "t/a" } },
    ],
    reads: ["/v1/kv/t/?recurse", "/v1/catalog/node/tn"],
  },
  ca: {
    method: "PUT",
    path: "/v1/connect/ca/configuration",
    body: {
      Provider: "consul",
      Config: { LeafCertTTL: "72h", CSRMaxPerSecond: 50, RotationPeriod: "2160h" },
      ForceWithoutCrossSigning: false,
    },
    reads: ["/v1/connect/ca/configuration"],
  },
  autop: {
    method: "PUT",
    path: "/v1/operator/autopilot/configuration",
    body: {
      CleanupDeadServers: true,
      LastContactThreshold: "200ms",
      MaxTrailingLogs: 250,
      ServerStabilizationTime: "10s",
    },
    reads: ["/v1/operator/autopilot/configuration"],
  },
};

/** Queries, config entries, transactions and settings, field by field; parts are the names above. */
export default async function writes(run: Run): Promise<void> {
  await everyMutation(run, WRITES);
}
