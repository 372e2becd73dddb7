/** Step 6 of the walk: `nc localhost 9191` echoes, and nobody on the way can read it. */
import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { capture, tlsRecords } from "../support/capture.ts";
import { netcat, startMesh } from "../support/mesh.ts";
import { openssl } from "../support/network.ts";
import { run, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

const MARKER = "hello, this is greetings from proxy from port 9191";
const HANDSHAKE = 22;
const APPLICATION_DATA = 23;

test("nc's line comes back, and socat's own log shows its bytes", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const { ports, socat, sidecar, web } = await startMesh();
  expect(await netcat(ports.upstream, MARKER)).toBe(`${MARKER}\n`);
  await socat.printed(new RegExp(`> .* length=51 from=0 to=50\n${MARKER}\n`));
  await socat.printed(new RegExp(`< .* length=51 from=0 to=50\n${MARKER}\n`));
  for (const [proxy, direction] of [
    [sidecar, "inbound"],
    [web, "outbound"],
  ] as const)
    await proxy.printed(
      new RegExp(
        `proxy\\.access: connection closed: source=web destination=socat direction=${direction} .*decision=allowed .*bytes_in=51 bytes_out=51 `,
      ),
    );
});

test("half-close: all of a long input comes back after nc has ended its side", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const { ports } = await startMesh();
  const text = Array.from({ length: 40_000 }, (_, i) => `line ${i}\n`).join("");
  const { status, out } = await run("nc", ["-N", "localhost", String(ports.upstream)], { stdin: text });
  expect(status).toBe(0);
  expect(out.length).toBe(text.length);
  expect(out === text).toBe(true);
});

test("a capture shows TLS records alone on the sidecar's port, and the marker only behind the sidecar", async (ctx) => {
  needs(ctx, "socat", "nc", "curl", "tcpdump");
  const { ports, dir, sidecar, web } = await startMesh();
  const captured = await capture(ctx, dir, [ports.sidecar, ports.echo]);
  expect(await netcat(ports.upstream, MARKER)).toBe(`${MARKER}\n`);
  await Promise.all([sidecar, web].map((proxy) => proxy.printed("connection closed")));
  // Whatever holds the proxies' connection open ends with them.
  await Promise.all([web.stop(), sidecar.stop()]);
  const streams = await captured.streams();

  // In the clear behind the sidecar: the capture sees what there is to see.
  const plain = streams.filter((s) => s.from === ports.echo || s.to === ports.echo);
  expect(plain.filter((s) => s.bytes.includes(MARKER))).toHaveLength(2);
  const meshed = streams.filter((s) => s.from === ports.sidecar || s.to === ports.sidecar);
  expect(meshed.length).toBeGreaterThanOrEqual(2);
  for (const { bytes } of meshed) {
    const types = tlsRecords(bytes);
    expect(types[0]).toBe(HANDSHAKE);
    expect(types).toContain(APPLICATION_DATA);
    for (const secret of [MARKER, "greetings", "CONNECT", "spiffe"]) expect(bytes.includes(secret), secret).toBe(false);
  }
});

test("the listener's certificate names the service in one URI, and nothing else", async (ctx) => {
  needs(ctx, "socat", "curl", "openssl");
  const { ports, api } = await startMesh();
  const { TrustDomain, Roots } = await api<{ TrustDomain: string; Roots: { RootCert: string }[] }>(
    "/v1/connect/ca/roots",
  );
  const { out } = await openssl(ports.sidecar);
  const [pem = ""] = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(out) ?? [];
  const text = await run(
    "openssl",
    ["x509", "-noout", "-ext", "subjectAltName,basicConstraints,keyUsage,extendedKeyUsage"],
    { stdin: pem },
  );
  expect(text.out.split("\n").map((line) => line.trim())).toEqual(
    expect.arrayContaining([`URI:spiffe://${TrustDomain}/ns/default/dc/dc1/svc/socat`, "CA:FALSE"]),
  );
  const certificate = new X509Certificate(pem);
  expect(certificate.subjectAltName).toBe(`URI:spiffe://${TrustDomain}/ns/default/dc/dc1/svc/socat`);
  expect(certificate.verify(new X509Certificate(Roots[0]?.RootCert ?? "").publicKey)).toBe(true);
  expect(Date.parse(certificate.validTo) - Date.now()).toBeLessThan(72 * 3_600_000 + 1_000);
  expect(out).toMatch(/TLSv1\.3/);
});

test("a second connection goes on while the first is open, and a reset of the service reaches the client", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const { ports, socat } = await startMesh();
  const first = start("nc", ["localhost", String(ports.upstream)]);
  first.write("first\n");
  await first.printed("first\n");
  expect(await netcat(ports.upstream, "second")).toBe("second\n");
  first.write("still\n");
  await first.printed("still\n");
  first.end();
  await first.stop();
  await socat.stop();
  expect(await netcat(ports.upstream, "nobody there")).toBe("");
});
