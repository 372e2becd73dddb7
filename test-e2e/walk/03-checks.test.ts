/** Step 3 of the walk: before the proxy runs its check says why it is critical; `heddle validate` reads a directory. */
import { expect, test } from "vitest";
import { makePlace, passing, startAgent } from "../support/mesh.ts";
import { dig } from "../support/network.ts";
import { needs } from "../support/tools.ts";

const CHECK = "service:socat-sidecar-proxy:1";

interface Check {
  Name: string;
  Status: string;
  Output: string;
}

test("the sidecar's check is critical and says why, API and DNS leave it out, and it passes by itself", async (ctx) => {
  needs(ctx, "curl", "dig");
  const place = await startAgent(await makePlace());
  const { agent, api, ports } = place;
  const check = async () => (await api<Record<string, Check>>("/v1/agent/checks"))[CHECK] as Check;
  const why = `dial tcp 127.0.0.1:${ports.sidecar}: connect: connection refused`;
  await expect.poll(check).toMatchObject({ Status: "critical", Output: why });
  expect(await check()).toMatchObject({ Name: "Connect Sidecar Listening" });
  await agent.printed(new RegExp(`\\[WARN\\]  agent: Check is now critical: check=${CHECK} .*output="${why}"`));

  // The catalog has it too (the text may come later, check_update_interval says when); what callers ask leaves it out.
  const inCatalog = async () => (await api<Check[]>("/v1/health/checks/socat-sidecar-proxy"))[0];
  await expect.poll(inCatalog).toMatchObject({ Status: "critical" });
  expect(await api<unknown[]>("/v1/health/connect/socat")).toHaveLength(1);
  expect(await api<unknown[]>("/v1/health/connect/socat?passing")).toEqual([]);
  expect(await dig(ports.dns, "socat-sidecar-proxy.service.consul", "SRV")).toEqual([]);
  expect(await dig(ports.dns, "socat.connect.consul", "SRV")).toEqual([]);
  // The service itself has no check of its own, and stays.
  expect(await dig(ports.dns, "socat.service.consul", "A")).toEqual(["127.0.0.1"]);

  const sidecar = place.start("connect", "proxy", "-sidecar-for", "socat");
  await sidecar.printed("Starting listener");
  await passing(place);
  await agent.printed(`agent: Check is now passing: check=${CHECK}`);
  expect(await check()).toMatchObject({ Status: "passing", Output: `TCP connect 127.0.0.1:${ports.sidecar}: Success` });
  expect(await dig(ports.dns, "socat.connect.consul", "SRV")).toEqual([
    expect.stringMatching(`^1 1 ${ports.sidecar} .*\\.node\\.dc1\\.consul\\.$`),
  ]);
});

test("heddle validate: a good directory, a bad one, a missing one, none", async () => {
  const place = await makePlace();
  place.write("00-data.hcl", 'data_dir = "/tmp/nowhere"\n');
  for (const flags of [[], ["-quiet"], ["--quiet"]])
    expect(await place.heddle("validate", ...flags, "mesh.d")).toEqual({
      status: 0,
      out: flags.length === 0 ? "Configuration is valid!\n" : "",
      err: "",
    });
  place.write("bad.json", { service: { name: "x", prot: 1 }, node_nam: "n" });
  place.write("worse.hcl", 'ports { http = "abc" }\n');
  const { status, out, err } = await place.heddle("validate", "mesh.d");
  expect({ status, out }).toEqual({ status: 1, out: "" });
  expect(err).toMatch(
    /^Config validation failed: .*mesh\.d\/bad\.json:4:5: unknown key 'prot' in service: did you mean 'port'\?$/m,
  );
  expect(err).toMatch(/mesh\.d\/bad\.json:6:3: unknown key 'node_nam': did you mean 'node_name'\?$/m);
  expect(err).toMatch(/mesh\.d\/worse\.hcl:1:9: ports\.http: invalid value "abc": want a port/);

  expect(await place.heddle("validate", "nowhere")).toMatchObject({
    status: 1,
    err: expect.stringMatching(/nowhere.*no such file/),
  });
  expect(await place.heddle("validate")).toMatchObject({
    status: 1,
    err: expect.stringContaining("Must specify at least one"),
  });
});

test("what validate says is what the agent says", async () => {
  const place = await makePlace();
  place.write("wrong.json", { services: [{ name: "x", prot: 7000 }] });
  const validated = await place.heddle("validate", "-quiet", "mesh.d");
  const started = await place.heddle("agent", "-dev", "-config-dir=mesh.d");
  expect([validated.status, started.status]).toEqual([1, 1]);
  const [said] = /mesh\.d\/wrong\.json:\d+:\d+: .*/.exec(started.err) ?? [];
  expect(said).toBeDefined();
  expect(validated.err).toContain(said);
});
