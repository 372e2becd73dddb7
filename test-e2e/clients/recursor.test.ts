/** Names of other zones: an instance known by a host name is followed through the recursors, here another Heddle agent. */
import { expect, test } from "vitest";
import { makePlace, startAgent } from "../support/mesh.ts";
import { run } from "../support/process.ts";
import { needs } from "../support/tools.ts";

test("a service at a host name is answered with the name and its address", async (ctx) => {
  needs(ctx, "curl", "dig");
  const far = await makePlace();
  far.write("domain.hcl", `domain = "far."`);
  await startAgent(far);
  const register = async (http: number, body: object) => {
    const answer = await fetch(`http://127.0.0.1:${http}/v1/catalog/register`, {
      method: "PUT",
      body: JSON.stringify(body),
    });
    expect(answer.status).toBe(200);
  };
  await register(far.ports.http, { Node: "host", Address: "10.9.8.7" });

  const near = await makePlace();
  near.write("recursors.hcl", `recursors = ["127.0.0.1:${far.ports.dns}"]`);
  await startAgent(near);
  await register(near.ports.http, {
    Node: "elsewhere",
    Address: "10.1.1.1",
    Service: { Service: "shop", Address: "host.node.far", Port: 443 },
  });
  const dig = async (...question: string[]) =>
    (await run("dig", ["@127.0.0.1", "-p", String(near.ports.dns), "+noall", "+answer", "+additional", ...question]))
      .out;
  const a = await dig("shop.service.consul", "A");
  expect(a).toMatch(/shop\.service\.consul\.\s+0\s+IN\s+CNAME\s+host\.node\.far\./);
  expect(a).toMatch(/host\.node\.far\.\s+0\s+IN\s+A\s+10\.9\.8\.7/);
  expect(await dig("shop.service.consul", "SRV")).toMatch(/IN\s+A\s+10\.9\.8\.7/);
});
