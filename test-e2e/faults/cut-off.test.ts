/** INT-03: an agent that is cut off from its servers while a rule is written, and its proxies. */
import { expect, onTestFinished, test } from "vitest";
import { startRelay } from "../cluster/relay.ts";
import { comesTo, makePlace, startSocat } from "../support/mesh.ts";
import { HEDDLE, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

test("the last rules that are known hold meanwhile, and what was written is enforced when the agent is back", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const [server, node] = [await makePlace(), await makePlace()];
  const own = { data_dir: "../data", bind_addr: "127.0.0.1" };
  server.remove("socat.json");
  server.write("server.json", { ...own, server: true, bootstrap_expect: 1, node_name: "n1" });
  node.write("node.json", { ...own, node_name: "n2" });
  const first = start(HEDDLE, ["agent", "-config-dir=."], { cwd: server.configDir });
  await first.printed("Synced node info: node=n1");
  const relay = await startRelay(server.ports.server);
  onTestFinished(() => relay[Symbol.asyncDispose]());
  const join = `-retry-join=127.0.0.1:${relay.port}`;
  const second = start(HEDDLE, ["agent", "-config-dir=.", join], { cwd: node.configDir });
  await second.printed("Synced check: check=service:socat-sidecar-proxy:1");
  startSocat(node.ports.echo);
  const sidecar = node.start("connect", "proxy", "-sidecar-for", "socat");
  const upstream = `socat:${node.ports.upstream}`;
  const web = node.start("connect", "proxy", "-service", "web", "-upstream", upstream);
  await Promise.all([sidecar, web].map((proxy) => proxy.printed("Starting listener")));
  await comesTo(node.ports.upstream, "echo");
  const open = start("nc", ["localhost", String(node.ports.upstream)]);
  open.write("before\n");
  await open.printed("before\n");

  relay.setSilent(true);
  await server.ok("intention", "create", "-deny", "web", "socat");
  expect(await server.heddle("intention", "check", "web", "socat")).toMatchObject({ status: 1, out: "Denied\n" });
  open.write("cut off\n");
  await open.printed("cut off\n");
  await comesTo(node.ports.upstream, "echo");

  relay.setSilent(false);
  await open.exited;
  await sidecar.printed(/connection closed: source=web .*decision=refused rule="DENY default\/web => default\/socat/);
  await comesTo(node.ports.upstream, "refused");
}, 60_000);
