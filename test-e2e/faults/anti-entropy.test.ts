/** What an agent's records in the catalog come to when others change them, or when one of the two loses its data. */
import { rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Daemon, daemon, freePort, get, put, serve, tempDir, until } from "./daemon.ts";

type Services = { Services: Record<string, { Port: number; Tags: string[] }> };

test("the agent puts right what is its own, leaves what is not, also after either lost its data", {
  timeout: 90_000,
}, async () => {
  const [dir, catalogPort, port, listening] = [tempDir(), await freePort(), await freePort(), await freePort()];
  const target = createServer().listen(listening, "127.0.0.1");
  const startCatalog = () => serve("catalog", catalogPort, `-data-dir=${join(dir, "catalog")}`);
  let catalog: Daemon = await startCatalog();
  writeFileSync(
    join(dir, "web.json"),
    JSON.stringify({
      service: {
        ...{ name: "web", port: 80, tags: ["v1"], enable_tag_override: true },
        check: { id: "up", tcp: `127.0.0.1:${listening}`, interval: "10s" },
      },
    }),
  );
  const argv = ["agent", "-node=n1", "-bind=127.0.0.1", `-data-dir=${join(dir, "agent")}`, "-dns-port=-1"];
  const startAgent = () =>
    daemon(
      [...argv, `-config-file=${join(dir, "web.json")}`, `-http-port=${port}`, `-retry-join=127.0.0.1:${catalogPort}`],
      port,
    );
  let agent = await startAgent();
  const services = async () => (await get(`${catalog.url}/v1/catalog/node/n1`)).json<Services>().Services;
  const ids = async () =>
    Object.keys(await services())
      .toSorted()
      .join();
  const restartCatalog = async ({ isEmpty = false } = {}) => {
    await catalog.end("SIGKILL");
    if (isEmpty) rmSync(join(dir, "catalog"), { recursive: true });
    catalog = await startCatalog();
  };
  const statuses = async () => {
    const checks = (await get(`${catalog.url}/v1/health/node/n1`)).json<{ CheckID: string; Status: string }[]>();
    return Object.fromEntries(checks.map(({ CheckID, Status }) => [CheckID, Status]));
  };
  await put(`${agent.url}/v1/agent/service/register`, { Name: "api" });
  await put(`${catalog.url}/v1/catalog/register`, {
    Node: "n1",
    Address: "127.0.0.1",
    Service: { Service: "foreign" },
  });
  await until(ids, (all) => all === "api,foreign,web");
  await until(statuses, ({ up }) => up === "passing");

  // Changed by hand: put right with the next full sync, which a catalog that comes back has at once.
  const web = { Service: "web", Port: 9, Tags: ["v2"], EnableTagOverride: true };
  await put(`${catalog.url}/v1/catalog/register`, { Node: "n1", Address: "127.0.0.1", Service: web });
  await put(`${catalog.url}/v1/catalog/deregister`, { Node: "n1", ServiceID: "api" });
  await restartCatalog();
  await until(services, (all) => all["web"]?.Port === 80 && all["api"] !== undefined);
  expect((await services())["web"]?.Tags).toEqual(["v2"]);
  await agent.saw(/a service of this node was changed in the catalog by others, putting it right: .*fields=Port/);
  await agent.saw(/was taken out of the catalog by others, putting it back: service=api/);
  expect((await get(`${agent.url}/v1/agent/service/web`)).json<{ Tags: string[] }>().Tags).toEqual(["v2"]);

  // Killed and started again, the agent knows what its checks came to: its service is never critical.
  const index = Number((await get(`${catalog.url}/v1/health/service/web?passing`)).headers["x-consul-index"]);
  await agent.end("SIGKILL");
  agent = await startAgent();
  await agent.saw("Synced node info");
  const after = await get(`${catalog.url}/v1/health/service/web?passing&index=${index}&wait=1s`);
  expect(after.json<unknown[]>()).toHaveLength(1);
  expect(Number(after.headers["x-consul-index"])).toBe(index);

  // Without its data directory it does not remember what it once registered; the catalog does.
  await agent.end("SIGKILL");
  rmSync(join(dir, "agent"), { recursive: true });
  agent = await startAgent();
  await until(ids, (all) => all === "foreign,web");
  expect((await services())["web"]?.Tags).toEqual(["v2"]);

  await until(statuses, ({ up }) => up === "passing");
  await restartCatalog({ isEmpty: true });
  await until(statuses, (all) => all["up"] === "passing" && all["serfHealth"] === "passing");
  expect(await ids()).toBe("web");
  target.close();
});
