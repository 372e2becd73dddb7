/** Nodes that are cut off, killed, slow: what the catalog says of them, with each in a network namespace of its own. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { missingNamespaces } from "../compose/needs.ts";
import { needs } from "../support/tools.ts";
import { HEDDLE, NODE, type Process, tempDir, until } from "./daemon.ts";
import { createHosts, type Hosts } from "./hosts.ts";

const SERVER = "10.77.0.10";
const FAILED_MS = 20_000; // 5 s of silence and at most 5 s of suspicion, on a machine with other work
const dir = tempDir();
let hosts: Hosts;

const why = missingNamespaces();
beforeAll(async () => {
  if (why !== undefined) return;
  hosts = await createHosts(["server", "n1", "n2"]);
  const tls = (...args: string[]) => execFileSync(NODE, [HEDDLE, "tls", ...args], { cwd: dir, stdio: "pipe" });
  tls("ca", "create");
  tls("cert", "create", "-server", "-additional-ipaddress", SERVER);
  for (const node of ["n1", "n2"]) tls("cert", "create", "-client", "-node", node);
});
afterAll(() => hosts?.close());

const said: Hosts["said"] = (...args) => hosts.said(...args);

async function startAgent(name: string): Promise<Process> {
  const files = (role: string) => [
    `-hcl=ca_file = "${join(dir, "heddle-ca.pem")}"`,
    `-hcl=cert_file = "${join(dir, `dc1-${role}.pem`)}"`,
    `-hcl=key_file = "${join(dir, `dc1-${role}-key.pem`)}"`,
  ];
  const address = hosts.addressOf(name);
  const agent = hosts.heddle(
    name,
    ...["agent", `-node=${name}`, `-bind=${address}`, `-data-dir=${join(dir, name)}`],
    ...(name === "server"
      ? ["-server", "-bootstrap-expect=1", ...files("server")]
      : [`-retry-join=${SERVER}`, ...files(`agent-${name}`), `-hcl=service { name = "web", port = 80 }`]),
  );
  await agent.saw("Synced node info");
  return agent;
}

const api = <T>(path: string): Promise<T> => hosts.api<T>("server", path);
const members = async () => {
  const rows = await api<{ Name: string; Status: number }[]>("/v1/agent/members");
  return Object.fromEntries(rows.map(({ Name, Status }) => [Name, Status]));
};
const healthy = async () => {
  const rows = await api<{ Node: { Node: string } }[]>("/v1/health/service/web?passing");
  return rows.map(({ Node }) => Node.Node).toSorted();
};
const resolved = async () =>
  (await said("server", "dig", "@127.0.0.1", "-p", "8600", "+short", "web.service.consul"))
    .trim()
    .split("\n")
    .toSorted();
const serfHealth = async (node: string) => {
  const [check] = await api<{ Status: string; Output: string }[]>(`/v1/health/node/${node}`);
  return `${check?.Status}: ${check?.Output}`;
};
const signalAgent = (agent: Process, signal: NodeJS.Signals) => void agent.child.kill(signal);
const killAgent = async (agent: Process) => void (await agent.end("SIGKILL"));

test("a node that is cut off fails with the reason and comes back by itself; so does one that is killed", async (ctx) => {
  if (why !== undefined) ctx.skip(why);
  needs(ctx, "curl", "dig");
  const server = await startAgent("server");
  const n1 = await startAgent("n1");
  const n2 = await startAgent("n2");
  await until(healthy, (nodes) => nodes.join() === "n1,n2");
  expect(await members()).toEqual({ n1: 1, n2: 1, server: 1 });
  const { ID } = JSON.parse(
    await said("server", "curl", "-sS", "-X", "PUT", "-d", '{"Node":"n1"}', "http://127.0.0.1:8500/v1/session/create"),
  ) as { ID: string };

  // An agent's certificate is good for its own node alone, and for nodes that have no agent.
  const asN2 = (path: string, body: object) => {
    const [ca, cert, key] = ["heddle-ca", "dc1-agent-n2", "dc1-agent-n2-key"].map((name) => join(dir, `${name}.pem`));
    const files = ["--cacert", ca as string, "--cert", cert as string, "--key", key as string];
    const url = `https://${SERVER}:8300/v1/${path}`;
    return said("n2", "curl", "-sS", ...files, "-w", " %{http_code}", "-X", "PUT", "-d", JSON.stringify(body), url);
  };
  const refused = "the agent of node 'n2' may not write node 'n1', which has an agent of its own 403";
  const evil = { Node: "n1", Address: "10.77.0.12", Service: { Service: "web" } };
  expect(await asN2("catalog/register", evil)).toBe(refused);
  expect(await asN2("catalog/deregister", { Node: "n1" })).toBe(refused);
  expect(await asN2("txn", [{ Node: { Verb: "delete", Node: { Node: "n1" } } }])).toBe(refused);
  expect(await asN2("internal/leave", { Node: "n1" })).toBe(refused);
  expect(await asN2("catalog/register", { Node: "printer", Address: "192.0.2.9" })).toBe("true 200");
  expect(server.output()).toContain("refused an agent's write to another node");

  // Stopped for less than a lease, it is suspected by nobody.
  signalAgent(n1, "SIGSTOP");
  await until(members, () => true);
  signalAgent(n1, "SIGCONT");

  hosts.plug("n1", "down");
  await until(healthy, (nodes) => nodes.join() === "n2", FAILED_MS);
  expect(await members()).toEqual({ n1: 4, n2: 1, server: 1 });
  expect(await serfHealth("n1")).toMatch(/^critical: Agent not live or unreachable: no heartbeat for \d+s/);
  expect(await resolved()).toEqual(["10.77.0.12"]);
  expect(await api(`/v1/session/info/${ID}`)).toEqual([]);
  hosts.plug("n1", "up");
  await until(healthy, (nodes) => nodes.join() === "n1,n2", FAILED_MS);
  expect(await serfHealth("n1")).toBe("passing: Agent alive and reachable");
  await until(resolved, (addresses) => addresses.join() === "10.77.0.11,10.77.0.12");

  // Only the way to the server is cut: the other agent still reaches it, and it is not taken for dead at once.
  const route = (verb: string) => said("n1", "ip", "route", verb, "blackhole", SERVER);
  await route("add");
  await server.saw("member is cut off from the catalog, another agent reaches it: member=n1 by=n2");
  expect(await healthy()).toEqual(["n1", "n2"]);
  await route("del");

  await killAgent(n2);
  await until(members, ({ n2: status }) => status === 4, FAILED_MS);
  expect(await healthy()).toEqual(["n1"]);
  const again = await startAgent("n2");
  await until(healthy, (nodes) => nodes.join() === "n1,n2");

  // A catalog that was killed hears of everybody again before it doubts anybody.
  const failures = () => server.output().match(/member failed/g)?.length;
  await killAgent(server);
  expect(failures()).toBe(2);
  const restarted = await startAgent("server");
  await Promise.all([n1, again].map((agent) => agent.saw("the catalog hears of this node again")));
  expect(restarted.output()).not.toContain("member failed");
  expect(await healthy()).toEqual(["n1", "n2"]);

  // One that is told to end leaves.
  signalAgent(again, "SIGTERM");
  await again.exited;
  expect(await members()).toEqual({ n1: 1, n2: 3, server: 1 });
  expect(await healthy()).toEqual(["n1"]);
}, 120_000);
