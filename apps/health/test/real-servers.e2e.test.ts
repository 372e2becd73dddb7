/** The checker against servers that others wrote: nginx for HTTP, TLS, TCP and HTTP/2, etcd for gRPC's health protocol. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "@heddle/daemon";
import { expect, onTestFinished, test } from "vitest";
import { loadConfig, start } from "../src/index.ts";
import { connectAgent, freePort, type TestAgent } from "../src/testing.ts";

const isMissing = (command: string) => spawnSync("sh", ["-c", `command -v ${command}`]).status !== 0;

async function startChecker(): Promise<TestAgent> {
  const config = loadConfig({ argv: ["-port=0", "-min-interval=100ms"], env: process.env, readFile: () => "" });
  const health = await start(config, { log: silentLog });
  onTestFinished(() => health.close());
  const agent = await connectAgent(health.url);
  onTestFinished(() => agent.close());
  return agent;
}

function runUntilEnd(program: string, args: string[]): ChildProcess {
  const child = spawn(program, args, { stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

function tempDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "heddle-real-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Waits for the first result that is as wanted: a server that is not up yet is critical before. */
const becomes = (agent: TestAgent, id: string, status: string, output: RegExp) =>
  agent.result(id, (result) => result.status === status && output.test(result.output));

test("nginx: statuses, redirects, certificates, HTTP/2's ping, and its end", async (ctx) => {
  if (isMissing("nginx")) ctx.skip("needs nginx");
  const dir = tempDir();
  const [http, h2, tls] = [await freePort(), await freePort(), await freePort()];
  const key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
  const files = ["-keyout", join(dir, "key.pem"), "-out", join(dir, "cert.pem"), "-subj", "/CN=nginx.test"];
  execFileSync("openssl", [...key, ...files, "-addext", "subjectAltName=DNS:nginx.test"], { stdio: "ignore" });
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${dir}/${name};`);
  writeFileSync(
    join(dir, "nginx.conf"),
    `daemon off; master_process off; pid ${dir}/pid; error_log stderr crit;
events {}
http {
  access_log off; default_type text/plain; ${temp.join(" ")}
  server {
    listen 127.0.0.1:${http};
    location /ok { return 200 "fine"; }
    location /busy { return 429 "later"; }
    location /broken { return 503 "no"; }
    location /moved { return 302 http://127.0.0.1:${http}/ok; }
    location /method { if ($request_method = PUT) { return 200 "put"; } return 405; }
  }
  server { listen 127.0.0.1:${h2} http2; }
  server {
    listen 127.0.0.1:${tls} ssl http2;
    ssl_certificate ${dir}/cert.pem; ssl_certificate_key ${dir}/key.pem;
    location / { return 200 "secret"; }
  }
}`,
  );
  const nginx = runUntilEnd("nginx", ["-p", dir, "-c", join(dir, "nginx.conf")]);
  const agent = await startChecker();
  const web = `http://127.0.0.1:${http}`;
  const each = { IntervalMs: 100, TimeoutMs: 2_000 };
  agent.sync([
    { CheckID: "ok", HTTP: `${web}/ok`, ...each },
    { CheckID: "busy", HTTP: `${web}/busy`, ...each },
    { CheckID: "broken", HTTP: `${web}/broken`, ...each },
    { CheckID: "moved", HTTP: `${web}/moved`, ...each },
    { CheckID: "not-moved", HTTP: `${web}/moved`, DisableRedirects: true, ...each },
    { CheckID: "put", HTTP: `${web}/method`, Method: "PUT", Body: "x", ...each },
    { CheckID: "tcp", TCP: `127.0.0.1:${http}`, ...each },
    { CheckID: "h2c", H2PING: `127.0.0.1:${h2}`, H2PingUseTLS: false, ...each },
    { CheckID: "h2", H2PING: `127.0.0.1:${tls}`, H2PingUseTLS: true, TLSSkipVerify: true, ...each },
    { CheckID: "unknown-ca", HTTP: `https://127.0.0.1:${tls}/`, ...each },
    { CheckID: "skipped", HTTP: `https://127.0.0.1:${tls}/`, TLSSkipVerify: true, ...each },
  ]);
  await Promise.all([
    becomes(agent, "ok", "passing", /HTTP GET http:.*: 200 OK Output: fine$/),
    becomes(agent, "busy", "warning", /: 429 Too Many Requests Output: later$/),
    becomes(agent, "broken", "critical", /: 503 Service Temporarily Unavailable Output: no$/),
    becomes(agent, "moved", "passing", /: 200 OK Output: fine$/),
    becomes(agent, "not-moved", "critical", /: 302 Moved Temporarily Output: /),
    becomes(agent, "put", "passing", /HTTP PUT .*: 200 OK Output: put$/),
    becomes(agent, "tcp", "passing", /: Success$/),
    becomes(agent, "h2c", "passing", /HTTP2 ping was successful/),
    becomes(agent, "h2", "passing", /HTTP2 ping was successful/),
    becomes(agent, "unknown-ca", "critical", /x509: /),
    becomes(agent, "skipped", "passing", /: 200 OK Output: secret$/),
  ]);
  nginx.kill("SIGKILL");
  await becomes(agent, "ok", "critical", /connection refused/);
  await becomes(agent, "h2c", "critical", /connection refused/);
}, 30_000);

test("etcd: gRPC's health protocol, of the server and of a service that it does not have", async (ctx) => {
  if (isMissing("etcd")) ctx.skip("needs etcd-server");
  const [client, peer] = [`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`];
  const urls = [`--listen-client-urls=${client}`, `--advertise-client-urls=${client}`, `--listen-peer-urls=${peer}`];
  const cluster = [`--initial-advertise-peer-urls=${peer}`, `--initial-cluster=default=${peer}`];
  const etcd = runUntilEnd("etcd", [`--data-dir=${tempDir()}`, ...urls, ...cluster]);
  const agent = await startChecker();
  const target = new URL(client).host;
  const each = { IntervalMs: 100, TimeoutMs: 2_000 };
  agent.sync([
    { CheckID: "server", GRPC: target, ...each },
    { CheckID: "service", GRPC: `${target}/no.such.Service`, ...each },
    { CheckID: "tls", GRPC: target, GRPCUseTLS: true, ...each },
  ]);
  await becomes(agent, "server", "passing", /gRPC check .*: success/);
  await becomes(agent, "service", "critical", /unknown service/);
  expect((await agent.result("tls")).status).toBe("critical");
  etcd.kill("SIGKILL");
  await becomes(agent, "server", "critical", /./);
}, 30_000);
