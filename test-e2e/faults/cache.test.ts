/** Reads with `?cached` at an agent without servers: one stream for all who ask, and answers while the catalog is away. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ask, freePort, get, metric, NODE, put, ROOT, run, serve, tempDir, until } from "./daemon.ts";

const CLIENTS = 150;

test("many clients cost the catalog one stream, and are answered while it is away", async () => {
  const dataDir = tempDir();
  const [port, http] = [await freePort(), await freePort()];
  const startCatalog = () => serve("catalog", port, `-data-dir=${dataDir}`);
  const catalog = await startCatalog();
  const ca = await serve("ca", await freePort());
  const servers = [`-catalog-addr=${catalog.url}`, `-ca-addr=${ca.url}`, "-health-addr=http://127.0.0.1:1"];
  const flags = [`-http-port=${http}`, "-node=n1", "-bind=127.0.0.1", `-data-dir=${tempDir()}`, ...servers];
  const agent = run(NODE, ["src/main.ts", ...flags], { cwd: join(ROOT, "apps/agent") });
  await agent.saw("Synced node info");
  const url = `http://127.0.0.1:${http}`;
  const register = (id: string) => put(`${url}/v1/agent/service/register`, { ID: id, Name: "web", Port: 80 });
  await register("web-1");

  const path = "/v1/health/service/web?passing&cached";
  const first = await get(`${url}${path}`);
  expect([first.status, first.headers["x-cache"], first.headers.age]).toEqual([200, "MISS", "0"]);
  const again = await get(`${url}/v1/health/service/web?cached&passing`);
  expect([again.headers["x-cache"], again.headers["x-consul-index"]]).toEqual(["HIT", first.headers["x-consul-index"]]);
  expect(again.text).toBe(first.text);
  // The same bytes as the catalog's own answer, whose index it has.
  const plain = await get(`${catalog.url}/v1/health/service/web?passing`);
  expect([plain.text, plain.headers["x-consul-index"]]).toEqual([first.text, first.headers["x-consul-index"]]);
  expect((await get(`${url}/v1/health/service/web?cached&consistent`)).status).toBe(400);
  expect((await get(`${url}/v1/health/service/web?cached&filter=Node.Node==n9`)).json()).toEqual([]);

  const index = first.headers["x-consul-index"] as string;
  const connections = () =>
    execFileSync("ss", ["-Hnt", "state", "established", `dport = :${port}`])
      .toString()
      .split("\n").length;
  const before = connections();
  const waiting = Array.from({ length: CLIENTS }, () =>
    ask(`${url}${path}&index=${index}&wait=60s`, { agent: false, timeoutMs: 60_000 }),
  );
  const hits = async () =>
    Number(/cache_reads_total\{[^}]*result="hit"[^}]*\} (\d+)/.exec((await get(`${url}/metrics`)).text)?.[1]);
  await until(hits, (count) => count >= CLIENTS);
  expect(connections()).toBeLessThanOrEqual(before + 1);
  expect(await metric(url, "heddle_agent_cache_entries")).toBe(2);
  await register("web-2");
  for (const { headers, json } of await Promise.all(waiting)) {
    expect(json<unknown[]>()).toHaveLength(2);
    expect(Number(headers["x-consul-index"])).toBeGreaterThan(Number(index));
  }

  // One that hangs keeps the stream's connection, and is away all the same.
  catalog.child.kill("SIGSTOP");
  const hung = await until(
    () => get(`${url}${path}`),
    ({ headers }) => Number(headers.age) >= 1,
  );
  expect([hung.headers["x-cache"], hung.headers["x-consul-knownleader"]]).toEqual(["HIT", "false"]);
  catalog.child.kill("SIGCONT");
  await until(
    () => get(`${url}${path}`),
    ({ headers }) => headers.age === "0" && headers["x-consul-knownleader"] === "true",
  );

  expect(await catalog.end("SIGKILL")).toEqual([null, "SIGKILL"]);
  const stale = await until(
    () => get(`${url}${path}`),
    ({ headers }) => Number(headers.age) >= 1,
  );
  expect([stale.status, stale.headers["x-cache"], stale.headers["x-consul-knownleader"]]).toEqual([
    200,
    "HIT",
    "false",
  ]);
  expect(stale.json<unknown[]>()).toHaveLength(2);
  expect(await metric(url, "heddle_agent_cache_age_seconds")).toBeGreaterThanOrEqual(1);
  // What nobody asked before is not known, and says so after a while.
  expect((await get(`${url}/v1/health/service/db?cached`)).status).toBe(500);

  await startCatalog();
  await until(
    () => get(`${url}${path}`),
    ({ headers }) => headers.age === "0",
  );
  await register("web-3");
  await until(
    () => get(`${url}${path}`),
    ({ json }) => json<unknown[]>().length === 3,
  );
  expect(await agent.end()).toEqual([0, null]);
}, 60_000);
