/** Everything is killed and started again, in any order and all at once: a server and nodes that have joined it find each other. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { missingNamespaces } from "../compose/needs.ts";
import { needs } from "../support/tools.ts";
import { type Process, tempDir, until } from "./daemon.ts";
import { createHosts, type Hosts } from "./hosts.ts";

const NODES = ["n1", "n2"];
const CONVERGED_MS = 30_000;
const dir = tempDir();
let hosts: Hosts;

const why = missingNamespaces();
beforeAll(async () => {
  if (why === undefined) hosts = await createHosts(["server", ...NODES]);
});
afterAll(() => hosts?.close());

function start(name: string, ...flags: string[]): Process {
  const own = [`-node=${name}`, `-bind=${hosts.addressOf(name)}`, `-data-dir=${join(dir, name)}`];
  const what =
    name === "server"
      ? ["-server", "-bootstrap-expect=1"]
      : ['-hcl=service { name = "web", port = 80, connect { sidecar_service {} } }'];
  return hosts.heddle(name, "agent", ...own, ...what, ...flags);
}

const converged = async () => {
  const members = await hosts.api<{ Name: string; Status: number }[]>("server", "/v1/agent/members");
  const healthy = await hosts.api<{ Node: { Node: string } }[]>("server", "/v1/health/service/web?passing");
  const leaves = await Promise.all(
    NODES.map((node) => hosts.api<{ ServiceURI?: string }>(node, "/v1/agent/connect/ca/leaf/web")),
  );
  return {
    alive: members.flatMap(({ Name, Status }) => (Status === 1 ? [Name] : [])).toSorted(),
    healthy: healthy.map(({ Node }) => Node.Node).toSorted(),
    leaves: leaves.filter(({ ServiceURI }) => ServiceURI?.endsWith("/svc/web")).length,
  };
};
/** What a proxy of the node is told, so what it demands of its callers. */
const demandsPq = async (node: string) => {
  const path = "/v1/agent/service/web-sidecar-proxy";
  const { Proxy } = await hosts.api<{ Proxy: { Config?: { require_pq?: boolean } } }>(node, path);
  return Proxy.Config?.require_pq ?? false;
};
const ALL = JSON.stringify({ alive: ["n1", "n2", "server"], healthy: NODES, leaves: 2 });

test("a mesh that was killed converges by itself, whoever starts first", async (ctx) => {
  if (why !== undefined) ctx.skip(why);
  needs(ctx, "curl");
  let running = [start("server")];
  await running[0]?.saw("Synced node info");
  const { Join } = await hosts.api<{ Join: string }>("server", "/v1/connect/ca/join-tokens", "PUT", { Uses: 2 });
  running.push(...NODES.map((node) => start(node, `-join=${Join}`)));
  await until(converged, (state) => JSON.stringify(state) === ALL, CONVERGED_MS);
  const defaults = { Kind: "proxy-defaults", Name: "global", Config: { require_pq: true } };
  await hosts.api("server", "/v1/config", "PUT", defaults);
  await until(() => demandsPq("n1"), Boolean, CONVERGED_MS);
  for (const order of [
    ["n2", "n1", "server"],
    ["server", "n1", "n2"],
  ]) {
    await Promise.all(running.map((process) => process.end("SIGKILL")));
    running = [];
    for (const name of order) {
      const process = start(name);
      running.push(process);
      // A node serves before it has found a server; the last round starts all of them at once.
      if (order[0] === "server") continue;
      await process.saw("Heddle agent running!");
      // There is no server yet to say so, and it demands no less than before.
      if (name === "n1") expect(await demandsPq("n1")).toBe(true);
    }
    await until(converged, (state) => JSON.stringify(state) === ALL, CONVERGED_MS);
    for (const process of running) expect(process.child.exitCode).toBe(null);
  }
}, 120_000);
