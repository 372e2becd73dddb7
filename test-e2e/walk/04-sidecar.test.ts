/** Step 4 of the walk: `heddle connect proxy -sidecar-for socat`. */
import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { definition, makePlace, passing, startAgent } from "../support/mesh.ts";
import { needs } from "../support/tools.ts";

test("it says what it is, loads its configuration from the agent, and listens on the sidecar's port", async (ctx) => {
  needs(ctx, "curl");
  const place = await startAgent(await makePlace());
  const { api, ports } = place;
  const sidecar = place.start("connect", "proxy", "-sidecar-for", "socat");
  await sidecar.printed(/Starting listener.*\n/);

  const { TrustDomain, Roots } = await api<{ TrustDomain: string; Roots: { Name: string; RootCert: string }[] }>(
    "/v1/connect/ca/roots",
  );
  const root = new X509Certificate(Roots[0]?.RootCert ?? "").subject.replace(/^CN=/, "");
  const line = (text: string) =>
    expect.stringMatching(`^    \\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}\\S+ \\[INFO\\]  ${text}$`);
  expect(sidecar.out.split("\n")).toEqual([
    "==> Heddle Connect proxy starting...",
    "    Configuration mode: Agent API",
    "        Sidecar for ID: socat",
    "              Proxy ID: socat-sidecar-proxy",
    "",
    "==> Log data will now stream in as it occurs:",
    "",
    line("proxy: Proxy loaded config and ready to serve"),
    line(
      `proxy: Parsed TLS identity: uri=spiffe://${TrustDomain}/ns/default/dc/dc1/svc/socat roots=\\[${root.replaceAll(".", "\\.")}\\]`,
    ),
    line(`proxy: Starting listener: listener="public listener" bind_addr=0\\.0\\.0\\.0:${ports.sidecar}`),
    "",
  ]);
  expect(sidecar.err).toBe("");
  await passing(place);
  expect(await sidecar.stop("SIGTERM")).toBe(0);
  expect(sidecar.out).toContain("==> Heddle Connect proxy shutdown\n");
});

test("-proxy-id and --sidecar-for; a service without a sidecar is an error that says so", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  place.write("alone.json", { service: { name: "alone", port: 1 } });
  place.write("z-second.json", definition("second", place.ports.other));
  const agent = await startAgent(place);
  const byId = agent.start("connect", "proxy", "-proxy-id=socat-sidecar-proxy");
  await byId.printed("Starting listener");
  expect(byId.out.split("\n").slice(0, 3)).toEqual([
    "==> Heddle Connect proxy starting...",
    "    Configuration mode: Agent API",
    "              Proxy ID: socat-sidecar-proxy",
  ]);
  const second = agent.start("connect", "proxy", "--sidecar-for", "second");
  await second.printed("Proxy ID: second-sidecar-proxy");
  await second.printed(/Starting listener: listener="public listener" bind_addr=0\.0\.0\.0:\d+/);

  const none = await agent.heddle("connect", "proxy", "-sidecar-for", "alone");
  expect(none).toMatchObject({ status: 1, err: expect.stringMatching(/no sidecar proxy registered .*alone/i) });
  const taken = agent.start("connect", "proxy", "-sidecar-for", "socat");
  await taken.printed(new RegExp(`${place.ports.sidecar}.*(?:in use|is taken)`));
  expect(await agent.heddle("connect", "proxy", "-no-such-flag")).toMatchObject({ status: 1 });
});
