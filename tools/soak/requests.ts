/**
 * Rows of the API that are too long for CI, or want a quiet machine (SECURITY.md): API-01, API-08 and API-14, each as its row says. Prints a line
 * for each; ends with status 1 where something was not as it should be.
 *
 *     node tools/soak/requests.ts [api-01] [api-08] [api-14]      # all by default, some three minutes
 */
import type { ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

import { type Bench, runRows, until } from "./support.ts";

const HTTP = 18_660;
const SERVER = HTTP + 1;
const URL = `http://127.0.0.1:${HTTP}`;
const MIB = 1024 * 1024;

const ROWS: Record<string, (bench: Bench) => Promise<boolean>> = {
  "api-01": bodies,
  "api-08": patterns,
  "api-14": secrets,
};

await runRows(ROWS);

async function startAgent({ heddle }: Bench, ...args: string[]): Promise<ChildProcess> {
  const agent = heddle("agent", "-dev", `-http-port=${HTTP}`, `-server-port=${SERVER}`, "-dns-port=-1", ...args);
  await until(async () => (await fetch(`${URL}/v1/health/service/consul`)).ok);
  return agent;
}

async function end(agent: ChildProcess): Promise<void> {
  agent.kill("SIGKILL");
  await until(async () => agent.signalCode !== null);
}

function rssMib({ pid }: ChildProcess): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}

/** 100 bodies of 100 MiB at once, in chunks and without a length; five times, for what grows would go on growing. */
async function bodies(bench: Bench): Promise<boolean> {
  const [CLIENTS, SIZE, ROUNDS, WARM] = [100, 100 * MIB, 5, 10_000];
  const chunk = Buffer.from(`10000\r\n${"x".repeat(65_536)}\r\n`);
  const agent = await startAgent(bench, "-log-level=err");
  const statuses = new Map<string, number>();
  let most = 0;
  const send = async (path: string): Promise<void> => {
    const socket = connect({ port: HTTP, host: "127.0.0.1" });
    let answer = "";
    socket.setEncoding("latin1").on("data", (text: string) => (answer += text));
    socket.on("error", () => {});
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(`PUT ${path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`);
    let sent = 0;
    while (!socket.destroyed && sent < SIZE && answer === "") {
      if (!socket.write(chunk)) await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), closed]);
      sent += chunk.length;
    }
    most = Math.max(most, socket.bytesWritten - socket.writableLength);
    await closed;
    const status = answer.slice(9, 12);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  };
  // A daemon that has served ordinary clients for a while: what it keeps of that is no work of the bodies.
  await send("/v1/kv/a");
  for (let i = 0; i < WARM; i += CLIENTS / 2)
    await Promise.all(
      Array.from({ length: CLIENTS / 2 }, async (_, n) => {
        const answer = await fetch(`${URL}/v1/kv/${n}`, {
          method: "PUT",
          body: i % 1_000 === 0 ? "x".repeat(400_000) : "x",
        });
        await answer.text();
      }),
    );
  const before = rssMib(agent);
  let peak = before;
  const watching = setInterval(() => (peak = Math.max(peak, rssMib(agent))), 5);
  for (let round = 0; round < ROUNDS; round++)
    await Promise.all(
      Array.from({ length: CLIENTS }, (_, i) => send(i % 2 === 0 ? "/v1/kv/a" : "/v1/agent/service/register")),
    );
  clearInterval(watching);
  const grown = rssMib(agent) - before;
  console.log(
    `${JSON.stringify(Object.fromEntries(statuses))}; at most ${(most / MIB).toFixed(1)} MiB of one were taken (two kernels' buffers and all), ` +
      `${(peak - before).toFixed(0)} MiB more at the peak, ${grown.toFixed(0)} after`,
  );
  await end(agent);
  return [...statuses.keys()].every((status) => ["413", "429"].includes(status)) && peak - before < 20;
}

