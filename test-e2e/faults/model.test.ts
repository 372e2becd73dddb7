/**
 * Random faults on hosts of their own, and a model that says what must be true after each: agents, checkers, services and the
 * server are killed (SIGKILL) and started, cables cut and plugged in, services registered, in any order; the catalog has to agree
 * with the model within the stated time. HEDDLE_SOAK_STEPS and HEDDLE_SOAK_SEED: longer, and the same again (tools/soak/model.sh).
 */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { missingNamespaces } from "../compose/needs.ts";
import { needs } from "../support/tools.ts";
import { type Process, tempDir, until } from "./daemon.ts";
import { createHosts, type Hosts } from "./hosts.ts";
import { apply, expected, type Model, type NodeState, randomOf, type Said, settle, type Step, steps } from "./model.ts";

const STEPS = Number(process.env.HEDDLE_SOAK_STEPS ?? 8);
const SEED = Number(process.env.HEDDLE_SOAK_SEED ?? Math.floor(Math.random() * 1e9));
// 15 s for a catalog that has just started to be found again, 5 s of silence, 5 s of suspicion, and the machine's other work.
const STATED_MS = 40_000;
const START_MS = 60_000; // of a process, on a machine that has much else to do
const NODES = ["n1", "n2", "n3"];
/** Its checks are run by a health checker of its own. */
const WITH_CHECKER = "n3";
const PORT = 9_000;

const dir = tempDir();
let hosts: Hosts;
const why = missingNamespaces();
beforeAll(async () => {
  if (why === undefined) hosts = await createHosts(["server", ...NODES]);
});
afterAll(() => hosts?.close());

const running = new Map<string, Process>();
const kill = async (name: string) => void (await running.get(name)?.end("SIGKILL"));
const WEB =
  '-hcl=service { name = "web", port = 9000, check { name = "tcp", tcp = "127.0.0.1:9000", interval = "1s" } }';

async function start(name: string, host: string, ready: string, ...args: string[]): Promise<Process> {
  const process = hosts.heddle(host, ...args);
  running.set(name, process);
  await until(
    async () => process.output(),
    (text) => text.includes(ready),
    START_MS,
  );
  return process;
}

const agentArgs = (host: string) => [
  ...["agent", `-node=${host}`, `-bind=${hosts.addressOf(host)}`, `-data-dir=${join(dir, host)}`],
];
const startServer = () =>
  start("server", "server", "Heddle agent running!", ...agentArgs("server"), "-server", "-bootstrap-expect=1");
const startNode = (node: string, ...flags: string[]) =>
  start(
    `agent ${node}`,
    node,
    "Heddle agent running!",
    ...[...agentArgs(node), WEB, ...flags],
    ...(node === WITH_CHECKER ? ["-health-addr=http://127.0.0.1:8320"] : []),
  );
const startChecker = () => start("checker", WITH_CHECKER, "is serving", "serve", "health", "-port=8320");
async function startService(node: string): Promise<void> {
  const listen = `TCP-LISTEN:${PORT},fork,reuseaddr`;
  running.set(`service ${node}`, hosts.inside(node, "socat", listen, "EXEC:/bin/cat"));
  // It is there once the kernel has its socket: nobody else looks.
  await until(
    () => hosts.said(node, "ss", "-Hltn", `sport = :${PORT}`),
    (text) => text !== "",
  );
}

async function perform(step: Step): Promise<void> {
  switch (step.what) {
    case "kill server":
      return kill("server");
    case "start server":
      return void (await startServer());
    case "cut":
      return hosts.plug(step.node, "down");
    case "plug":
      return hosts.plug(step.node, "up");
    case "kill agent":
      return kill(`agent ${step.node}`);
    case "start agent":
      return void (await startNode(step.node));
    case "kill service":
      return kill(`service ${step.node}`);
    case "start service":
      return startService(step.node);
    case "kill checker":
      return kill("checker");
    case "start checker":
      return void (await startChecker());
    case "register":
      return hosts.api(step.node, "/v1/agent/service/register", "PUT", { Name: `extra-${step.extra}` });
    case "deregister":
      return hosts.api(step.node, `/v1/agent/service/deregister/extra-${step.extra}`, "PUT");
  }
}

interface Check {
  Node: string;
  CheckID: string;
  ServiceName: string;
  Status: "critical" | "passing";
}

