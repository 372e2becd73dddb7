/** Nodes without an agent, probed by checkers that share them: what they say, and who takes over from one that dies. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, expect, test } from "vitest";
import { type Daemon, daemon, freePort, get, put, serve, until } from "./daemon.ts";

let target: Server;
afterAll(() => target?.close());
const listen = (port = 0) =>
  new Promise<number>((resolve) => {
    target = createServer((_req, res) => res.end("ok")).listen(port, "127.0.0.1", () => {
      resolve((target.address() as AddressInfo).port);
    });
  });

const NODES = Array.from({ length: 12 }, (_, i) => `legacy-${i}`);

async function register(catalog: Daemon, node: string, port: number): Promise<void> {
  const body = {
    Node: node,
    Address: "127.0.0.1",
    NodeMeta: { "external-node": "true", "external-probe": "true" },
    Service: { Service: "old", Port: port },
    Checks: [
      {
        Name: "http",
        ServiceID: "old",
        Definition: { HTTP: `http://127.0.0.1:${port}/`, Interval: "1s", Timeout: "1s" },
      },
      { Name: "script", Definition: { ScriptArgs: ["touch", "/nowhere"], Interval: "1s" } },
    ],
  };
  const { status, text } = await put(`${catalog.url}/v1/catalog/register`, body);
  expect([status, text]).toEqual([200, "true"]);
}

test("checkers share the nodes, tell what they find, and take over from one that dies", async () => {
  const port = await listen();
  const catalog = await serve("catalog", await freePort());
  for (const node of NODES) await register(catalog, node, port);
  const start = async (id: string) => {
    const own = await freePort();
    const flags = ["-external", `-external-id=${id}`, `-catalog-url=${catalog.url}`];
    return daemon(["serve", "health", `-port=${own}`, ...flags], own);
  };
  const passing = async () =>
    (await get(`${catalog.url}/v1/health/service/old?passing`)).json<{ Node: { Node: string } }[]>().length;
  const [a, b] = [await start("a"), await start("b")];
  // What nobody may run stays as it was registered: critical by default, and never judged.
  const check = async (node: string, id: string) =>
    (await get(`${catalog.url}/v1/health/node/${node}`))
      .json<{ CheckID: string; Status: string; Output: string }[]>()
      .find(({ CheckID }) => CheckID === id);
  await until(
    async () => check(NODES[0] as string, "externalNodeHealth"),
    (found) => found?.Status === "passing",
    20_000,
  );
  expect(await check(NODES[0] as string, "script")).toMatchObject({ Status: "critical", Output: "" });
  for (const node of NODES)
    expect((await put(`${catalog.url}/v1/catalog/deregister`, { Node: node, CheckID: "script" })).status).toBe(200);
  await until(passing, (count) => count === NODES.length, 20_000);
  // Each has a share, and together they have all.
  const shares = (daemonOf: Daemon) =>
    Number([...daemonOf.output().matchAll(/external checks to run: checks=(\d+)/g)].at(-1)?.[1] ?? 0);
  await until(
    async () => [shares(a), shares(b)],
    ([x = 0, y = 0]) => x > 0 && y > 0 && x + y === 2 * NODES.length,
  );

  // A name that is taken is refused, with words.
  const twin = await start("a");
  await twin.saw("there is a checker 'a' already");
  await twin.end();

  await b.end("SIGKILL");
  await until(
    async () => shares(a),
    (count) => count === 2 * NODES.length,
    20_000,
  );
  target.closeAllConnections();
  target.close();
  await until(passing, (count) => count === 0, 20_000);
  expect(await check(NODES[3] as string, "http")).toMatchObject({
    Status: "critical",
    Output: expect.stringContaining("connection refused"),
  });

  // The catalog comes back with nothing: the checker goes on with what it is told anew.
  expect(await catalog.end()).toEqual([0, null]);
  const again = await serve("catalog", catalog.port);
  await register(again, "legacy-x", port);
  await until(
    async () => shares(a),
    (count) => count === 2,
    20_000,
  );
  expect(await listen(port)).toBe(port);
  await until(
    async () => (await get(`${again.url}/v1/health/node/legacy-x`)).json<{ CheckID: string; Status: string }[]>(),
    (checks) => checks.some(({ CheckID, Status }) => CheckID === "http" && Status === "passing"),
    20_000,
  );
  expect(await a.end()).toEqual([0, null]);
}, 120_000);