/** Patterns that backtracking engines die of, and what RE2's syntax has not, on 1,000 services. */
async function patterns(bench: Bench): Promise<boolean> {
  const [SERVICES, MOST_MS, ASKED] = [1_000, 50, 5];
  const linear = [
    ...[
      "(a+)+$",
      "(a|aa)+$",
      "(a*)*$",
      "(a|a)*$",
      "(.*)*x",
      "([a-z]+)*$",
      "(a?){30}a{30}$",
      "^(a+)+b",
      "(x+x+)+y",
      "(.*a){12}",
      "\\\\w+\\\\w+\\\\w+$",
    ],
    ...[
      "a{1000}",
      "(?i)[a-z]+service",
      "[[:alpha:]]+$",
      "(?:a|b|ab)*c",
      "^.*.*.*z$",
      "(?s).*",
      "\\\\bservice\\\\b",
      "(a|b|c|d|e)*f",
      "x*x*x*x*y",
    ],
    ...[
      "^[^x]+x$",
      "(?P<name>a+)b",
      "\\\\pL+\\\\pN",
      "(foo|foobar|foobarbaz)+$",
      `(${"a|".repeat(100)}b)+$`,
      "((((a*)*)*)*)*$",
      "[a-z]{1,100}-",
    ],
  ];
  const refused = [
    "a".repeat(MIB),
    "(?=a)a",
    "(a)\\\\1",
    "(?<!a)b",
    "a{1001}",
    "(?>a+)b",
    "a++",
    "(",
    "[z-a]",
    "(a{100}){100}",
    "\\\\8",
  ];
  const agent = await startAgent(bench, "-log-level=err");
  for (let i = 0; i < SERVICES; i += 50)
    await Promise.all(
      Array.from({ length: 50 }, (_, j) =>
        fetch(`${URL}/v1/agent/service/register`, {
          method: "PUT",
          body: JSON.stringify({
            ID: `${"a".repeat(60)}${i + j}`,
            Name: `service-${(i + j) % 20}`,
            Meta: { v: `${"xa".repeat(100)}!` },
          }),
        }),
      ),
    );
  const slow: string[] = [];
  let worst = 0;
  let isGood = true;
  const ask = async (pattern: string, selector: string): Promise<number> => {
    const body = `${selector} matches "${pattern}"`;
    const startedAt = performance.now();
    const answer = await fetch(`${URL}/v1/agent/services?filter=${encodeURIComponent(body)}`).catch(() => ({
      status: 431,
      text: async () => "",
    }));
    const text = await answer.text();
    const tookMs = performance.now() - startedAt;
    isGood &&= text.length >= 0;
    if (answer.status === 200) {
      worst = Math.max(worst, tookMs);
      return tookMs;
    }
    return -answer.status;
  };
  for (const pattern of linear)
    for (const selector of ["ID", "Meta.v"]) {
      const took: number[] = [];
      for (let i = 0; i < ASKED; i++) took.push(await ask(pattern, selector));
      took.sort((a, b) => a - b);
      const median = took[ASKED >> 1] as number;
      if (median < 0) console.log(`  ${pattern.slice(0, 40)} on ${selector}: refused, ${-median}`);
      else if (median > MOST_MS) slow.push(`${pattern.slice(0, 40)} on ${selector} ${median.toFixed(0)} ms`);
    }
  const taken: string[] = [];
  for (const pattern of refused) {
    const status = -(await ask(pattern, "ID"));
    if (![400, 414, 431, 500].includes(status)) taken.push(`${pattern.slice(0, 40)} ${status}`);
  }
  console.log(
    `${linear.length} patterns of RE2 twice on ${SERVICES} services, the slowest answer ${worst.toFixed(0)} ms, above ${MOST_MS} ms by median: ` +
      `${slow.join(", ") || "none"}; ${refused.length} others, taken: ${taken.join(", ") || "none"}`,
  );
  await end(agent);
  return isGood && slow.length === 0 && taken.length === 0;
}

