/**
 * INT-03 with a real cable: a host is cut off, a rule is written, and the cable is plugged in again. How long the rule then takes is printed
 * (`tools/soak/heal.sh` does it many times): TCP alone tries again only seconds later, so what hangs has to be made anew.
 */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { missingNamespaces } from "../compose/needs.ts";
import { needs } from "../support/tools.ts";
import { tempDir, until } from "./daemon.ts";
import { createHosts, type Hosts } from "./hosts.ts";

/** How often the node's kernel asks for its neighbour's address; its own way, once a second, where it is not given. */
const { HEDDLE_SOAK_NEIGHBOUR_MS: NEIGHBOUR_MS = "" } = process.env;
const CUTS_S = (process.env.HEDDLE_SOAK_CUTS ?? "3").split(" ").map(Number);
const dir = tempDir();
let hosts: Hosts;

const why = missingNamespaces();
beforeAll(async () => {
  if (why === undefined) hosts = await createHosts(["server", "node"]);
});
afterAll(() => hosts?.close());

function startAgent(host: string, ...flags: string[]) {
  const own = [`-node=${host}`, `-bind=${hosts.addressOf(host)}`, `-data-dir=${join(dir, host)}`];
  return hosts.heddle(host, "agent", ...own, ...flags);
}

test("a rule that was written while a node was cut off is enforced when its cable is back", {
  timeout: 60_000 + 10 * 1_000 * CUTS_S.reduce((a, b) => a + b, 0),
}, async (ctx) => {
  if (why !== undefined) ctx.skip(why);
  needs(ctx, "socat", "nc", "curl");
  if (NEIGHBOUR_MS !== "")
    await hosts.said("node", "sh", "-c", `echo ${NEIGHBOUR_MS} | tee /proc/sys/net/ipv4/neigh/*/retrans_time_ms`);
  const server = startAgent("server", "-server", "-bootstrap-expect=1");
  await server.saw("Synced node info");
  const { Join } = await hosts.api<{ Join: string }>("server", "/v1/connect/ca/join-tokens", "PUT", { Uses: 1 });
  const services = `services = [{ name = "web", port = 80 }, { name = "echo", port = 8181, connect { sidecar_service {} } }]`;
  const agent = startAgent("node", `-join=${Join}`, `-hcl=${services}`);
  await agent.saw("Synced service: service=echo-sidecar-proxy");
  hosts.inside("node", "socat", "tcp-l:8181,fork,reuseaddr", "exec:/bin/cat");
  const sidecar = hosts.heddle("node", "connect", "proxy", "-sidecar-for", "echo");
  const door = hosts.heddle("node", "connect", "proxy", "-service", "web", "-upstream", "echo:9191");
  await Promise.all([sidecar, door].map((proxy) => proxy.saw("Starting listener")));
  const lines = "while :; do (while echo x; do sleep 0.05; done) | nc 127.0.0.1 9191; sleep 0.1; done";
  const client = hosts.inside("node", "sh", "-c", lines);
  const refusals = () => sidecar.output().match(/decision=refused rule="DENY/g)?.length ?? 0;
  const more = (before: number) =>
    until(
      async () => client.output().length,
      (length) => length > before,
      30_000,
    );

  for (const seconds of CUTS_S) {
    await more(client.output().length);
    const refused = refusals();
    hosts.plug("node", "down");
    const cutAt = performance.now();
    const body = { SourceName: "web", DestinationName: "echo", Action: "deny" };
    const { ID } = await hosts.api<{ ID: string }>("server", "/v1/connect/intentions", "POST", body);
    await until(
      async () => performance.now() - cutAt,
      (ms) => ms > seconds * 1_000,
      seconds * 2_000,
    );
    await more(client.output().length); // the last rules that are known hold
    expect(refusals()).toBe(refused);
    const healedAt = performance.now();
    hosts.plug("node", "up");
    await until(
      async () => refusals(),
      (count) => count > refused,
      60_000,
    );
    console.log(`cut off for ${seconds} s: enforced ${Math.round(performance.now() - healedAt)} ms after`);
    await hosts.api("server", `/v1/connect/intentions/${ID}`, "DELETE");
  }
});
