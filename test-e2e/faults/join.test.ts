/** Nodes that join with one line, on hosts of their own: what that gives them, and what they may not do with it. */
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { missingNamespaces } from "../compose/needs.ts";
import { needs } from "../support/tools.ts";
import { type Process, tempDir, until } from "./daemon.ts";
import { createHosts, type Hosts } from "./hosts.ts";

const SERVER = "10.77.0.10";
const dir = tempDir();
let hosts: Hosts;

const why = missingNamespaces();
beforeAll(async () => {
  if (why === undefined) hosts = await createHosts(["server", "n1", "n2"]);
});
afterAll(() => hosts?.close());

function startAgent(name: string, ...flags: string[]): Process {
  const data = join(dir, name);
  const args = ["agent", `-node=${name}`, `-bind=${hosts.addressOf(name)}`, `-data-dir=${data}`, ...flags];
  const agent = hosts.heddle(name, ...args);
  onTestFinished(async () => void (await agent.end("SIGKILL")));
  return agent;
}

async function startServer(): Promise<Process> {
  const server = startAgent("server", "-server", "-bootstrap-expect=1");
  await server.saw("Synced node info");
  return server;
}

const lineOf = async (...flags: string[]): Promise<string> =>
  (await hosts.said("server", ...heddle("token", "join", ...flags))).trim();
const heddle = (...args: string[]): [string, ...string[]] => [process.execPath, HEDDLE_MAIN, ...args];
const HEDDLE_MAIN = join(import.meta.dirname, "../../apps/cli/src/main.ts");

interface Identity {
  certPem: string;
  keyPem: string;
  roots: string[];
}
const identityOf = (node: string) =>
  JSON.parse(readFileSync(join(dir, node, "node-identity.json"), "utf8")) as Identity;

/** One request to an internal API, the server's by default, from a host, with the identity of its node or without; the answer and its status. */
function ask(
  host: string,
  identity: Identity | undefined,
  method: string,
  path: string,
  body?: object,
  to = `${SERVER}:8300`,
) {
  const file = (name: string, pem: string) => {
    const path = join(dir, `${host}-${name}.pem`);
    writeFileSync(path, pem, { mode: 0o600 });
    return path;
  };
  const certificate = identity ? ["--cert", file("cert", identity.certPem), "--key", file("key", identity.keyPem)] : [];
  const data = body ? ["-d", JSON.stringify(body)] : [];
  // curl knows host names only, which certificates of the mesh have none of.
  return hosts.said(
    host,
    ...["curl", "-sS", "-k", ...certificate, "-X", method, ...data, "-w", " %{http_code}", `https://${to}${path}`],
  );
}

const members = async () => {
  const rows = await hosts.api<{ Name: string; Status: number }[]>("server", "/v1/agent/members");
  return Object.fromEntries(rows.map(({ Name, Status }) => [Name, Status]));
};

