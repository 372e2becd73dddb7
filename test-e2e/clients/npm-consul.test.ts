/** The npm package `consul`: each of its methods, and what Consul answers to the same calls beside it. */
import Consul from "consul";
import { expect, test } from "vitest";
import { startConsulAgent } from "../support/consul.ts";
import { makePlace, startAgent } from "../support/mesh.ts";
import { needs } from "../support/tools.ts";
import { createTranscript, differences, type Transcript } from "../support/transcript.ts";

const NODE = "npm1";

/** Each method of the client's objects, as "kv.get". */
function methodsOf(client: object): string[] {
  const found = new Set<string>();
  const visit = (object: object, path: string) => {
    const prototype = Object.getPrototypeOf(object) as object;
    for (const name of Object.getOwnPropertyNames(prototype))
      if (name !== "constructor" && !name.startsWith("_")) found.add(`${path}.${name}`);
    for (const [name, value] of Object.entries(object))
      if (typeof value === "object" && value !== null && value !== client && name !== "consul" && !name.startsWith("_"))
        visit(value as object, path === "" ? name : `${path}.${name}`);
  };
  for (const [name, value] of Object.entries(client))
    if (!name.startsWith("_") && typeof value === "object" && value !== null && "consul" in value) visit(value, name);
  return [...found].sort();
}

