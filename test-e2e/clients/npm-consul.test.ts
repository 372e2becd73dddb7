/** The npm package `consul` against the agent: the methods of what is built, each on the first try. */
import Consul from "consul";
import { expect, test } from "vitest";
import { makePlace, startAgent } from "../support/mesh.ts";
import { needs } from "../support/tools.ts";

test("the client's methods", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  await startAgent(place);
  const consul = new Consul({ host: "127.0.0.1", port: place.ports.http });

  await consul.kv.set("a/b", "hello");
  expect((await consul.kv.get("a/b"))?.Value).toBe("hello");
  expect(await consul.kv.keys("a/")).toEqual(["a/b"]);
  await consul.kv.del("a/b");
  expect(await consul.kv.get("a/b")).toBeUndefined();

  await consul.agent.service.register({ name: "js", port: 4711, check: { name: "alive", ttl: "1m", timeout: "1s" } });
  expect(Object.keys(await consul.agent.service.list())).toContain("js");
  await consul.agent.check.pass("service:js");
  await expect.poll(async () => (await consul.health.service({ service: "js", passing: true })).length).toBe(1);
  expect((await consul.catalog.service.nodes("js"))[0]?.ServicePort).toBe(4711);
  expect(await consul.catalog.datacenters()).toEqual(["dc1"]);
  await consul.agent.service.deregister("js");
  expect(Object.keys(await consul.catalog.service.list())).not.toContain("js");

  const session = await consul.session.create({ name: "lock" });
  expect(await consul.kv.set({ key: "lock", value: "1", acquire: session.ID })).toBe(true);
  expect(await consul.session.list()).toHaveLength(1);
  await consul.session.destroy(session.ID);
  expect(await consul.status.leader()).toBe(`127.0.0.1:${place.ports.server}`);

  const watch = consul.watch({ method: consul.kv.get, options: { key: "watched" } });
  const seen: unknown[] = [];
  watch.on("change", (value: { Value?: string } | undefined) => seen.push(value?.Value));
  await expect.poll(() => seen).toHaveLength(1);
  await consul.kv.set("watched", "now");
  await expect.poll(() => seen.at(-1)).toBe("now");
  watch.end();
});