test("a node joins with one line, keeps its identity, follows a new root, and may do what is its own", async (ctx) => {
  if (why !== undefined) ctx.skip(why);
  needs(ctx, "curl", "openssl");
  const server = await startServer();
  expect(server.output()).toMatch(/Internal API: 10\.77\.0\.10:8300/);
  const line = await lineOf();
  expect(line).toMatch(/^10\.77\.0\.10:8300\/sha256:[0-9a-f]{64}\/[0-9a-f]{12}\.[A-Za-z0-9_-]{43}$/);

  const n1 = startAgent("n1", `-join=${line}`, '-hcl=service { name = "web", port = 80 }');
  await n1.saw("Synced service: service=web");
  await server.saw("a node has joined: node=n1 peer=10.77.0.11");
  expect(await members()).toEqual({ n1: 1, server: 1 });
  const file = join(dir, "n1/node-identity.json");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const names = async () => {
    writeFileSync(join(dir, "n1.pem"), identityOf("n1").certPem);
    return hosts.said("n1", "openssl", "x509", "-in", join(dir, "n1.pem"), "-noout", "-ext", "subjectAltName");
  };
  expect(await names()).toMatch(/URI:spiffe:\/\/[0-9a-f-]{36}\.consul\/agent\/client\/dc\/dc1\/id\/n1$/m);
  // Secrets are shown by nothing: not by the list, not by a log, not by the store's file.
  const secret = line.split(".").at(-1) as string;
  expect(await hosts.said("server", ...heddle("token", "list"))).toMatch(/1\/1 +<any> +n1\n$/);
  for (const text of [server.output(), n1.output(), readFileSync(join(dir, "server/ca.db"), "latin1")])
    expect(text).not.toContain(secret);

  // What runs on the node gets its certificate, and nothing else does.
  const leaf = (service: string) => hosts.api<object>("n1", `/v1/agent/connect/ca/leaf/${service}`).catch(() => ({}));
  expect(await leaf("web")).toMatchObject({ Service: "web" });
  const refusedLeaf = await hosts.said(
    "n1",
    "curl",
    "-sS",
    "-w",
    " %{http_code}",
    "127.0.0.1:8500/v1/agent/connect/ca/leaf/db",
  );
  expect(refusedLeaf).toBe(
    "certificate refused: no service 'db' is registered on node 'n1', whose agent asks for it: register it there first 403",
  );
  await server.saw("refused to sign a certificate");
  // The door of a service that is registered on this node a moment before.
  await hosts.api("n1", "/v1/agent/service/register", "PUT", { Name: "db" });
  expect(await leaf("db")).toMatchObject({ Service: "db" });

  const own = identityOf("n1");
  const other = { Node: "server", Address: "10.77.0.11", Service: { Service: "evil" } };
  expect(await ask("n1", own, "PUT", "/v1/catalog/register", other)).toMatch(/may not write node 'server'.* 403$/);
  expect(await ask("n1", own, "PUT", "/v1/catalog/register", { Node: "printer", Address: "192.0.2.9" })).toBe(
    "true 200",
  );
  expect(await ask("n1", own, "PUT", "/v1/connect/ca/configuration", { Provider: "consul" })).toMatch(
    /a caller with role 'agent' may not PUT \/v1\/connect\/ca\/configuration: want operator or server 403$/,
  );
  expect(await ask("n1", own, "PUT", "/v1/connect/ca/join-tokens", {})).toMatch(/want operator or server 403$/);
  // Its own users cannot either, through its agent or by the server's API from elsewhere.
  expect(await hosts.said("n1", ...heddle("token", "join"))).toMatch(/Unexpected response code: 403/);
  expect(await ask("n1", own, "GET", "/internal/v1/checks")).toMatch(/ 404$/);
  // Without a certificate there are the two paths of joining, and 403.
  expect(await ask("n2", undefined, "GET", "/internal/v1/join/roots")).toMatch(/BEGIN CERTIFICATE.* 200$/);
  for (const path of ["/v1/kv/a", "/v1/catalog/nodes", "/v1/connect/ca/roots", "/internal/v1/ca/sign", "/nothing"])
    expect(await ask("n2", undefined, "GET", path)).toMatch(/^want a certificate of this mesh .* 403$/);

  // Another root: the node's certificate is signed anew by it, while everything goes on.
  writeFileSync(
    join(dir, "ca.json"),
    JSON.stringify({ Provider: "consul", Config: { PrivateKeyType: "ec", PrivateKeyBits: 384 } }),
  );
  const before = identityOf("n1");
  await hosts.said("server", ...heddle("connect", "ca", "set-config", `-config-file=${join(dir, "ca.json")}`));
  await n1.saw("this node's certificate was renewed");
  await until(
    async () => identityOf("n1"),
    (now) => now.certPem !== before.certPem && now.roots.length === 2,
  );
  expect(JSON.parse(readFileSync(file, "utf8")) as object).toMatchObject({
    keyPem: (before as { keyPem: string }).keyPem,
  });
  await hosts.api("n1", "/v1/kv/after", "PUT", {});
  // A token from before the rotation leads to the new root by the cross-signed certificate.
  const second = await lineOf("-node=n2");
  const n2 = startAgent("n2", `-retry-join=${second}`);
  await n2.saw("Synced node info");

  // Restarts, in any order and with nothing but the data directories.
  await n1.end("SIGKILL");
  await server.end("SIGKILL");
  const n1Again = startAgent("n1", '-hcl=service { name = "web", port = 80 }');
  const serverAgain = await startServer();
  await n1Again.saw("Synced service: service=web");
  expect(n1Again.output()).not.toContain("joined the mesh");
  await until(members, (rows) => rows["n1"] === 1 && rows["n2"] === 1, 20_000);

  // A revoked node is not renewed, and its name is free again; a node that lost its data directory needs that.
  await n1Again.end();
  rmSync(join(dir, "n1"), { recursive: true });
  const third = await lineOf("-uses=2");
  const stranger = startAgent("n1", `-join=${third}`);
  expect(await stranger.exited).toEqual([1, null]);
  expect(stranger.output()).toMatch(/node 'n1' has joined with another key .*heddle token revoke -node n1/);
  expect(await hosts.said("server", ...heddle("token", "revoke", "-node=n1"))).toBe("Revoked: n1\n");
  rmSync(join(dir, "n1"), { recursive: true });
  const joined = startAgent("n1", `-join=${third}`);
  await joined.saw("Synced node info");
  for (const agent of [joined, n2, serverAgain]) await agent.end();
}, 120_000);

