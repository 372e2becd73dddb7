/** `-retry-join` with one name that stands for several servers, and not always for the same: the agent finds those that live. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasEtcd } from "@heddle/store/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { missingNamespaces } from "../compose/needs.ts";
import { HEDDLE, NODE, tempDir, until } from "../faults/daemon.ts";
import { createHosts, type Hosts } from "../faults/hosts.ts";
import { prepareServers, SERVERS, SERVERS_HOST } from "../faults/two-servers.ts";
import { needs } from "../support/tools.ts";

const NAME = "servers.test";
const dir = tempDir();
let hosts: Hosts;

const why = hasEtcd ? missingNamespaces() : "needs etcd (Debian package etcd-server)";
beforeAll(async () => {
  if (why !== undefined) return;
  hosts = await createHosts([SERVERS_HOST, "n1"]);
  const tls = (...args: string[]) => execFileSync(NODE, [HEDDLE, "tls", ...args], { cwd: dir, stdio: "pipe" });
  tls("ca", "create");
  tls(
    "cert",
    "create",
    "-server",
    ...Object.values(SERVERS).map((a) => `-additional-ipaddress=${a}`),
    `-additional-dnsname=${NAME}`,
  );
  tls("cert", "create", "-client", "-node", "n1");
});
afterAll(() => hosts?.close());

const files = (role: string) => [
  `-hcl=ca_file = "${join(dir, "heddle-ca.pem")}"`,
  `-hcl=cert_file = "${join(dir, `dc1-${role}.pem`)}"`,
  `-hcl=key_file = "${join(dir, `dc1-${role}-key.pem`)}"`,
];

test("an agent that was told a name follows it, and goes on as long as one of its addresses answers", async (ctx) => {
  if (why !== undefined) ctx.skip(why);
  needs(ctx, "curl");
  const servers = await prepareServers(hosts, dir);
  const running = { a: await servers.start("a", ...files("server")), b: await servers.start("b", ...files("server")) };

  // Only this agent's machine knows the name, which stands for one of them at first.
  const known = join(dir, "hosts");
  const stands = (...addresses: string[]) =>
    writeFileSync(known, addresses.map((address) => `${address} ${NAME}\n`).join(""));
  stands(SERVERS.a);
  const agent = hosts.inside(
    ...(["n1", "unshare", "--mount", "--propagation", "private"] as const),
    ...["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', known, NODE, HEDDLE, "agent", "-node=n1"],
    ...[`-bind=${hosts.addressOf("n1")}`, `-data-dir=${join(dir, "n1")}`, `-retry-join=${NAME}`, ...files("agent-n1")],
  );
  await agent.saw("Synced node info");
  const writes = (value: string) =>
    until(
      () => hosts.api<boolean>("n1", `/v1/kv/${value}`, "PUT", {}),
      (isWritten) => isWritten,
      20_000,
    );
  await writes("both");
  // The name stands for the other one, and then the one that it stood for is gone.
  stands(SERVERS.b);
  await running.a.end("SIGKILL");
  await writes("without-a");
  running.a = await servers.start("a", ...files("server"));
  stands(...Object.values(SERVERS));
  await running.b.end("SIGKILL");
  await writes("without-b");
  running.b = await servers.start("b", ...files("server"));
  // One that takes connections and answers nothing: a system that goes through a name's addresses would stay with it.
  running.a.child.kill("SIGSTOP");
  await writes("while-a-hangs");
  running.a.child.kill("SIGCONT");
  const health = () => hosts.api<{ Status: string }[]>("n1", "/v1/health/node/n1");
  await until(health, ([check]) => check?.Status === "passing");
  expect(agent.child.exitCode).toBe(null);
}, 90_000);
