/** `deregister_critical_service_after`: a minute at least, for services of agents and for those of the catalog. */
import { expect, test } from "vitest";
import { daemon, freePort, get, put, tempDir, until } from "./daemon.ts";

test("services whose check stays critical are taken away, at their agent too", { timeout: 150_000 }, async () => {
  const [port, server] = [await freePort(), await freePort()];
  const argv = ["agent", "-dev", "-node=n1", "-dns-port=-1", "-grpc-port=-1", `-http-port=${port}`];
  const agent = await daemon([...argv, `-server-port=${server}`, `-data-dir=${tempDir()}`], port);
  const check = (Status: string) => ({ TTL: "1h", Status, DeregisterCriticalServiceAfter: "1s" });
  for (const [Name, Status] of Object.entries({ lost: "critical", well: "passing" }))
    await put(`${agent.url}/v1/agent/service/register`, { Name, Check: check(Status) });
  await put(`${agent.url}/v1/catalog/register`, {
    ...{ Node: "ext", Address: "192.0.2.1", Service: { Service: "elsewhere" } },
    Check: {
      Name: "c",
      ServiceID: "elsewhere",
      Status: "critical",
      Definition: { DeregisterCriticalServiceAfter: "1m" },
    },
  });
  const countdowns = async () =>
    (await get(`${agent.url}/v1/internal/deregistrations`)).json<{ ServiceID: string }[]>().map((c) => c.ServiceID);
  expect((await countdowns()).toSorted()).toEqual(["elsewhere", "lost"]);
  const names = async () => Object.keys((await get(`${agent.url}/v1/catalog/services`)).json<object>()).toSorted();
  expect(await names()).toEqual(["consul", "elsewhere", "lost", "well"]);
  await until(names, (all) => all.join() === "consul,well", 120_000);
  expect(Object.keys((await get(`${agent.url}/v1/agent/services`)).json<object>())).toEqual(["well"]);
  expect(agent.output()).toMatch(
    /Check was critical for too long, deregistering service: service=lost check=service:lost/,
  );
  expect(await countdowns()).toEqual([]);

  // A check of the node may have it, as in Consul: there is no service that could go, and the agent says so.
  expect((await put(`${agent.url}/v1/agent/check/register`, { Name: "node", ...check("passing") })).status).toBe(200);
  await agent.saw(
    "deregister_critical_service_after never runs: the check is of the node, not of a service: check=node",
  );
});