test("a wrong fingerprint, an expired, a used-up, a stolen, a foreign and a revoked token are each refused, on both ends", async (ctx) => {
  if (why !== undefined) ctx.skip(why);
  needs(ctx, "curl");
  rmSync(join(dir, "server"), { recursive: true, force: true });
  const server = await startServer();
  const refused = async (node: string, line: string): Promise<string> => {
    rmSync(join(dir, node), { recursive: true, force: true });
    const agent = startAgent(node, `-join=${line}`);
    expect(await agent.exited).toEqual([1, null]);
    expect(agent.output()).not.toContain(line.split("/")[2]);
    expect(existsSync(join(dir, node, "agent.db"))).toBe(false);
    return agent.output().trim().split("\n").at(-1) as string;
  };
  const told = (reason: string) => server.saw(new RegExp(`refused a node that wants to join: .*${reason}`));

  const line = await lineOf();
  const wrong = line.replace(/sha256:[0-9a-f]{64}/, `sha256:${"0".repeat(64)}`);
  expect(await refused("n1", wrong)).toMatch(
    /is not the one that is meant: its roots are sha256:[0-9a-f]{64}, wanted sha256:0{64}/,
  );
  // The token was told to nobody: it is as good as new.
  const n1 = startAgent("n1", `-join=${line}`);
  await n1.saw("Synced node info");

  expect(await refused("n2", line)).toMatch(
    /refuses: .*is used up: by node 'n1' at \S+ Whoever did not expect that has had it stolen/,
  );
  await told("is used up: by node 'n1'");
  expect(await refused("n2", await lineOf("-node=n3"))).toMatch(/refuses: .*is for node 'n3', not 'n2'/);
  await told("is for node 'n3', not 'n2'");
  expect(await refused("n2", `${line.slice(0, -43)}${"A".repeat(43)}`)).toMatch(
    /refuses: .*is unknown, or was revoked/,
  );
  await told("is unknown, or was revoked");
  const revoked = await lineOf();
  await hosts.said("server", ...heddle("token", "revoke", revoked.split("/")[2] as string));
  expect(await refused("n2", revoked)).toMatch(/refuses: .*is unknown, or was revoked/);
  const expired = await lineOf("-ttl=1s");
  const id = (expired.split("/")[2] as string).split(".")[0];
  interface Token {
    ID: string;
    ExpiresAt: string;
  }
  await until(
    () => hosts.api<Token[]>("server", "/v1/connect/ca/join-tokens"),
    (tokens) => Date.parse(tokens.find(({ ID }) => ID === id)?.ExpiresAt ?? "") + 1_000 < Date.now(),
  );
  expect(await refused("n2", expired)).toMatch(/refuses: the join token [0-9a-f]{12} expired at /);
  await told("expired at");
  // A name that somebody has who has not joined so: the server's own.
  const taken = startAgent("n2", `-join=${await lineOf()}`, "-node=server");
  expect(await taken.exited).toEqual([1, null]);
  expect(taken.output()).toMatch(/refuses: there is a node 'server' already, which has not joined by a token/);
}, 120_000);

