/** The alerts and the dashboard of `deploy/monitoring` ask for what proxies tell, and Prometheus' own tool can read them. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test, type TestContext } from "vitest";
import { dialApp, freePort, isReady, startPair, startProxy } from "./harness.ts";

const FOLDER = fileURLToPath(new URL("../../../deploy/monitoring", import.meta.url));
const alerts = readFileSync(join(FOLDER, "alerts.yml"), "utf8");
const dashboard = JSON.parse(readFileSync(join(FOLDER, "dashboard.json"), "utf8")) as Dashboard;

interface Dashboard {
  panels: { id: number; title: string; targets?: { expr: string }[] }[];
}

const queries = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));

function promtool(ctx: TestContext): (...args: string[]) => string {
  const { PEERS_DIR, XDG_CACHE_HOME = join(homedir(), ".cache") } = process.env;
  const peer = join(PEERS_DIR ?? join(XDG_CACHE_HOME, "heddle-peers"), "prometheus/usr/bin/promtool");
  const path = [peer, "/usr/bin/promtool"].find((candidate) => existsSync(candidate));
  if (!path) {
    const reason = `skipped '${ctx.task.name}': there is no promtool (tools/install-test-tools.sh)`;
    process.stdout.write(`${reason}\n`);
    ctx.skip(reason);
  }
  return (...args) => execFileSync(path, args, { cwd: FOLDER, encoding: "utf8", stdio: "pipe" });
}

test("the alerts fire when they should, and not before", (ctx) => {
  const run = promtool(ctx);
  expect(run("check", "rules", "alerts.yml")).toContain("SUCCESS");
  expect(run("test", "rules", "alerts.test.yml")).toContain("SUCCESS");
  // Each of them is tried.
  const tried = readFileSync(join(FOLDER, "alerts.test.yml"), "utf8");
  for (const [, name] of alerts.matchAll(/- alert: (\w+)/g)) expect(tried).toContain(`alertname: ${name}`);
});

test("every query of the dashboard can be read", (ctx) => {
  const run = promtool(ctx);
  const rules = queries.map(({ expr }, i) => ({
    record: `dashboard:query_${i}`,
    expr: expr.replaceAll("$__rate_interval", "5m").replaceAll(/\$\w+/g, ".*"),
  }));
  const dir = mkdtempSync(join(tmpdir(), "heddle-dashboard-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "rules.yml");
  writeFileSync(file, JSON.stringify({ groups: [{ name: "dashboard", rules }] })); // YAML, too
  expect(run("check", "rules", file)).toContain(`${queries.length} rules found`);
});

test("what is asked for is what a proxy tells, by name and label", async () => {
  const { agent, port, publicPort } = await startPair();
  const metricsPort = await freePort();
  const web = await startProxy(["-service=web", "-upstream=db:0", `-metrics-addr=127.0.0.1:${metricsPort}`], {
    agent: agent.address,
  });
  await isReady(web);
  const app = await dialApp(web.running.listeners()[0]?.address?.port ?? 0);
  app.socket.end("hello");
  expect(await app.ended).toBe("end");
  expect([port, publicPort].every((p) => p > 0)).toBe(true);
  await web.logged("connection closed");
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const asked = [alerts.replaceAll(/^\s*#.*$/gm, ""), ...queries.map(({ expr }) => expr)].join("\n");
  const families = new Set([...asked.matchAll(/\b(?:heddle_proxy|process)_\w+/g)].map(([name]) => name));
  expect(families.size).toBeGreaterThan(12);
  for (const family of families) expect(text, family).toMatch(new RegExp(`^${family}[ {]`, "m"));
  // Labels that are matched or grouped by; the last ones are the scrape's.
  const told = new Set([...text.matchAll(/[{,](\w+)=/g)].map(([, label]) => label));
  const matched = [...asked.matchAll(/(\w+)(?:=|=~|!=|!~)"/g)].map(([, label = ""]) => label);
  const grouped = [...asked.matchAll(/ by \(([^)]+)\)/g)].flatMap(([, list = ""]) => list.split(/,\s*/));
  const labels = new Set([...matched, ...grouped]);
  for (const label of ["service", "node", "job"]) labels.delete(label);
  expect([...labels].filter((label) => !told.has(label))).toEqual([]);
});

test("times of both ends are told by who calls whom, the first byte while a connection is open", async () => {
  const { agent, service } = await startPair();
  const [publicPort, dbMetrics, webMetrics] = [await freePort(), await freePort(), await freePort()];
  agent.change((state) => {
    state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
  });
  const at = [`-listen=127.0.0.1:${publicPort}`, `-service-addr=127.0.0.1:${service.port}`];
  const start = (argv: string[], metrics: number) =>
    startProxy([...argv, `-metrics-addr=127.0.0.1:${metrics}`], { agent: agent.address });
  const db = await start(["-service=db", ...at], dbMetrics);
  const web = await start(["-service=web", "-upstream=db:0"], webMetrics);
  await Promise.all([isReady(db), isReady(web)]);
  const app = await dialApp(web.running.listeners()[0]?.address?.port ?? 0);
  app.socket.write("hello");
  await app.sawText("hello");
  const counts = async (port: number) => {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const lines = text.matchAll(/^heddle_proxy_(\w+)_seconds_count\{(.*)\} (\d+)$/gm);
    return [...lines].map(([, time, labels, count]) => `${time} ${labels} ${count}`).sort();
  };
  const told = (direction: string, times: string[]) =>
    times.map((time) => `${time} direction="${direction}",source="web",destination="db",daemon="connect-proxy" 1`);
  const open = ["connect", "first_byte", "handshake"];
  expect(await counts(webMetrics)).toEqual(told("outbound", open));
  expect(await counts(dbMetrics)).toEqual(told("inbound", open));
  app.socket.end();
  expect(await app.ended).toBe("end");
  await Promise.all([db.logged("connection closed"), web.logged("connection closed")]);
  const over = ["connect", "connection_duration", "first_byte", "handshake"];
  expect(await counts(webMetrics)).toEqual(told("outbound", over));
  expect(await counts(dbMetrics)).toEqual(told("inbound", over));
});
