import { ApiError, createStreamClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { expect, test } from "vitest";
import { startCatalog } from "./harness.ts";

type Catalog = Awaited<ReturnType<typeof startCatalog>>;
type Entry = { Kind: string; Name: string; CreateIndex: number; ModifyIndex: number } & Record<string, unknown>;
type Rule = { ID: string; SourceName: string; DestinationName: string; Action: string; Permissions?: unknown[] };

const write = (catalog: Catalog, body: object, query = "") => catalog.api.put(`/v1/config${query}`, { body });
const get = async <T>(catalog: Catalog, path: string): Promise<T> => (await catalog.api.get<T>(path)).body;
const refusal = async (request: Promise<unknown>): Promise<string> => {
  const error = await request.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(ApiError);
  const { status, message } = error as ApiError;
  return `${status} ${message}`;
};
const allowed = async (catalog: Catalog, source: string, destination: string) =>
  (await get<{ Allowed: boolean }>(catalog, `/v1/connect/intentions/check?source=${source}&destination=${destination}`))
    .Allowed;

test("an entry is replaced whole, found whatever the case of its name, and written only where cas holds", async () => {
  await using catalog = await startCatalog();
  await write(catalog, { Kind: "service-defaults", Name: "Web", Protocol: "http", ExternalSNI: "x" });
  await write(catalog, { kind: "service-defaults", name: "web", protocol: "grpc" });
  const found = await get<Entry>(catalog, "/v1/config/service-defaults/WEB");
  expect(found).toMatchObject({ Name: "web", Protocol: "grpc" });
  expect(found).not.toHaveProperty("ExternalSNI");
  const body = { Kind: "service-defaults", Name: "web", Protocol: "tcp" };
  expect((await write(catalog, body, "?cas=0")).body).toBe(false);
  expect((await write(catalog, body, `?cas=${found.ModifyIndex}`)).body).toBe(true);
  expect((await write(catalog, body, `?cas=${found.ModifyIndex}`)).body).toBe(false);
  const { ModifyIndex } = await get<Entry>(catalog, "/v1/config/service-defaults/web");
  const remove = (query: string) => catalog.api.delete(`/v1/config/service-defaults/web${query}`);
  expect((await remove(`?cas=${found.ModifyIndex}`)).body).toBe(false);
  expect((await remove(`?cas=${ModifyIndex}`)).body).toBe(true);
  expect((await remove("")).body).toEqual({});
  expect(await refusal(catalog.api.get("/v1/config/service-defaults/web"))).toContain("404");
});

test("a write or delete that would leave a chain without sense is refused, and nothing has changed", async () => {
  await using catalog = await startCatalog();
  const split = { Kind: "service-splitter", Name: "web", Splits: [{ Weight: 100, ServiceSubset: "v1" }] };
  expect(await refusal(write(catalog, split))).toContain('service "web" does not have a subset named "v1"');
  await write(catalog, { Kind: "service-resolver", Name: "web", Subsets: { v1: {} } });
  expect(await refusal(write(catalog, split))).toContain("does not permit advanced routing or splitting");
  await write(catalog, { Kind: "service-defaults", Name: "web", Protocol: "http" });
  await write(catalog, split);
  for (const path of ["/v1/config/service-defaults/web", "/v1/config/service-resolver/web"])
    expect(await refusal(catalog.api.delete(path))).toMatch(/^500 /);
  const loop = { Kind: "service-resolver", Name: "a", Redirect: { Service: "b" } };
  await write(catalog, loop);
  expect(await refusal(write(catalog, { ...loop, Name: "b", Redirect: { Service: "a" } }))).toContain("circular");
  expect((await get<Entry[]>(catalog, "/v1/config/")).map((e) => `${e.Kind}/${e.Name}`)).toEqual([
    "service-defaults/web",
    "service-resolver/a",
    "service-resolver/web",
    "service-splitter/web",
  ]);
});

test("an entry's readers are woken by it alone, over HTTP and on the stream", async () => {
  await using catalog = await startCatalog();
  const stream = createStreamClient({ url: catalog.url, log: silentLog });
  const seen: unknown[] = [];
  stream.subscribe<Entry | null>("/v1/config/service-defaults/web", {
    onAnswer: ({ body }) => seen.push(body?.["Protocol"] ?? null),
  });
  await expect.poll(() => seen).toEqual([null]);
  const { index } = await catalog.api.get("/v1/config/service-defaults");
  const waiting = catalog.api.get<Entry[]>(`/v1/config/service-defaults?index=${index}&wait=20s`);
  await write(catalog, { Kind: "service-resolver", Name: "web" });
  await write(catalog, { Kind: "service-defaults", Name: "other" });
  expect((await waiting).body).toMatchObject([{ Name: "other" }]);
  await write(catalog, { Kind: "service-defaults", Name: "web", Protocol: "http" });
  await catalog.api.delete("/v1/config/service-defaults/web");
  await expect.poll(() => seen).toEqual([null, "http", null]);
  stream.close();
});

test("intentions and their config entry are two views of the same rules", async () => {
  await using catalog = await startCatalog();
  const { body: made } = await catalog.api.post<{ ID: string }>("/v1/connect/intentions", {
    body: { SourceName: "web", DestinationName: "db", Action: "allow", Meta: { team: "a" } },
  });
  const path = "/v1/config/service-intentions/db";
  expect(await get<Entry>(catalog, path)).toMatchObject({
    Name: "db",
    Sources: [{ Name: "web", Action: "allow", Precedence: 9, LegacyID: made.ID, LegacyMeta: { team: "a" } }],
  });
  await write(catalog, {
    Kind: "service-intentions",
    Name: "db",
    Meta: { owner: "b" },
    Sources: [
      { Name: "*", Action: "deny" },
      { Name: "web", Action: "deny" },
      { Name: "api", Permissions: [{ Action: "allow", HTTP: { PathPrefix: "/", Methods: ["get"] } }] },
    ],
  });
  const rules = await get<Rule[]>(catalog, "/v1/connect/intentions");
  expect(rules.map((r) => `${r.SourceName}=>${r.DestinationName} ${r.Action}`)).toEqual([
    "api=>db ",
    "web=>db deny",
    "*=>db deny",
  ]);
  expect(rules.find((r) => r.SourceName === "web")?.ID).toBe(made.ID);
  expect(rules[0]?.Permissions).toEqual([{ Action: "allow", HTTP: { PathPrefix: "/", Methods: ["GET"] } }]);
  for (const source of ["web", "api", "other"]) expect(await allowed(catalog, source, "db"), source).toBe(false);
  const entry = await get<Entry>(catalog, path);
  expect(entry).toMatchObject({ Meta: { owner: "b" }, Sources: [{ Name: "api" }, { Name: "web" }, { Name: "*" }] });
  expect(JSON.stringify(entry)).not.toContain("LegacyID");
  // What was read is written back as it is, and by whoever has read the newest only.
  expect((await write(catalog, entry, `?cas=${entry.ModifyIndex}`)).body).toBe(true);
  expect((await write(catalog, entry, `?cas=${entry.ModifyIndex}`)).body).toBe(false);
  await catalog.api.delete(`/v1/connect/intentions/${made.ID}`);
  expect((await get<Entry>(catalog, path))["Sources"]).toHaveLength(2);
  await catalog.api.delete(path);
  expect(await get<Rule[]>(catalog, "/v1/connect/intentions")).toEqual([]);
  expect(await allowed(catalog, "other", "db")).toBe(true);
});

test("rules on requests are checked in either form", async () => {
  await using catalog = await startCatalog();
  const body = { SourceName: "web", DestinationName: "db", Permissions: [{ Action: "allow", HTTP: { Bogus: 1 } }] };
  expect(await refusal(catalog.api.post("/v1/connect/intentions", { body }))).toContain("Permissions[0].HTTP.Bogus");
  const wrong = { ...body, Permissions: [{ Action: "maybe", HTTP: { PathExact: "/" } }] };
  expect(await refusal(catalog.api.post("/v1/connect/intentions", { body: wrong }))).toContain(
    "Permissions[0].Action must be set to 'allow' or 'deny'",
  );
});

test("gateways: what they serve, by name and by wildcard, and who waits for it", async () => {
  await using catalog = await startCatalog();
  const service = (Service: string, more: object = {}) =>
    catalog.register({ Node: "n1", Address: "10.0.0.1", Service: { Service, ...more } });
  await service("db");
  const { index } = await catalog.api.get("/v1/health/connect/db");
  const waiting = catalog.api.get<unknown[]>(`/v1/health/connect/db?index=${index}&wait=20s`);
  await service("exit", { Kind: "terminating-gateway", Port: 8443 });
  await write(catalog, {
    Kind: "terminating-gateway",
    Name: "exit",
    Services: [{ Name: "*", SNI: "x" }, { Name: "db" }],
  });
  expect((await waiting).body).toMatchObject([{ Service: { Service: "exit" } }]);
  const names = async (gateway: string) =>
    (await get<{ Service: { Name: string } }[]>(catalog, `/v1/catalog/gateway-services/${gateway}`)).map(
      (row) => row.Service.Name,
    );
  expect(await names("exit")).toEqual(["db"]);
  // A service that a wildcard takes in is dialled by the gateway as soon as it is there.
  const later = await catalog.api.get("/v1/health/connect/new");
  expect(later.body).toEqual([]);
  const woken = catalog.api.get<unknown[]>(`/v1/health/connect/new?index=${later.index}&wait=20s`);
  await service("new");
  expect((await woken).body).toHaveLength(1);
  expect(await names("exit")).toEqual(["db", "new"]);

  await write(catalog, { Kind: "service-defaults", Name: "new", Protocol: "http" });
  const listeners = [{ Port: 80, Protocol: "http", Services: [{ Name: "*" }] }];
  await write(catalog, { Kind: "ingress-gateway", Name: "edge", Listeners: listeners });
  await service("edge", { Kind: "ingress-gateway", Port: 80 });
  expect(await names("edge")).toEqual(["new"]);
  expect(await get<unknown[]>(catalog, "/v1/health/ingress/new")).toHaveLength(1);
  expect(await get<unknown>(catalog, "/v1/internal/ui/gateway-services-nodes/edge")).toMatchObject([
    { Name: "new", InstanceCount: 1, GatewayConfig: { Addresses: ["new.ingress.dc1.consul.:80"] } },
  ]);
  const clash = { Kind: "terminating-gateway", Name: "edge" };
  expect(await refusal(write(catalog, clash))).toContain(
    'a "ingress-gateway" config entry with that name already exists',
  );
});

test("a listener of an ingress gateway speaks what its service does; bytes may later be let through to more", async () => {
  await using catalog = await startCatalog();
  const gateway = (Protocol: string) => ({
    Kind: "ingress-gateway",
    Name: "edge",
    Listeners: [{ Port: 80, Protocol, Services: [{ Name: "web" }] }],
  });
  await write(catalog, gateway("tcp"));
  await write(catalog, { Kind: "proxy-defaults", Name: "any", Config: { protocol: "http" } });
  expect(await refusal(write(catalog, gateway("tcp")))).toContain("does not match defined listener protocol");
  await write(catalog, gateway("http"));
  expect(await refusal(catalog.api.delete("/v1/config/proxy-defaults/other"))).toContain(
    'service "web" has protocol "tcp", which does not match defined listener protocol "http"',
  );
  await catalog.api.delete("/v1/config/ingress-gateway/edge");
  await catalog.api.delete("/v1/config/proxy-defaults/other");
  expect(await get<Entry[]>(catalog, "/v1/config/")).toEqual([]);
});

test("a service that a listener names twice is one row, as it was named last", async () => {
  await using catalog = await startCatalog();
  await write(catalog, { Kind: "proxy-defaults", Config: { protocol: "http" } });
  const named = (Name: string, host: string) => ({ Name, Hosts: [host] });
  const Services = [named("web", "a.com"), named("Web", "b.com"), { Name: "*" }];
  await write(catalog, {
    Kind: "ingress-gateway",
    Name: "edge",
    Listeners: [{ Port: 80, Protocol: "http", Services }],
  });
  expect(await get<unknown>(catalog, "/v1/catalog/gateway-services/edge")).toMatchObject([
    { Service: { Name: "Web" }, Hosts: ["b.com"] },
  ]);
});

test("a token that an entry demands holds for each of its rules, by whichever API they came, and denies", async () => {
  await using catalog = await startCatalog();
  const JWT = { Providers: [{ Name: "okta", VerifyClaims: [{ Path: ["role"], Value: "admin" }] }] };
  const entry = { Kind: "service-intentions", Name: "db", JWT, Sources: [{ Name: "web", Action: "allow" }] };
  expect(await refusal(write(catalog, entry))).toContain("Referenced JWT Provider does not exist. Provider Name: okta");
  const provider = { Kind: "jwt-provider", Name: "okta", JSONWebKeySet: { Local: { JWKS: "e30=" } } };
  expect((await write(catalog, provider)).body).toBe(true);
  expect(await get<Entry[]>(catalog, "/v1/config/jwt-provider")).toMatchObject([{ ...provider, ClockSkewSeconds: 30 }]);
  expect((await write(catalog, entry)).body).toBe(true);
  await catalog.api.post("/v1/connect/intentions", {
    body: { SourceName: "api", DestinationName: "DB", Action: "allow" },
  });
  await catalog.api.put("/v1/connect/intentions/exact", {
    query: { source: "job", destination: "db" },
    body: { Action: "allow" },
  });
  const rules = await get<(Rule & { JWT?: object })[]>(catalog, "/v1/connect/intentions");
  expect(rules.map((rule) => [rule.SourceName, rule.JWT])).toEqual(["api", "job", "web"].map((name) => [name, JWT]));
  for (const source of ["web", "api", "job"]) expect(await allowed(catalog, source, "db"), source).toBe(false);
  const told = await get<{ Allowed: boolean; Reason: string }>(
    catalog,
    "/v1/connect/intentions/explain?source=web&destination=db",
  );
  expect(told).toMatchObject({ Allowed: false, Reason: expect.stringContaining("demands a token of okta") as string });
  expect(await get<Entry>(catalog, "/v1/config/service-intentions/db")).toMatchObject({ JWT });
  // Without it they are what they were.
  expect((await write(catalog, { ...entry, JWT: undefined })).body).toBe(true);
  expect(await allowed(catalog, "web", "db")).toBe(true);
});
