/** Step 6 of the walk, the other half: who has no right certificate gets nothing, and the log says why. */
import { badClientCertificates, createTestMesh, forgeLeaf } from "@heddle/tls/testing";
import { expect, test, type TestContext } from "vitest";
import { comesTo, type Mesh, netcat, startMesh } from "../support/mesh.ts";
import { type Identity, openssl, openTls } from "../support/network.ts";
import { run } from "../support/process.ts";
import { readRealCa } from "../support/real-ca.ts";
import { needs } from "../support/tools.ts";

const SECRET = "not for the service";

/** A server with a disk, so that its CA can be borrowed. */
async function startMeshWithCa(ctx: TestContext) {
  if (process.env.HEDDLE_TEST_ETCD) ctx.skip("in etcd the CA's key is sealed: no test can borrow it");
  const mesh = await startMesh({ flags: ["-server", "-bootstrap-expect=1", "-bind=127.0.0.1", "-data-dir=../data"] });
  return { mesh, ca: await readRealCa(`${mesh.dir}/data`, mesh.dir) };
}

/** Offers a certificate to socat's listener, and returns the reason that the sidecar's log gives. */
async function refusal({ sidecar, ports }: Mesh, identity?: Identity): Promise<string> {
  const from = sidecar.text.length;
  await openssl(ports.sidecar, { text: `${SECRET}\n`, ...(identity && { identity }) });
  const [line] = await sidecar.printed(/connection refused: .*\n/, { from });
  return /reason=(?:"((?:[^"\\]|\\.)*)"|(\S+))/.exec(line)?.slice(1).find(Boolean) ?? "";
}

test("a valid certificate opens the door: what is refused below is refused for its fault alone", async (ctx) => {
  needs(ctx, "socat", "nc", "curl", "openssl");
  const { mesh, ca } = await startMeshWithCa(ctx);
  const client = await openTls(mesh.ports.sidecar, ca.identity("web"));
  client.write("hello from openssl\n");
  await client.printed("hello from openssl\n");
  await mesh.socat.printed("hello from openssl\n");
  await client.stop();
  await mesh.sidecar.printed(/connection closed: source=web destination=socat .*decision=allowed/);
});

test("no certificate, another CA's, an expired one: refused, with an alert and a reason", async (ctx) => {
  needs(ctx, "socat", "nc", "curl", "openssl");
  const { mesh, ca } = await startMeshWithCa(ctx);
  const alert = await openssl(mesh.ports.sidecar, { text: `${SECRET}\n` });
  expect(alert).toMatchObject({ status: 1, err: expect.stringContaining("alert certificate required") });
  expect(await refusal(mesh)).toBe("peer did not return a certificate");
  const stranger = await createTestMesh({ trustDomain: ca.trustDomain });
  expect(await refusal(mesh, stranger.identity("web"))).toMatch(/^its certificate was refused: .*/);
  const expired = forgeLeaf(ca, { notBefore: Date.now() - 7_200_000, notAfter: Date.now() - 1_000 });
  expect(await refusal(mesh, expired)).toMatch(/expired/i);
  expect(mesh.socat.text).not.toContain(SECRET);
  await comesTo(mesh.ports.upstream, "echo");
});

test("every row of the checklist of bad certificates is refused, and no byte reaches the service", async (ctx) => {
  needs(ctx, "socat", "nc", "curl", "openssl");
  const { mesh, ca } = await startMeshWithCa(ctx);
  const cases = await badClientCertificates(ca);
  expect(cases.length).toBeGreaterThan(30);
  for (const { name, identity } of cases) expect(await refusal(mesh, identity), name).not.toBe("");
  expect(mesh.socat.text).not.toContain(SECRET);
  expect(mesh.sidecar.text).not.toContain("decision=allowed");
  await comesTo(mesh.ports.upstream, "echo");
}, 60_000);

test("plain text on the sidecar's port is refused", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const { ports, sidecar, socat } = await startMesh();
  const { out } = await run("nc", ["-N", "localhost", String(ports.sidecar)], { stdin: `${SECRET}\n` });
  expect(out).not.toContain(SECRET);
  await sidecar.printed("connection refused");
  expect(socat.text).not.toContain(SECRET);
});

test("an upstream that turns out to be another service gets no byte", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const mesh = await startMesh();
  const { ports, api, socat } = mesh;
  // The catalog says that socat's sidecar is the proxy of `cache`.
  const lie = {
    Node: "elsewhere",
    Address: "127.0.0.1",
    Service: {
      ...{ Kind: "connect-proxy", ID: "cache-proxy", Service: "cache-proxy", Port: ports.sidecar },
      Proxy: { DestinationServiceName: "cache" },
    },
  };
  const registered = await run("curl", [
    ...["-sS", "-X", "PUT", "-d", JSON.stringify(lie)],
    `http://127.0.0.1:${ports.http}/v1/catalog/register`,
  ]);
  expect(registered.out).toBe("true");
  const { TrustDomain } = await api<{ TrustDomain: string }>("/v1/connect/ca/roots");
  const web = mesh.start("connect", "proxy", "-service", "web", "-upstream", `cache:${ports.other}`);
  await web.printed("Starting listener");
  expect(await netcat(ports.other, SECRET)).toBe("");
  const id = (service: string) => `spiffe://${TrustDomain}/ns/default/dc/dc1/svc/${service}`;
  await web.printed(`expected '${id("cache")}', but '${id("socat")}' was presented`);
  expect(socat.text).not.toContain(SECRET);
});
