/** Step 7 of the walk: who may talk to whom, and what both ends say about it. */
import { expect, test } from "vitest";
import { comesTo, type Mesh, netcat, startMesh } from "../support/mesh.ts";
import { quote, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

/** The line that both proxies log for a refused connection after the place `from` of their texts. */
async function refusals({ sidecar, web }: Mesh, from: { sidecar: number; web: number }, reason: string): Promise<void> {
  for (const [proxy, direction, at] of [
    [sidecar, "inbound", from.sidecar],
    [web, "outbound", from.web],
  ] as const) {
    const line = `connection refused: source=web destination=socat direction=${direction} `;
    await proxy.printed(new RegExp(`${quote(line)}.*decision=refused .*${reason}`), { from: at });
  }
}

const lengths = ({ sidecar, web }: Mesh) => ({ sidecar: sidecar.text.length, web: web.text.length });

test("a deny refuses new connections, both proxies log who, whom and which rule; without it all works again", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const mesh = await startMesh();
  const { ports, ok, api, socat } = mesh;
  expect(await ok("intention", "create", "-deny", "web", "socat")).toBe("Created: web => socat (deny)\n");
  await comesTo(ports.upstream, "refused");
  const from = lengths(mesh);
  expect(await netcat(ports.upstream, "not allowed")).toBe("");
  const [rule] = await api<{ ID: string }[]>("/v1/connect/intentions");
  const text = `DENY default/web => default/socat (ID: ${rule?.ID}, Precedence: 9)`;
  await refusals(mesh, from, `rule="${quote(text)}" reason="Matched intention: ${quote(text)}"`);
  expect(socat.text).not.toContain("not allowed");

  expect(await mesh.heddle("intention", "check", "web", "socat")).toEqual({ status: 1, out: "Denied\n", err: "" });
  expect(await ok("intention", "delete", "web", "socat")).toBe("Intention deleted.\n");
  await comesTo(ports.upstream, "echo");
  expect(await ok("intention", "check", "web", "socat")).toBe("Allowed\n");
});

test("a deny cuts the connections that are open, and leaves those of others alone", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const mesh = await startMesh();
  const { ports, ok } = mesh;
  const other = mesh.start("connect", "proxy", "-service", "api", "-upstream", `socat:${ports.other}`);
  await other.printed("Starting listener");
  const open = start("nc", ["localhost", String(ports.upstream)]);
  const kept = start("nc", ["localhost", String(ports.other)]);
  for (const nc of [open, kept]) {
    nc.write("before\n");
    await nc.printed("before\n");
  }
  const begun = performance.now();
  await ok("intention", "create", "-deny", "web", "socat");
  await open.exited; // nc ends by itself when it is reset
  expect(performance.now() - begun).toBeLessThan(5_000);
  for (const proxy of [mesh.sidecar, mesh.web])
    await proxy.printed(
      /connection closed: source=web destination=socat .*decision=refused rule="DENY default\/web => default\/socat /,
    );
  kept.write("after\n");
  await kept.printed("after\n");
});

test("rules by -replace, by wildcard and by precedence", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const { ports, ok, heddle } = await startMesh();
  await ok("intention", "create", "-deny", "*", "socat");
  await comesTo(ports.upstream, "refused");
  await ok("intention", "create", "--allow", "web", "socat");
  await comesTo(ports.upstream, "echo");
  expect(await heddle("intention", "create", "-deny", "web", "socat")).toMatchObject({ status: 1 });
  await ok("intention", "create", "-replace", "-deny", "web", "socat");
  await comesTo(ports.upstream, "refused");
  expect(await ok("intention", "match", "socat")).toBe("web => socat (deny)\n* => socat (deny)\n");
  expect(await ok("intention", "get", "web", "socat")).toMatch(/^Source: +web\nDestination: +socat\nAction: +deny\n/);
});

test.for<[string, object]>([
  ["acl.default_policy", { acl: { default_policy: "deny" } }],
  ["default_intention_policy", { default_intention_policy: "deny" }],
])("with %s deny nothing passes until a rule allows it", async ([, policy], ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const mesh = await startMesh({ files: { "policy.json": policy } });
  const { ports, ok, heddle } = mesh;
  await comesTo(ports.upstream, "refused");
  const from = lengths(mesh);
  expect(await netcat(ports.upstream, "nobody allowed it")).toBe("");
  await refusals(mesh, from, 'reason="Default behavior configured by ACLs"');
  expect(await heddle("intention", "check", "web", "socat")).toMatchObject({ status: 1, out: "Denied\n" });
  await ok("intention", "create", "-allow", "web", "socat");
  await comesTo(ports.upstream, "echo");
  await ok("intention", "delete", "web", "socat");
  await comesTo(ports.upstream, "refused");
});
