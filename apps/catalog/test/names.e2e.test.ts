/** Whose a name is: nodes that take another's, metadata that no agent would have let through, and who speaks for a service. */
import { expect, test } from "vitest";
import { startCatalog } from "./harness.ts";

const ID = (n: number) => `0000000${n}-2222-3333-4444-555555555555`;
const SERF = { CheckID: "serfHealth", Name: "Serf Health Status" };

test("a node that is alive keeps its name from another id; once it has failed, the name is free", async () => {
  await using catalog = await startCatalog();
  const { api, register } = catalog;
  const node = (n: number) => ({ Node: "loom", ID: ID(n), Address: "10.0.0.1" });
  await register({ ...node(1), Check: { ...SERF, Status: "passing" } });
  await expect(register(node(2))).rejects.toThrow(
    `Node name loom is reserved by node ${ID(1)} with name loom (10.0.0.1)`,
  );
  await register({ ...node(1), Check: { ...SERF, Status: "critical" } });
  await register(node(2));
  expect((await api.get("/v1/catalog/nodes")).body).toMatchObject([{ Node: "loom", ID: ID(2) }]);
});

test("a node that takes the name of another leaves its own behind, so that no id stands twice", async () => {
  await using catalog = await startCatalog();
  const { api, register } = catalog;
  await register({ Node: "a", ID: ID(1), Address: "10.0.0.1", Service: { Service: "web" } });
  await register({ Node: "b", Address: "10.0.0.2" });
  await register({ Node: "b", ID: ID(1), Address: "10.0.0.3" });
  expect((await api.get("/v1/catalog/nodes")).body).toMatchObject([{ Node: "b", ID: ID(1), Address: "10.0.0.3" }]);
  expect((await api.get("/v1/catalog/service/web")).body).toEqual([]);
});

test("a service's metadata is checked as an agent checks it, alone and in a transaction", async () => {
  await using catalog = await startCatalog();
  const { api, register } = catalog;
  const Service = { ID: "w1", Service: "web", Meta: { "a b": "c" } };
  const problem = "Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters";
  await expect(register({ Node: "n1", Address: "a", Service })).rejects.toThrow(
    `failed inserting service: Invalid Service Meta for node n1 and serviceID w1: ${problem}`,
  );
  await register({ Node: "n1", Address: "a", Service: { ...Service, Meta: {}, Connect: { Later: true } } });
  const body = [{ Service: { Verb: "set", Node: "n1", Service } }];
  await expect(api.put("/v1/txn", { body })).rejects.toThrow(problem);
});

test("an empty key is in no map, and parameters that look like others are other questions", async () => {
  await using catalog = await startCatalog();
  const { api, register } = catalog;
  await register({ Node: "n1", Address: "a", Service: { Service: "web", Tags: ["t"] } });
  const ask = async (query: Record<string, string>) =>
    (await api.get<unknown[]>("/v1/catalog/service/web", { query })).body.length;
  expect(await ask({ filter: '"" in ServiceTaggedAddresses' })).toBe(0);
  expect(await ask({ filter: '"" not in ServiceTaggedAddresses' })).toBe(1);
  for (let i = 0; i < 3; i++) {
    expect(await ask({ tag: "t" })).toBe(1);
    expect(await ask({ "node-meta": "a:b&tag=t" })).toBe(0);
    expect(await ask({ "node-meta": "a:b", tag: "t" })).toBe(0);
  }
});

test("what is missing is told before a foreign datacenter, parameters that cannot be read before both", async () => {
  await using catalog = await startCatalog();
  const ask = (path: string, query: Record<string, string>) => catalog.api.get(path, { query });
  await expect(ask("/v1/catalog/service/", { dc: "other" })).rejects.toThrow("Missing service name");
  await expect(ask("/v1/catalog/service/web", { dc: "other" })).rejects.toThrow("No path to datacenter");
  await expect(ask("/v1/status/leader", { index: "x", dc: "other" })).rejects.toThrow("Invalid index");
});

test("?connect-info tells which proxies stand for an instance, and a proxy that comes wakes who waits for the service", async () => {
  await using catalog = await startCatalog();
  const { api, register } = catalog;
  const node = (Service: object) => register({ Node: "n1", Address: "10.0.0.1", Service });
  await node({ ID: "w1", Service: "web", Port: 80 });
  await node({ ID: "w2", Service: "web", Port: 81, Connect: { Native: true } });
  const ask = (query: Record<string, string> = {}) =>
    api.get<{ ConnectInfo: object }[]>("/v1/health/service/web", { query: { "connect-info": "", ...query } });
  const { body, index } = await ask();
  expect(body.map((row) => row.ConnectInfo)).toEqual([
    { IsCapable: false, Native: false, Proxies: [] },
    { IsCapable: true, Native: true, Proxies: [] },
  ]);
  const waiting = ask({ index: String(index), wait: "20s" });
  const Proxy = { DestinationServiceName: "web", DestinationServiceID: "w1" };
  await node({ ID: "p1", Service: "web-proxy", Kind: "connect-proxy", Port: 21000, Proxy });
  expect((await waiting).body[0]?.ConnectInfo).toEqual({
    IsCapable: true,
    Native: false,
    Proxies: [{ ServiceID: "p1", Address: "10.0.0.1", Port: 21000, IsPassing: true }],
  });
  expect((await api.get<object[]>("/v1/health/service/web")).body[0]).not.toHaveProperty("ConnectInfo");
});

test("of the checks that count for a service its node's come first", async () => {
  await using catalog = await startCatalog();
  const { api, register } = catalog;
  const check = (CheckID: string, ServiceID: string) => ({ CheckID, Name: CheckID, Status: "passing", ServiceID });
  const Checks = [check("a", "web"), check("b", ""), check("c", "web"), check("d", ""), check("e", "db")];
  for (const Service of ["db", "web"]) await register({ Node: "n1", Address: "a", Service: { Service } });
  await register({ Node: "n1", Address: "a", Checks });
  const { body } = await api.get<{ Checks: { CheckID: string }[] }[]>("/v1/health/service/web");
  expect(body[0]?.Checks.map(({ CheckID }) => CheckID)).toEqual(["b", "d", "a", "c"]);
});