test("a node that is revoked is out at once and after a restart, and so is a certificate by its serial; others go on", async (ctx) => {
  if (why !== undefined) ctx.skip(why);
  needs(ctx, "curl", "openssl");
  for (const host of ["server", "n1", "n2"]) rmSync(join(dir, host), { recursive: true, force: true });
  const server = await startServer();
  const n1 = startAgent("n1", `-join=${await lineOf()}`, '-hcl=service { name = "web", port = 80 }');
  await n1.saw("Synced service: service=web");
  const n2 = startAgent("n2", `-join=${await lineOf()}`);
  await n2.saw("Synced node info");
  for (const node of ["n1", "n2"]) await server.saw(`member joined: member=${node}`);
  const own = identityOf("n1");
  const register = (host: string, identity: Identity) =>
    ask(host, identity, "PUT", "/v1/catalog/register", { Node: host, Address: hosts.addressOf(host) });
  const put = (host: string) =>
    hosts.said(host, "curl", "-sS", "-X", "PUT", "-w", " %{http_code}", `127.0.0.1:8500/v1/kv/${host}`);
  expect(await register("n1", own)).toBe("true 200");
  expect(await put("n1")).toBe("true 200");
  const asksN2 = () => ask("n1", own, "GET", "/internal/v1/alive", undefined, `${hosts.addressOf("n2")}:8301`);
  expect(await asksN2()).toBe('{"node":"n2"} 200');

  expect(await hosts.said("server", ...heddle("token", "revoke", "-node=n1"))).toBe("Revoked: n1\n");
  await server.saw(/ending a connection of a revoked caller: .*node 'n1' was revoked at/);
  await n1.saw("node 'n1' was revoked at");
  // At once, though n2 reaches it still.
  await server.saw(/member failed, marking health critical: .*member=n1 .*node 'n1' was revoked at/);
  await until(members, (rows) => rows["n1"] === 4);
  const check = { Node: "n1", CheckID: "serfHealth", Status: "critical" };
  expect(await hosts.api("n2", "/v1/health/node/n1")).toEqual([expect.objectContaining(check)]);
  expect(await hosts.api("n2", "/v1/health/service/web?passing")).toEqual([]);
  expect(await register("n1", own)).toMatch(/^node 'n1' was revoked at \S+: to join anew it wants another key .* 403$/);
  expect(await put("n1")).toMatch(/node 'n1' was revoked at .* 403$/);
  expect(await until(asksN2, (said) => said.endsWith(" 403"))).toMatch(/^node 'n1' was revoked at /); // agents, too
  expect(await put("n2")).toBe("true 200");
  expect(await hosts.said("server", ...heddle("connect", "ca", "revoked"))).toMatch(/all of node n1/);

  await server.end("SIGKILL");
  const again = await startServer();
  expect(await register("n1", own)).toMatch(/^node 'n1' was revoked at .* 403$/);
  await until(
    () => put("n2"),
    (said) => said === "true 200",
  );
  await until(members, (rows) => rows["n1"] === 4 && rows["n2"] === 1);

  await n2.saw("the catalog hears of this node again"); // what is cut below is its lease
  const second = identityOf("n2");
  expect(await register("n2", second)).toBe("true 200");
  const serial = await hosts.said("n2", "openssl", "x509", "-in", join(dir, "n2-cert.pem"), "-noout", "-serial");
  const revoke = heddle("connect", "ca", "revoke", `-serial=${serial.trim().split("=")[1]}`, "-reason=lost");
  expect(await hosts.said("server", ...revoke)).toMatch(/^Revoked: certificate /);
  await again.saw(/member failed, marking health critical: .*member=n2 .*certificate \S+ was revoked at \S+: lost/);
  expect(await register("n2", second)).toMatch(/^certificate \S+ was revoked at \S+: lost 403$/);
}, 120_000);