/** What the agent of a node says of its service. */
async function probed(node: string): Promise<string | undefined> {
  const checks = await hosts.api<Record<string, { ServiceName: string; Status: string }>>(node, "/v1/agent/checks");
  return Object.values(checks).find(({ ServiceName }) => ServiceName === "web")?.Status;
}

/** What the catalog says of every node. */
async function said(): Promise<Record<string, Said>> {
  const api = <T>(path: string) => hosts.api<T>("server", path);
  const members = await api<{ Name: string; Status: number }[]>("/v1/agent/members");
  const checks = await api<Check[]>("/v1/health/state/any");
  const healthy = await api<{ Node: { Node: string } }[]>("/v1/health/service/web?passing");
  const found: Record<string, Said> = {};
  for (const node of NODES) {
    const services = await api<Record<string, unknown> | { Services: Record<string, unknown> }>(
      `/v1/catalog/node/${node}`,
    );
    const own = checks.filter(({ Node }) => Node === node);
    const names = Object.keys((services as { Services?: Record<string, unknown> } | null)?.Services ?? {});
    found[node] = {
      member: members.find(({ Name }) => Name === node)?.Status === 1 ? "alive" : "failed",
      serfHealth: own.find(({ CheckID }) => CheckID === "serfHealth")?.Status ?? "critical",
      web: own.find(({ ServiceName }) => ServiceName === "web")?.Status ?? "critical",
      extras: names.flatMap((name) => (name.startsWith("extra-") ? [name.slice("extra-".length)] : [])).toSorted(),
      isHealthy: healthy.some(({ Node }) => Node.Node === node),
    };
  }
  return found;
}

test(
  `the catalog agrees with the model after each of ${STEPS} random faults (HEDDLE_SOAK_SEED=${SEED})`,
  async (ctx) => {
    if (why !== undefined) ctx.skip(why);
    needs(ctx, "curl", "socat");
    const model: Model = { server: "up", nodes: new Map() };
    await startServer();
    const lines = await hosts.said(
      "server",
      "curl",
      "-sS",
      "-X",
      "PUT",
      "-d",
      '{"Uses":3}',
      "http://127.0.0.1:8500/v1/connect/ca/join-tokens",
    );
    const { Join } = JSON.parse(lines) as { Join: string };
    await startChecker();
    for (const name of NODES) {
      await startService(name);
      await startNode(name, `-join=${Join}`);
      const node: NodeState = {
        ...{ agent: "up", cable: "up", service: "up", probed: "passing", extras: new Set<string>() },
        told: { status: "passing", extras: [] },
      };
      model.nodes.set(name, name === WITH_CHECKER ? { ...node, checker: "up" } : node);
    }
    const random = randomOf(SEED);
    const log: string[] = [];
    const slowest = new Map<string, number>();
    const agree = async (what: string) => {
      settle(model);
      // Where the catalog hears nothing of a node, its agent must have heard of its service before the next step changes what it can.
      for (const [name, node] of model.nodes)
        if (node.agent === "up" && node.checker !== "down")
          await until(
            () => probed(name),
            (status) => status === node.probed,
            STATED_MS,
          );
      if (model.server === "down") return;
      const want = Object.fromEntries([...model.nodes].map(([name, node]) => [name, expected(node)]));
      const startedAt = performance.now();
      const same = (found: Record<string, Said>) => JSON.stringify(found) === JSON.stringify(want);
      let last: Record<string, Said> | undefined;
      await until(async () => (last = await said()), same, STATED_MS).catch(() => {
        expect(last, `seed ${SEED}, after ${log.length} steps:\n${log.slice(-10).join("\n")}`).toEqual(want);
      });
      slowest.set(what, Math.max(slowest.get(what) ?? 0, performance.now() - startedAt));
    };
    await agree("begin");
    for (let i = 0; i < STEPS; i++) {
      const possible = steps(model);
      const step = possible[Math.floor(random() * possible.length)] as Step;
      const where = "node" in step ? ` ${step.node}` : "";
      log.push(`${i + 1}: ${step.what}${where}${"extra" in step ? ` ${step.extra}` : ""}`);
      if (STEPS > 50) process.stdout.write(`${log.at(-1)}\n`);
      await perform(step);
      apply(model, step);
      await agree(step.what);
    }
    const table = [...slowest].map(([what, ms]) => `${what}: ${(ms / 1_000).toFixed(1)} s`);
    process.stdout.write(`seed ${SEED}, ${STEPS} steps; the longest until the catalog agreed: ${table.join(", ")}\n`);
  },
  60_000 + STEPS * (STATED_MS + 20_000),
);