/** Calls all of them, in an order in which each has something to find. */
async function callAll(port: number): Promise<{ lines: Transcript["lines"]; called: Set<string>; methods: string[] }> {
  const consul = new Consul({ host: "127.0.0.1", port });
  const { step, lines } = createTranscript();
  const methods = methodsOf(consul);
  const called = new Set<string>();
  // The client's types know fewer options than the client does.
  // oxlint-disable-next-line typescript/no-explicit-any
  const call = async (name: string, ...args: unknown[]): Promise<any> => {
    const path = name.replace(/ .*/, "").split(".");
    called.add(path.join("."));
    // oxlint-disable-next-line typescript/no-explicit-any
    const owner = path.slice(0, -1).reduce<any>((object, part) => object[part], consul);
    return step(name, () => owner[path.at(-1) as string](...args));
  };

  await call("status.leader");
  await call("status.peers");
  await call("kv.set", "a/b", "hello");
  await call("kv.set buffer", "a/bin", Buffer.from([0, 255, 10]));
  await call("kv.set flags", { key: "a/flags", value: "x", flags: 42 });
  await call("kv.get", "a/b");
  await call("kv.get none", "none");
  await call("kv.get recurse", { key: "a", recurse: true });
  await call("kv.get buffer", { key: "a/bin", buffer: true });
  await call("kv.get raw", { key: "a/b", raw: true });
  await call("kv.keys", "a");
  await call("kv.keys separator", { key: "", separator: "/" });
  await call("kv.keys none", "none/");
  await call("kv.set cas refused", { key: "a/b", value: "x", cas: "1" });
  await call("kv.del cas refused", { key: "a/b", cas: "1" });

  const session = await call("session.create", { name: "s", ttl: "1m", lockdelay: "1s", behavior: "delete" });
  await call("kv.set acquire", { key: "lock", value: "1", acquire: session.ID });
  await call("kv.set release", { key: "lock", value: "2", release: session.ID });
  await call("session.info", session.ID);
  await call("session.get", session.ID);
  await call("session.info none", "00000000-0000-4000-8000-000000000000");
  await call("session.node", NODE);
  await call("session.list");
  await call("session.renew", session.ID);
  await call("session.renew none", "00000000-0000-4000-8000-000000000000");
  await call("session.destroy", session.ID);
  await call("kv.del", "a/b");
  await call("kv.delete", { key: "a", recurse: true });
  await call("kv.get gone", { key: "a", recurse: true });

  await call("transaction.create", [
    { KV: { Verb: "set", Key: "t/1", Value: btoa("one") } },
    { KV: { Verb: "get", Key: "t/1" } },
  ]);
  await call("transaction.create refused", [{ KV: { Verb: "check-index", Key: "t/1", Index: 1 } }]);

  await call("agent.service.register", {
    name: "js",
    id: "js-1",
    tags: ["v1"],
    meta: { a: "b" },
    port: 4711,
    check: { name: "alive", ttl: "1m", timeout: "1s" },
  });
  await call("agent.service.list");
  await call("agent.services");
  await call("agent.check.register", { name: "other", id: "own", ttl: "1m", timeout: "1s", notes: "n" });
  await call("agent.check.list");
  await call("agent.checks");
  await call("agent.check.warn", { id: "own", note: "hm" });
  await call("agent.check.fail", "own");
  await call("agent.check.pass", "own");
  await call("agent.check.pass service", "service:js-1");
  await call("agent.check.pass none", "none");
  const passing = async () => (await consul.health.service({ service: "js", passing: true })).length;
  await expect.poll(passing, { message: "js is passing" }).toBe(1);
  await call("agent.service.maintenance", { id: "js-1", enable: true, reason: "r" });
  await expect.poll(passing, { message: "js is in maintenance" }).toBe(0);
  await call("health.checks", "js");
  await call("agent.service.maintenance off", { id: "js-1", enable: false });
  await expect.poll(passing, { message: "js is passing again" }).toBe(1);
  await call("agent.maintenance", { enable: true, reason: "r" });
  await expect.poll(passing, { message: "the node is in maintenance" }).toBe(0);
  await call("agent.maintenance off", false);
  await expect.poll(passing, { message: "the node is back" }).toBe(1);
  const named = (list: unknown) => (list as { Name: string }[]).map(({ Name }) => Name);
  await step("agent.members names", async () => named(await consul.agent.members()));
  called.add("agent.members");
  await step("agent.self name", async () => (await consul.agent.self({})).Config.NodeName);
  called.add("agent.self");
  await call("agent.forceLeave", "nobody");
  called.add("agent.join"); // each refuses an address where nobody is in its own words
  await expect(consul.agent.join("127.0.0.1:1")).rejects.toMatchObject({ statusCode: 500 });

  await call("catalog.datacenters");
  await call("catalog.register", {
    node: "ext",
    address: "10.0.0.9",
    service: { service: "far", port: 1, tags: ["t"] },
  });
  await call("catalog.register check", {
    node: "ext",
    address: "10.0.0.9",
    check: { name: "c", checkid: "c", status: "critical", serviceid: "far" },
  });
  const nodeNames = (list: unknown) => (list as { Node: string }[]).map(({ Node }) => Node).sort();
  await step("catalog.nodes names", async () => nodeNames(await consul.catalog.nodes({})));
  called.add("catalog.nodes");
  await step("catalog.node.list near", async () => nodeNames(await consul.catalog.node.list({ near: "ext" } as never)));
  called.add("catalog.node.list");
  await call("catalog.node.services", "ext");
  await call("catalog.node.services none", "nobody");
  await step("catalog.services names", async () => Object.keys(await consul.catalog.services()).sort());
  called.add("catalog.services");
  await step("catalog.service.list names", async () => Object.keys(await consul.catalog.service.list()).sort());
  called.add("catalog.service.list");
  await call("catalog.service.nodes", "far");
  await call("catalog.service.nodes tag", { service: "far", tag: "no" });
  await call("catalog.connect.nodes", "far");
  await call("health.node", "ext");
  await call("health.service", { service: "far" });
  await call("health.service passing", { service: "far", passing: true });
  await call("health.state", "critical");
  await call("catalog.deregister", { node: "ext", checkid: "c" });
  await call("catalog.deregister node", "ext");
  await call("catalog.node.services gone", "ext");

  const { ID: query } = await call("query.create", {
    name: "q",
    service: { service: "js", onlypassing: true },
    dns: { ttl: "3s" },
  });
  await call("query.get", query);
  await call("query.list");
  await call("query.execute", "q");
  await call("query.execute none", "none");
  await call("query.update", {
    query,
    name: "q2",
    service: { service: "js" },
    template: { type: "name_prefix_match" },
  });
  await call("query.explain", "q2");
  await call("query.destroy", query);
  await call("query.get gone", query);

  const fired = await call("event.fire", "deploy", "1.2.3");
  await call("event.fire filtered", { name: "deploy", payload: Buffer.from([1, 2]), node: "^nobody$" });
  const eventIds = async () => ((await consul.event.list("deploy")) as { ID: string }[]).map(({ ID }) => ID);
  await expect.poll(eventIds).toEqual([fired.ID]);
  called.add("event.list");
  await step("event.list fields", async () =>
    ((await consul.event.list("deploy")) as { Name: string; Payload: string }[]).map(({ Name, Payload }) => [
      Name,
      Payload,
    ]),
  );

  for (const name of ["bootstrap", "replication"]) await call(`acl.${name}`);
  for (const name of ["create", "list"]) await call(`acl.legacy.${name}`, {});
  for (const name of ["update", "destroy", "info", "get", "clone"])
    await call(`acl.legacy.${name}`, { id: "00000000-0000-4000-8000-000000000000" });

  await call("agent.check.deregister", "own");
  await call("agent.service.deregister", "js-1");
  await call("agent.service.deregister none", "nothing");
  await call("agent.reload");

  const watch = consul.watch({ method: consul.kv.get, options: { key: "watched" } });
  const seen: unknown[] = [];
  watch.on("change", (value: { Value?: string } | undefined) => seen.push(value?.Value));
  await expect.poll(() => seen).toHaveLength(1);
  await consul.kv.set("watched", "now");
  await expect.poll(() => seen.at(-1)).toBe("now");
  watch.end();
  return { lines, called, methods };
}

test("every method does what it does with Consul", { timeout: 60_000 }, async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  place.write("node.json", { node_name: NODE });
  place.remove("socat.json");
  const [, theirs] = await Promise.all([startAgent(place, ["-dev"], "Heddle agent running!"), startConsulAgent(NODE)]);
  const { lines, called, methods } = await callAll(place.ports.http);
  expect(methods.filter((name) => !called.has(name))).toEqual([]);
  expect(lines.get("kv.get")).toMatchObject({ Key: "a/b", Value: "hello" });
  expect(lines.get("transaction.create")).toMatchObject({ Results: [{ KV: { Key: "t/1" } }, {}] });
  if (theirs) expect(differences(lines, (await callAll(theirs.http)).lines)).toEqual({});
});
