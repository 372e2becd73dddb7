import type { ProxyDefaultsEntry, ServiceDefaultsEntry } from "@heddle/config-entries";
import type { ServiceDefinition } from "@heddle/service-definition";
import { expect, test } from "vitest";
import { CentralDefaults } from "./central-defaults.ts";

const proxies: ProxyDefaultsEntry = {
  Kind: "proxy-defaults",
  Name: "global",
  Config: { protocol: "http", a: 1, nested: { x: 1, y: 2 } },
  MeshGateway: { Mode: "local" },
  Expose: { Checks: true },
};
const service = (Name: string, more: Partial<ServiceDefaultsEntry>): ServiceDefaultsEntry => ({
  Kind: "service-defaults",
  Name,
  Protocol: "",
  MeshGateway: {},
  Expose: {},
  ...more,
});
const definition = (more: Partial<ServiceDefinition>): ServiceDefinition =>
  ({ ID: "s", Name: "s", Tags: [], Meta: {}, Port: 1, Address: "", Checks: [], ...more }) as ServiceDefinition;
const sidecar = (Proxy: NonNullable<ServiceDefinition["Proxy"]>) =>
  definition({ Kind: "connect-proxy", Proxy: { DestinationServiceName: "web", ...Proxy } });

test("a service that is no proxy stays as it is", () => {
  const plain = definition({});
  expect(new CentralDefaults([proxies], []).applyTo(plain)).toBe(plain);
});

test("what the proxy says itself stays, its service's defaults come before those of all proxies", () => {
  const defaults = new CentralDefaults(
    [proxies],
    [service("Web", { Protocol: "grpc", MeshGateway: { Mode: "remote" } })],
  );
  const merged = defaults.applyTo(sidecar({ Config: { a: 5, nested: { x: 9 }, b: "own" } })).Proxy;
  expect(merged).toMatchObject({
    Config: { protocol: "grpc", a: 5, nested: { x: 9, y: 2 }, b: "own" },
    MeshGateway: { Mode: "remote" },
    Expose: { Checks: true },
  });
});

test("a service's proxies require post-quantum key agreement where it says so, or all proxies do", () => {
  const of = (all: object, own: object) =>
    new CentralDefaults([{ ...proxies, Config: { ...all } }], [service("web", own)]).applyTo(sidecar({})).Proxy?.Config;
  expect(of({}, { RequirePQ: true })).toMatchObject({ require_pq: true });
  expect(of({ require_pq: true }, {})).toMatchObject({ require_pq: true });
  expect(of({ require_pq: true }, { RequirePQ: false })).toMatchObject({ require_pq: false });
  expect(of({}, {})).not.toHaveProperty("require_pq");
});

test("that is filled in also where nothing else is", () => {
  const of = (all: object, own: object) =>
    new CentralDefaults([{ ...proxies, Config: { ...all } }], [service("web", own)], false).applyTo(sidecar({})).Proxy;
  expect(of({ a: 1 }, { RequirePQ: true, Protocol: "http" })).toEqual({
    DestinationServiceName: "web",
    Config: { require_pq: true },
  });
  expect(of({ require_pq: true }, {})).toHaveProperty("Config", { require_pq: true });
  expect(of({ a: 1 }, { Protocol: "http" })).toEqual({ DestinationServiceName: "web" });
});

test("upstreams get the protocol of their service and the proxy's gateway mode; queries get none", () => {
  const defaults = new CentralDefaults([proxies], [service("db", { Protocol: "tcp" })]);
  const { Upstreams } = defaults.applyTo(
    sidecar({
      Upstreams: [
        { DestinationName: "DB" },
        { DestinationName: "other", Config: { protocol: "own" }, MeshGateway: { Mode: "none" } },
        { DestinationType: "prepared_query", DestinationName: "q" },
      ],
    }),
  ).Proxy as { Upstreams: unknown[] };
  expect(Upstreams).toMatchObject([
    { DestinationName: "DB", Config: { protocol: "tcp" }, MeshGateway: { Mode: "local" } },
    { DestinationName: "other", Config: { protocol: "own" }, MeshGateway: { Mode: "none" } },
    { DestinationType: "prepared_query", DestinationName: "q" },
  ]);
  expect(Upstreams[2]).not.toHaveProperty("Config");
});

test("a gateway goes by its own name", () => {
  const defaults = new CentralDefaults([], [service("edge", { Protocol: "http" })]);
  const gateway = definition({ Kind: "ingress-gateway", Name: "edge" });
  expect(defaults.applyTo(gateway).Proxy?.Config).toEqual({ protocol: "http" });
});
