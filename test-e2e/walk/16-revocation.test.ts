/** Beyond the walk: what is revoked is cut and refused by everybody, Consul's own proxy too, and forgotten by no restart. */
import { expect, test } from "vitest";
import { findConsul } from "../support/consul.ts";
import { comesTo, type Mesh, startMesh } from "../support/mesh.ts";
import { start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

interface Leaf {
  SerialNumber: string;
  CertPEM: string;
}

const leafOf = ({ api }: Mesh, service: string) => api<Leaf>(`/v1/agent/connect/ca/leaf/${service}`);

async function talk(port: number) {
  const caller = start("nc", ["localhost", String(port)]);
  caller.write("before\n");
  await caller.printed("before\n");
  return caller;
}

test("a certificate is revoked: what uses it is cut, and its service goes on with another", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const mesh = await startMesh();
  const { ok, ports } = mesh;
  const caller = await talk(ports.upstream);
  const { SerialNumber } = await leafOf(mesh, "web");
  expect(await ok("connect", "ca", "revoke", `-serial=${SerialNumber}`, "-reason=lost laptop")).toBe(
    `Revoked: certificate ${SerialNumber} of service web\n`,
  );
  await caller.exited;
  for (const proxy of [mesh.sidecar, mesh.web])
    await proxy.printed(`is revoked: certificate ${SerialNumber} was revoked at`);
  await comesTo(ports.upstream, "echo");
  expect((await leafOf(mesh, "web")).SerialNumber).not.toBe(SerialNumber);
  expect(await ok("connect", "ca", "revoked")).toMatch(new RegExp(`^web +${SerialNumber} .* lost laptop$`, "m"));

  const body = JSON.stringify({ Target: "socat", ClientCertURI: await uriOf(mesh), ClientCertSerial: SerialNumber });
  const asked = await fetch(`http://127.0.0.1:${ports.http}/v1/agent/connect/authorize`, { method: "POST", body });
  expect(await asked.json()).toEqual({
    Authorized: false,
    Reason: expect.stringMatching(/^Revoked: certificate .*: lost laptop$/) as string,
  });
}, 60_000);

test("a service is revoked until it is reinstated, and Consul's proxy refuses it too", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const consul = findConsul();
  const mesh = await startMesh();
  const { ok, heddle, ports } = mesh;
  const caller = await talk(ports.upstream);
  expect(await ok("connect", "ca", "revoke", "-service=web", "-reason=compromised")).toBe(
    "Revoked: every certificate of service web\n",
  );
  await caller.exited;
  await comesTo(ports.upstream, "refused");
  await mesh.web.printed("service 'web' was revoked at");
  const leaf = await fetch(`http://127.0.0.1:${ports.http}/v1/agent/connect/ca/leaf/web`);
  expect([leaf.status, await leaf.text()]).toEqual([
    403,
    expect.stringMatching(/service 'web' was revoked .*compromised/),
  ]);

  if (consul) {
    // The sidecar is Consul's now: it asks our agent about every caller.
    await mesh.sidecar.stop();
    const theirs = start(consul, ["connect", "proxy", "-sidecar-for=socat"], {
      env: { CONSUL_HTTP_ADDR: `127.0.0.1:${ports.http}` },
    });
    await theirs.printed("Proxy loaded config and ready to serve");
    const other = mesh.start("connect", "proxy", "-service", "api", "-upstream", `socat:${ports.other}`);
    await other.printed("Starting listener");
    await comesTo(ports.other, "echo");
    await comesTo(ports.upstream, "refused");
  }
  expect(await ok("connect", "ca", "reinstate", "-service=web")).toBe("Reinstated: service web\n");
  await comesTo(ports.upstream, "echo");
  expect(await heddle("connect", "ca", "reinstate", "-service=web")).toMatchObject({ status: 1 });
}, 60_000);

const uriOf = async (mesh: Mesh) =>
  (await mesh.api<{ ServiceURI: string }>("/v1/agent/connect/ca/leaf/web")).ServiceURI;
