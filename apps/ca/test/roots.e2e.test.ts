import { createHash, X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { startCa } from "./harness.ts";

const COLON_HEX = /^[0-9a-f]{2}(?::[0-9a-f]{2})+$/;
const colonHex = (hex: string) => hex.replace(/..(?=.)/g, "$&:");

describe("the roots", () => {
  it("are what Consul answers, field by field", async () => {
    await using ca = await startCa();
    const answer = await ca.ask("GET", "/v1/connect/ca/roots");
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(Number(answer.headers.get("x-consul-index"))).toBeGreaterThan(0);
    expect(answer.headers.get("x-consul-knownleader")).toBe("true");
    expect(answer.headers.get("x-consul-lastcontact")).toBe("0");
    const { ActiveRootID, TrustDomain, Roots } = answer.json();
    expect(Roots).toHaveLength(1);
    const [root] = Roots;
    expect(root).toEqual({
      ID: ActiveRootID,
      Name: "Consul CA Root Cert",
      SerialNumber: expect.any(Number),
      SigningKeyID: expect.stringMatching(COLON_HEX),
      ExternalTrustDomain: TrustDomain.replace(/\.consul$/, ""),
      NotBefore: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      NotAfter: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      RootCert: expect.stringMatching(/^-----BEGIN CERTIFICATE-----\n[\s\S]+\n-----END CERTIFICATE-----\n$/),
      IntermediateCerts: null,
      Active: true,
      PrivateKeyType: "ec",
      PrivateKeyBits: 256,
      CreateIndex: expect.any(Number),
      ModifyIndex: expect.any(Number),
    });
    const certificate = new X509Certificate(root.RootCert);
    expect(root.ID).toBe(colonHex(createHash("sha1").update(certificate.raw).digest("hex")));
    const spki = certificate.publicKey.export({ type: "spki", format: "der" });
    expect(root.SigningKeyID).toBe(colonHex(createHash("sha256").update(spki).digest("hex")));
    expect(BigInt(`0x${certificate.serialNumber.slice(-16)}`)).toBe(BigInt(root.SerialNumber));
    expect(new Date(certificate.validTo).getTime()).toBe(Date.parse(root.NotAfter));
    expect(certificate.subjectAltName).toBe(`URI:spiffe://${TrustDomain}`);
  });

  it("are PEM where PEM is asked for, and only then", async () => {
    await using ca = await startCa();
    const pem = await ca.ask("GET", "/v1/connect/ca/roots?pem=true");
    expect(pem.headers.get("content-type")).toBe("application/pem-certificate-chain");
    expect(pem.text).toBe((await ca.ask("GET", "/v1/connect/ca/roots?pem=false")).json().Roots[0].RootCert);
    const bad = await ca.ask("GET", "/v1/connect/ca/roots?pem=x");
    expect([bad.status, bad.text]).toEqual([400, "Bad request: The 'pem' query parameter must be a boolean value"]);
  });

  it("can be waited on, for as long as asked", async () => {
    await using ca = await startCa();
    const index = (await ca.ask("GET", "/v1/connect/ca/roots")).headers.get("x-consul-index");
    const startedAt = performance.now();
    const answer = await ca.ask("GET", `/v1/connect/ca/roots?index=${index}&wait=200ms`);
    const took = performance.now() - startedAt;
    expect(took).toBeGreaterThan(190);
    expect(took).toBeLessThan(2_000);
    expect(answer.headers.get("x-consul-index")).toBe(index);
    expect((await ca.ask("GET", "/v1/connect/ca/roots?index=1&wait=10s")).status).toBe(200);
  });

  it.each([
    ["GET", "/v1/connect/ca/roots?index=x", 400, "Invalid index"],
    ["GET", "/v1/connect/ca/roots?wait=1x", 400, "Invalid wait time"],
    ["GET", "/v1/connect/ca/roots?dc=zz", 500, "No path to datacenter"],
    ["PUT", "/v1/connect/ca/roots", 405, "method PUT not allowed"],
    ["GET", "/v1/connect/ca/bogus", 404, ""],
  ])("%s %s is answered as Consul answers it", async (method, path, status, text) => {
    await using ca = await startCa();
    const answer = await ca.ask(method, path);
    expect([answer.status, answer.text]).toEqual([status, text]);
  });

  it("answers those who wait when the daemon closes", async () => {
    const ca = await startCa();
    const index = (await ca.ask("GET", "/v1/connect/ca/roots")).headers.get("x-consul-index");
    const waiting = ca.ask("GET", `/v1/connect/ca/roots?index=${index}&wait=10m`).catch(() => "cut");
    await expect.poll(() => fetch(`${ca.url}/healthz`).then((r) => r.status)).toBe(200);
    await ca.close();
    expect(await waiting).toMatchObject({ status: 200 });
  });
});

describe("the operator's routes", () => {
  it("tell health, readiness and metrics", async () => {
    await using ca = await startCa();
    expect((await ca.ask("GET", "/healthz")).status).toBe(200);
    const ready = await ca.ask("GET", "/readyz");
    expect([ready.status, ready.json().root.details]).toEqual([
      200,
      expect.stringMatching(/^root [0-9a-f:]+ expires in 8759[89]h0m0s$/),
    ]);
    await ca.sign(await ca.requestFor("web"));
    await ca.sign("nonsense");
    const { text } = await ca.ask("GET", "/metrics");
    expect(text).toMatch(/^heddle_ca_certificates_signed_total\{daemon="ca"\} 1$/m);
    expect(text).toMatch(/^heddle_ca_requests_refused_total\{code="invalid_argument",daemon="ca"\} 1$/m);
    expect(text).toMatch(/^heddle_ca_root_not_after_seconds\{daemon="ca"\} \d{10}$/m);
  });
});
