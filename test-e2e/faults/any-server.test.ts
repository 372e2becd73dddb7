/** A node that has joined at one server has its certificate renewed, by time, by any of them, and starts while that one is away. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { hasEtcd } from "@heddle/store/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { missingNamespaces } from "../compose/needs.ts";
import { needs } from "../support/tools.ts";
import { type Process, tempDir, until } from "./daemon.ts";
import { createHosts, type Hosts } from "./hosts.ts";
import { prepareServers, SERVERS_HOST } from "./two-servers.ts";

const TTL_MS = 10_000;
const dir = tempDir();
let hosts: Hosts;

const why = hasEtcd ? missingNamespaces() : "needs etcd (Debian package etcd-server)";
beforeAll(async () => {
  if (why === undefined) hosts = await createHosts([SERVERS_HOST, "n1"]);
});
afterAll(() => hosts?.close());

const startNode = (...flags: string[]): Process =>
  hosts.heddle("n1", "agent", "-node=n1", `-bind=${hosts.addressOf("n1")}`, `-data-dir=${join(dir, "n1")}`, ...flags);

interface Identity {
  certPem: string;
  servers: string[];
  notBefore: string;
  notAfter: string;
}
const identity = async () => JSON.parse(readFileSync(join(dir, "n1/node-identity.json"), "utf8")) as Identity;

test("the server that a node joined at is killed: another one renews its certificate, and lets it start again", async (ctx) => {
  if (why !== undefined) ctx.skip(why);
  needs(ctx, "curl");
  const servers = await prepareServers(hosts, dir);
  const life = `-hcl=connect { ca_config { leaf_cert_ttl = "${TTL_MS / 1_000}s", skip_validate = true } }`;
  const a = await servers.start("a", life);
  const b = await servers.start("b", life);
  const { Join } = await hosts.api<{ Join: string }>(SERVERS_HOST, "/v1/connect/ca/join-tokens", "PUT", {});
  expect(Join).toMatch(/^10\.77\.0\.10:8300\//);
  const n1 = startNode(`-join=${Join}`);
  await n1.saw("Synced node info");
  await until(identity, ({ servers }) => servers?.length === 2);

  await a.end("SIGKILL");
  const first = await identity();
  const second = await until(identity, ({ certPem }) => certPem !== first.certPem, 3 * TTL_MS);
  const third = await until(identity, ({ certPem }) => certPem !== second.certPem, 3 * TTL_MS);
  // Each was renewed in its time: not before 60 % of its life, and before its end.
  for (const [before, after] of [
    [first, second],
    [second, third],
  ] as const) {
    const [begin, end] = [Date.parse(before.notBefore), Date.parse(before.notAfter)];
    expect(Date.parse(after.notBefore)).toBeGreaterThanOrEqual(begin + (end - begin) * 0.6 - TTL_MS / 6 - 1_000);
    expect(Date.parse(after.notBefore)).toBeLessThan(end);
  }
  expect(b.output()).toContain("signed a certificate");
  // In this life it knew of that one alone, and has learnt of the other.
  expect(await hosts.api("n1", "/v1/kv/without-a", "PUT", {})).toBe(true);

  await n1.end("SIGKILL");
  const again = startNode();
  await again.saw("Synced node info");
  expect(again.output()).not.toContain("joined the mesh");
  expect(await hosts.api("n1", "/v1/kv/again", "PUT", {})).toBe(true);
}, 60_000);
