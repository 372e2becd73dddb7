/** Hosts whose clocks are ten minutes ahead of the server's, and behind it: they join, live, and have certificates all the same. */
import { globSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { missingNamespaces } from "../compose/needs.ts";
import { needs } from "../support/tools.ts";
import { HEDDLE, NODE, type Process, tempDir, until } from "./daemon.ts";
import { createHosts, type Hosts } from "./hosts.ts";

const APART_S = { ahead: 600, behind: -600 };
const [FAKETIME] = globSync("/usr/lib/*/faketime/libfaketimeMT.so.1");
const dir = tempDir();
let hosts: Hosts;

const why = FAKETIME === undefined ? "needs libfaketime (Debian package faketime)" : missingNamespaces();
beforeAll(async () => {
  if (why === undefined) hosts = await createHosts(["server", "ahead", "behind"]);
});
afterAll(() => hosts?.close());

/** What a program is started with to see another time: all that reads the clock, OpenSSL too; timers run as they do. */
const at = (host: keyof typeof APART_S): string[] => [
  ...["env", `LD_PRELOAD=${FAKETIME}`, "FAKETIME_DONT_FAKE_MONOTONIC=1"],
  `FAKETIME=${APART_S[host] > 0 ? "+" : ""}${APART_S[host]}s`,
];

function startAgent(host: string, clock: string[], ...flags: string[]): Process {
  const data = `-data-dir=${join(dir, host)}`;
  const own = [NODE, HEDDLE, "agent", `-node=${host}`, `-bind=${hosts.addressOf(host)}`, data, ...flags];
  const [program, ...args] = [...clock, ...own] as [string, ...string[]];
  return hosts.inside(host, program, ...args);
}

test("hosts with wrong clocks join a mesh that was made a moment ago, hold their leases, and get leaves", async (ctx) => {
  if (why !== undefined) ctx.skip(why);
  needs(ctx, "curl");
  const server = startAgent("server", [], "-server", "-bootstrap-expect=1");
  await server.saw("Synced node info");
  const { Join } = await hosts.api<{ Join: string }>("server", "/v1/connect/ca/join-tokens", "PUT", { Uses: 2 });
  for (const host of ["ahead", "behind"] as const) {
    const seconds = Number(await hosts.said(host, ...(at(host) as [string, ...string[]]), "date", "+%s"));
    expect(Math.abs(seconds - Date.now() / 1_000 - APART_S[host])).toBeLessThan(60);
    const agent = startAgent(host, at(host), `-join=${Join}`, '-hcl=service { name = "web", port = 80 }');
    await agent.saw("Synced service: service=web");
    const leaf = await hosts.api<{ ValidAfter: string; ValidBefore: string }>(host, "/v1/agent/connect/ca/leaf/web");
    expect(Date.parse(leaf.ValidBefore)).toBeGreaterThan(Date.now() + 3_600_000);
    // Both ends say by how much they are apart.
    const aheadMs = `ahead_ms=${APART_S[host] < 0 ? "-" : ""}(?:59|60)\\d{4}\\b`;
    await agent.saw(new RegExp(`this node's clock and the CA's are apart.*${aheadMs}`));
    await server.saw(new RegExp(`an agent's clock and this CA's are apart.*agent="${host}, .*${aheadMs}`));
  }
  const members = async () => {
    const rows = await hosts.api<{ Name: string; Status: number }[]>("server", "/v1/agent/members");
    return Object.fromEntries(rows.map(({ Name, Status }) => [Name, Status]));
  };
  expect(await members()).toEqual({ ahead: 1, behind: 1, server: 1 });
  // Each asks the other whether it lives, and the server both: none of it depends on what time it is.
  hosts.plug("ahead", "down");
  await until(members, ({ ahead }) => ahead === 4, 20_000);
  hosts.plug("ahead", "up");
  await until(members, ({ ahead, behind }) => ahead === 1 && behind === 1, 20_000);
}, 60_000);
