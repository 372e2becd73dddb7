/** Beyond the walk: a service is taken out while somebody talks to it, and nobody is cut off. */
import { expect, test } from "vitest";
import { startMesh } from "../support/mesh.ts";
import { dig } from "../support/network.ts";
import { start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

test("a drained service has no new callers, keeps those it has, and goes when the last one has", async (ctx) => {
  needs(ctx, "socat", "nc", "curl", "dig");
  const mesh = await startMesh();
  const { api, ok, heddle, ports } = mesh;
  const caller = start("nc", ["localhost", String(ports.upstream)]);
  caller.write("before\n");
  await caller.printed("before\n");

  expect(await ok("services", "drain", "-detach", "socat")).toBe("Draining service: socat\n");
  expect(await api("/v1/health/connect/socat?passing")).toEqual([]);
  expect(await dig(ports.dns, "socat.service.consul")).toEqual([]);
  caller.write("meanwhile\n");
  await caller.printed("meanwhile\n");
  expect(Object.keys(await api<object>("/v1/agent/services"))).toContain("socat");

  // Taken back, it is healthy again; drained again, it goes with its last caller.
  expect(await ok("services", "drain", "-cancel", "socat")).toBe("Takes callers again: socat\n");
  await expect.poll(() => api("/v1/health/connect/socat?passing")).toHaveLength(1);
  const drained = mesh.start("services", "drain", "-timeout=1m", "socat");
  await drained.printed("Draining service: socat");
  caller.write("still here\n");
  await caller.printed("still here\n");
  await caller.stop();
  expect(await drained.exited).toBe(0);
  expect(drained.text).toContain("Deregistered service: socat\n");
  expect(Object.keys(await api<object>("/v1/agent/services"))).toEqual([]);
  expect(await heddle("services", "drain", "socat")).toMatchObject({
    status: 1,
    err: expect.stringContaining('No service registered with ID "socat"') as string,
  });
}, 60_000);
