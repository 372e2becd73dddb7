import { mkdtempSync, rmSync } from "node:fs";
import { createStreamClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { expect, test } from "vitest";
import { startCatalog } from "./harness.ts";

type Catalog = Awaited<ReturnType<typeof startCatalog>>;
interface Executed {
  Service: string;
  Nodes: { Node: { Node: string } }[];
  LeftOut: { Node: string; Reason: string }[];
}

const put = (catalog: Catalog, node: string, status: string, tags: string[] = [], service: object = {}) =>
  catalog.register({
    Node: node,
    Address: `10.0.0.${node.slice(1)}`,
    NodeMeta: { zone: node },
    Service: { ID: `w-${node}`, Service: "web", Tags: tags, Port: 80, Meta: { of: node }, ...service },
    Check: { CheckID: `c-${node}`, Name: "c", Status: status, ServiceID: `w-${node}` },
  });
const define = async (catalog: Catalog, body: object) =>
  (await catalog.api.post<{ ID: string }>("/v1/query", { body })).body.ID;
const refused = (catalog: Catalog, body: object) =>
  define(catalog, body).then(
    (id) => `defined ${id}`,
    (error: unknown) => (error as Error).message,
  );
const execute = async (catalog: Catalog, name: string, query: Record<string, string | number> = {}) =>
  (await catalog.api.get<Executed>(`/v1/query/${name}/execute`, { query })).body;
const nodes = async (...args: Parameters<typeof execute>) =>
  (await execute(...args)).Nodes.map((n) => n.Node.Node).toSorted();

async function threeInstances() {
  const catalog = await startCatalog();
  await put(catalog, "n1", "passing", ["v1", "Blue"]);
  await put(catalog, "n2", "warning", ["v2", "blue"]);
  await put(catalog, "n3", "critical", ["v2"]);
  return catalog;
}

test.each<[string, object, string[]]>([
  ["all but critical ones", {}, ["n1", "n2"]],
  ["passing ones", { OnlyPassing: true }, ["n1"]],
  ["a check that does not count", { OnlyPassing: true, IgnoreCheckIDs: ["c-n2", "c-n3"] }, ["n1", "n2", "n3"]],
  ["every tag, in any case", { Tags: ["BLUE", "v2"] }, ["n2"]],
  ["without a tag", { Tags: ["!v1"] }, ["n2"]],
  ["node meta", { NodeMeta: { zone: "n2" } }, ["n2"]],
  ["service meta", { ServiceMeta: { of: "n1" } }, ["n1"]],
  ["meta that is not there", { ServiceMeta: { constructor: "" } }, []],
  ["a service's name in any case", { Service: "WEB" }, ["n1", "n2"]],
  ["mesh endpoints", { Connect: true }, []],
])("a query picks %s", async (_what, service, wanted) => {
  await using catalog = await threeInstances();
  await define(catalog, { Name: "q", Service: { Service: "web", ...service } });
  expect(await nodes(catalog, "q")).toEqual(wanted);
});

test("?explain says what left an instance out", async () => {
  await using catalog = await threeInstances();
  await define(catalog, { Name: "q", Service: { Service: "web", Tags: ["!v1"] } });
  const { LeftOut } = await execute(catalog, "q", { explain: "" });
  expect(LeftOut).toEqual([
    { Node: "n1", ServiceID: "w-n1", Reason: "it has the tag 'v1'" },
    { Node: "n3", ServiceID: "w-n3", Reason: "check 'c-n3' is critical" },
  ]);
});

test("the node that is asked for comes first, by name and by the address that asks", async () => {
  await using catalog = await threeInstances();
  await define(catalog, { Name: "q", Service: { Service: "web", Near: "n2" } });
  await define(catalog, { Name: "ip", Service: { Service: "web", Near: "_ip" } });
  const first = async (name: string, query = {}) => (await execute(catalog, name, query)).Nodes[0]?.Node.Node;
  for (let i = 0; i < 10; i++) {
    expect(await first("q")).toBe("n2");
    expect(await first("q", { near: "n1" })).toBe("n1");
    expect(await first("ip", { ip: "10.0.0.1" })).toBe("n1");
    expect(await first("q", { near: "_agent", agent: "n1" })).toBe("n1");
  }
});

test("names: unique in any case, static before template, the longest prefix, an id before all", async () => {
  await using catalog = await threeInstances();
  const template = (Name: string, Service: object, more = {}) =>
    define(catalog, { Name, Template: { Type: "name_prefix_match", ...more }, Service });
  const id = await define(catalog, { Name: "geo-static", Service: { Service: "static" } });
  await template("", { Service: "all-${name.full}" });
  await template(
    "geo-",
    { Service: "${match(1)}", Tags: ["${match(2)}", "x"] },
    {
      Regexp: "^geo-([a-z]+)-?([a-z]*)$",
      RemoveEmptyTags: true,
    },
  );
  await template("Geo-long-", { Service: "long-${name.suffix}" });
  const service = async (name: string) => (await execute(catalog, name)).Service;
  expect(await service("geo-static")).toBe("static");
  expect(await service("GEO-Static")).toBe("static");
  expect(await service(id)).toBe("static");
  expect(await service("geo-web-blue")).toBe("web");
  expect(await service("Geo-long-x")).toBe("long-x");
  expect(await service("geo-long-x")).toBe("long-geo-long-x");
  expect(await service("anything")).toBe("all-anything");
  const { body } = await catalog.api.get<{ Query: { Service: { Tags: string[] } } }>("/v1/query/geo-web/explain");
  expect(body.Query.Service.Tags).toEqual(["x"]);
  expect(await refused(catalog, { Name: "GEO-STATIC", Service: { Service: "x" } })).toContain(
    "name 'GEO-STATIC' aliases an existing query name",
  );
  expect(await refused(catalog, { Name: id, Service: { Service: "x" } })).toContain("aliases an existing query ID");
});

test.each<[object, string]>([
  [{ Service: { Service: "web" } }, "Invalid prepared query: Must be bound to a session"],
  [{ Name: "q" }, "Invalid prepared query: Must provide a Service name to query"],
  [{ Name: "q", Service: { Service: "w", Failover: { NearestN: -1 } } }, "Bad NearestN '-1', must be >= 0"],
  [
    { Name: "q", Service: { Service: "w", Failover: { NearestN: 1, Targets: [{ Peer: "p" }] } } },
    "Targets cannot be populated with NearestN or Datacenters",
  ],
  [
    { Name: "q", Service: { Service: "w" }, DNS: { TTL: "1d" } },
    `Bad DNS TTL '1d': time: unknown unit "d" in duration "1d"`,
  ],
  [{ Name: "q", Service: { Service: "w" }, DNS: { TTL: "5" } }, `Bad DNS TTL '5': time: missing unit in duration "5"`],
  [{ Name: "q", Service: { Service: "w" }, DNS: { TTL: "x" } }, `Bad DNS TTL 'x': time: invalid duration "x"`],
  [
    { Name: "q", Service: { Service: "w", NodeMeta: { "": "1" } } },
    "Couldn't load metadata pair ('', '1'): Key cannot be blank",
  ],
  [{ Name: "q", Service: { Service: "w" }, Session: "x" }, "invalid session: index error: UUID must be 36 characters"],
  [{ Name: "q", Service: { Service: "w" }, Token: "<hidden>" }, "Bad Token '<hidden>'"],
  [{ Name: "q", Service: { Service: "w" }, ID: "x" }, "ID must be empty when creating a new prepared query"],
  [{ Name: "q", Service: { Service: "w", only_passing: true } }, `unknown field "only_passing"`],
  [
    { Name: "q", Template: { Type: "name_prefix_match", Regexp: "(" }, Service: { Service: "w" } },
    "failed compiling template: Bad Regexp: error parsing regexp: missing closing ): `(`",
  ],
  [
    { Name: "q", Template: { Type: "name_prefix_match" }, Service: { Service: "w", NodeMeta: { k: "${x}" } } },
    "failed compiling template: Bad evaluation for '${x}' in Service.NodeMeta[k]: 1:3: unknown variable accessed: x",
  ],
  [{ Name: "q".repeat(70_000), Service: { Service: "w" } }, "65536"],
])("refused: %j", async (body, message) => {
  await using catalog = await startCatalog();
  expect(await refused(catalog, body)).toContain(message);
});

test("what later versions add to Failover is kept", async () => {
  await using catalog = await startCatalog();
  const Targets = [{ Peer: "east" }, { Datacenter: "dc2" }];
  const id = await define(catalog, { Name: "q", Service: { Service: "web", Failover: { Targets } } });
  const { body } = await catalog.api.get<[{ Service: { Failover: object } }]>(`/v1/query/${id}`);
  expect(body[0].Service.Failover).toEqual({ NearestN: 0, Datacenters: null, Targets });
});

test("a query ends with its session", async () => {
  await using catalog = await startCatalog();
  await catalog.register({ Node: "n1", Address: "10.0.0.1" });
  const { body } = await catalog.api.put<{ ID: string }>("/v1/session/create", {
    body: { Node: "n1", NodeChecks: [] },
  });
  await define(catalog, { Session: body.ID, Service: { Service: "web" } });
  expect((await catalog.api.get<unknown[]>("/v1/query")).body).toHaveLength(1);
  await catalog.api.put(`/v1/session/destroy/${body.ID}`);
  expect((await catalog.api.get<unknown[]>("/v1/query")).body).toEqual([]);
});

test("an answer can be waited for: instances, definition and the end of the query wake it, others do not", async () => {
  await using catalog = await threeInstances();
  const id = await define(catalog, { Name: "q", Service: { Service: "web" } });
  const path = "/v1/query/q/execute";
  const wait = (index: number, time: string) =>
    catalog.api.get<Executed>(path, { query: { index, wait: time }, allow: [404] });
  const first = await catalog.api.get<Executed>(path);
  const unrelated = wait(first.index, "400ms");
  await catalog.register({ Node: "n9", Address: "10.0.0.9", Service: { Service: "db" } });
  expect((await unrelated).index).toBe(first.index);

  const byHealth = wait(first.index, "10s");
  await put(catalog, "n3", "passing", ["v2"]);
  const second = await byHealth;
  expect(second.body.Nodes).toHaveLength(3);

  const byDefinition = wait(second.index, "10s");
  await catalog.api.put(`/v1/query/${id}`, { body: { Name: "q", Service: { Service: "db" } } });
  const third = await byDefinition;
  expect(third.body.Nodes.map((n) => n.Node.Node)).toEqual(["n9"]);

  // From now on the other service's changes count.
  const byNewService = wait(third.index, "10s");
  await catalog.register({ Node: "n8", Address: "10.0.0.8", Service: { Service: "db" } });
  const fourth = await byNewService;
  expect(fourth.body.Nodes).toHaveLength(2);

  const byEnd = wait(fourth.index, "10s");
  await catalog.api.delete(`/v1/query/${id}`);
  expect((await byEnd).status).toBe(404);
});

test("the change stream follows a query, and what daemons see of it has no chance in it", async () => {
  await using catalog = await threeInstances();
  const stream = createStreamClient({ url: catalog.url, log: silentLog });
  const seen: (string[] | null)[] = [];
  const told: unknown[] = [];
  stream.subscribe<Executed | null>("/v1/query/q/execute", {
    onAnswer: ({ body }) => seen.push(body && body.Nodes.map((n) => n.Node.Node).toSorted()),
  });
  stream.subscribe("/v1/internal/query/q?agent=n2", { onAnswer: ({ body }) => told.push(body) });
  await expect.poll(() => seen).toEqual([null]);
  await define(catalog, { Name: "q", Service: { Service: "web", Near: "_agent" }, DNS: { TTL: "7s" } });
  await expect.poll(() => seen).toEqual([null, ["n1", "n2"]]);
  await put(catalog, "n3", "passing");
  await expect.poll(() => seen.at(-1)).toEqual(["n1", "n2", "n3"]);
  const order = [{ Node: { Node: "n2" } }, { Node: { Node: "n1" } }, { Node: { Node: "n3" } }];
  await expect
    .poll(() => told.at(-1))
    .toMatchObject({ Service: "web", Near: "_agent", DNS: { TTL: "7s" }, Nodes: order });
  stream.close();
});

test("templates with a Regexp answer at once after a restart", async () => {
  const dir = mkdtempSync("/tmp/heddle-queries-");
  const service = { Service: "${match(1)}" };
  {
    await using catalog = await startCatalog([`-data-dir=${dir}`]);
    await define(catalog, {
      Name: "g-",
      Template: { Type: "name_prefix_match", Regexp: "^g-(.*)$" },
      Service: service,
    });
  }
  await using catalog = await startCatalog([`-data-dir=${dir}`]);
  expect((await execute(catalog, "g-web")).Service).toBe("web");
  rmSync(dir, { recursive: true });
});

test("a name that a template would fill in without end is refused", async () => {
  await using catalog = await startCatalog();
  const Tags = Array.from({ length: 2_000 }, () => "${name.full}");
  await define(catalog, { Name: "t-", Template: { Type: "name_prefix_match" }, Service: { Service: "x", Tags } });
  await expect(execute(catalog, `t-${"y".repeat(1_000)}`)).rejects.toThrow("fills in more than 65536 characters");
});

test("each path of a query allows what Consul's does, and who asked before leaves no trace", async () => {
  await using catalog = await threeInstances();
  await define(catalog, { Name: "ip", Service: { Service: "web", Near: "_ip" } });
  const allow = async (method: string, path: string) => {
    const { status, headers } = await fetch(`${catalog.url}${path}`, { method });
    return `${status} ${headers.get("allow")}`;
  };
  expect(await allow("OPTIONS", "/v1/query/ip/execute")).toBe("200 OPTIONS,GET");
  expect(await allow("OPTIONS", "/v1/query/x")).toBe("200 OPTIONS,GET,PUT,DELETE");
  expect(await allow("PATCH", "/v1/query/x")).toBe("405 GET,PUT,DELETE");
  expect(await allow("POST", "/v1/query/ip/explain")).toBe("405 GET");
  expect(await allow("DELETE", "/v1/query/ip/execute")).toBe("405 GET");
  const from = async (address: string) => {
    const headers = { "X-Forwarded-For": `${address}, 192.0.2.1` };
    const answer = await fetch(`${catalog.url}/v1/query/ip/execute`, { headers });
    return ((await answer.json()) as Executed).Nodes[0]?.Node.Node;
  };
  for (let i = 0; i < 6; i++) {
    expect(await from("10.0.0.1")).toBe("n1");
    expect(await from("10.0.0.2")).toBe("n2");
  }
});