/** 20 secrets in 10,000 calls, in every place that takes one; then what the agent leaves of them, and what it leaves when it is killed for good. */
async function secrets(bench: Bench): Promise<boolean> {
  const [SECRETS, CALLS, AT_ONCE] = [20, 10_000, 50];
  const log = join(bench.dir, "agent.log");
  const agent = await startAgent(bench, "-log-level=trace", `-log-file=${log}`);
  const all = Array.from({ length: SECRETS }, () => `5ec2e7${crypto.randomUUID().slice(6)}`);
  const json = (path: string, method: string, body: unknown) =>
    fetch(URL + path, { method, body: JSON.stringify(body) });
  const places: ((secret: string) => Promise<Response>)[] = [
    (s) => fetch(`${URL}/v1/catalog/nodes?token=${s}`),
    (s) => fetch(`${URL}/v1/no/such?token=${s}`),
    (s) => fetch(`${URL}/v1/kv/none?index=x&%74oken=${s}`),
    (s) => fetch(`${URL}/v1/agent/self`, { headers: { "X-Consul-Token": s } }),
    (s) => fetch(`${URL}/v1/health/service/`, { headers: { Authorization: `Bearer ${s}` } }),
    (s) => fetch(`${URL}/v1/catalog/nodes?filter=(&token=${s}`, { headers: { Authorization: `Bearer ${s}` } }),
    (s) => json("/v1/agent/service/register", "PUT", { Name: "a", Port: 1, Token: s }),
    (s) => json("/v1/agent/check/register", "PUT", { Name: "c", TTL: "bad", Token: s }),
    (s) => json("/v1/agent/token/default", "PUT", { Token: s }),
    (s) => json("/v1/query", "POST", { Name: "", Token: s }),
    (s) => json("/v1/connect/ca/configuration", "PUT", { Provider: "consul", Config: { PrivateKey: s } }),
    (s) => json("/v1/acl/login", "POST", { BearerToken: s, AuthMethod: "m" }),
    (s) => fetch(`${URL}/v1/kv/secret`, { method: "PUT", body: s }),
    (s) => json("/v1/txn", "PUT", [{ KV: { Verb: "set", Key: "k", Value: Buffer.from(s).toString("base64") } }]),
  ];
  for (let i = 0; i < CALLS; i += AT_ONCE)
    await Promise.all(
      Array.from({ length: AT_ONCE }, async (_, n) => {
        const place = places[(i + n) % places.length] as (secret: string) => Promise<Response>;
        await (await place(all[(i + n) % SECRETS] as string)).text();
      }),
    );
  await fetch(`${URL}/v1/agent/members?last`);
  const logs = () =>
    readdirSync(bench.dir)
      .filter((name) => name.startsWith("agent"))
      .map((name) => readFileSync(join(bench.dir, name), "latin1"));
  await until(async () => logs().some((text) => text.includes("members?last")));
  const left = [
    ...logs(),
    ...(await Promise.all(["/metrics", "/v1/agent/metrics"].map(async (path) => (await fetch(URL + path)).text()))),
    ...["cmdline", "environ"].map((name) => readFileSync(`/proc/${agent.pid}/${name}`, "latin1")),
  ].join("\n");
  const hits = all.filter((secret) => left.includes(secret)).length;
  const core = /^Max core file size\s+(\S+)/m.exec(readFileSync(`/proc/${agent.pid}/limits`, "utf8"))?.[1];
  agent.kill("SIGABRT");
  await until(async () => agent.signalCode !== null);
  const cores = readdirSync(process.cwd()).filter((name) => /^core(\.\d+)?$/.test(name)).length;
  console.log(
    `${CALLS} calls with ${SECRETS} secrets, ${left.length} bytes of logs and metrics: ${hits} hits; limit of core files ${core}, ${cores} left by SIGABRT`,
  );
  return hits === 0 && core === "0" && cores === 0;
}
