import { X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { startCa } from "./harness.ts";

const PATH = "/v1/connect/ca/configuration";
const DEFAULTS = { IntermediateCertTTL: "8760h", LeafCertTTL: "72h", RotationPeriod: "2160h" };

// Every answer here was given by Consul 1.8.7 to the same request.
const REFUSED: [string, unknown, number, string][] = [
  [
    "a leaf TTL below 1 h",
    { Config: { LeafCertTTL: "30m" } },
    500,
    "error configuring provider: leaf cert TTL must be greater or equal than 1h0m0s",
  ],
  [
    "a leaf TTL above a year",
    { Config: { LeafCertTTL: "9000h" } },
    500,
    "error configuring provider: leaf cert TTL must be less than 8760h0m0s",
  ],
  [
    "a TTL that is no duration",
    { Config: { LeafCertTTL: "soon" } },
    500,
    `error configuring provider: error decoding config: 1 error(s) decoding:\n\n* error decoding 'LeafCertTTL': time: invalid duration "soon"`,
  ],
  [
    "several TTLs that are none",
    { Config: { LeafCertTTL: [], IntermediateCertTTL: "x" } },
    500,
    `error configuring provider: error decoding config: 2 error(s) decoding:\n\n* 'LeafCertTTL' expected type 'time.Duration', got unconvertible type '[]interface {}'\n* error decoding 'IntermediateCertTTL': time: invalid duration "x"`,
  ],
  [
    "a rate that is no number",
    { Config: { CSRMaxPerSecond: "x" } },
    500,
    `error configuring provider: error decoding config: 1 error(s) decoding:\n\n* cannot parse 'CSRMaxPerSecond' as float: strconv.ParseFloat: parsing "x": invalid syntax`,
  ],
  [
    "an intermediate that leaves could outlive",
    { Config: { LeafCertTTL: "72h", IntermediateCertTTL: "100h" } },
    500,
    "error configuring provider: Intermediate Cert TTL must be greater or equal than 3 * LeafCertTTL (>=216h0m0s).",
  ],
  [
    "an intermediate below 3 h",
    { Config: { IntermediateCertTTL: "1h" } },
    500,
    "error configuring provider: Intermediate Cert TTL must be greater or equal than 3h",
  ],
  [
    "an unknown provider",
    { Provider: "magic", Config: {} },
    500,
    'could not initialize provider: unknown CA provider "magic"',
  ],
  [
    "no provider",
    { Provider: "", Config: { LeafCertTTL: "72h" } },
    500,
    'could not initialize provider: unknown CA provider ""',
  ],
  [
    "a weak key",
    { Config: { PrivateKeyType: "rsa", PrivateKeyBits: 1024 } },
    500,
    "error configuring provider: RSA key length must be 2048 or 4096 bits",
  ],
  [
    "an unknown key type",
    { Config: { PrivateKeyType: "dsa" } },
    500,
    "error configuring provider: private key type must be either 'ec' or 'rsa'",
  ],
  [
    "a root without its key",
    { Config: { RootCert: "x" } },
    500,
    "error configuring provider: must provide a private key when providing a root cert",
  ],
  [
    "a concurrency that is no number",
    { Config: { CSRMaxConcurrent: "x" } },
    500,
    `error configuring provider: error decoding config: 1 error(s) decoding:\n\n* cannot parse 'CSRMaxConcurrent' as int: strconv.ParseInt: parsing "x": invalid syntax`,
  ],
  [
    "a concurrency that is a list",
    { Config: { CSRMaxConcurrent: [1] } },
    500,
    "error configuring provider: error decoding config: 1 error(s) decoding:\n\n* 'CSRMaxConcurrent' expected type 'int', got unconvertible type '[]interface {}'",
  ],
  [
    "an EC key of another length",
    { Config: { PrivateKeyBits: 255 } },
    500,
    "error configuring provider: EC key length must be one of (224, 256, 384, 521) bits",
  ],
  [
    "a root and a key that are neither",
    { Config: { RootCert: "x", PrivateKey: "y" } },
    500,
    "error generating CA root certificate: error generating CA: error parsing private key: no PEM-encoded data found",
  ],
  ["an unknown field", { Bogus: 1 }, 400, 'Bad request: Request decode failed: json: unknown field "Bogus"'],
];

describe("the CA configuration", () => {
  it("begins with Consul's defaults", async () => {
    await using ca = await startCa({ csrMaxPerSecond: 50 });
    const answer = await ca.ask("GET", PATH);
    expect(answer.json()).toEqual({
      Provider: "consul",
      Config: { ...DEFAULTS, CSRMaxPerSecond: 50 },
      State: null,
      ForceWithoutCrossSigning: false,
      CreateIndex: expect.any(Number),
      ModifyIndex: expect.any(Number),
    });
  });

  it("is kept word for word, and holds for the next leaf", async () => {
    await using ca = await startCa();
    const Config = { LeafCertTTL: "1h", RotationPeriod: "100h", IntermediateCertTTL: "8760h", CSRMaxConcurrent: 3 };
    const put = await ca.ask("PUT", PATH, { Provider: "consul", Config });
    expect([put.status, put.text]).toEqual([200, ""]);
    expect((await ca.ask("GET", PATH)).json().Config).toEqual(Config);
    const { certPem } = (await ca.sign(await ca.requestFor("short"))).json();
    const { validFrom, validTo } = new X509Certificate(certPem);
    expect(Date.parse(validTo) - Date.parse(validFrom)).toBe(3_600_000);
  });

  it("may leave out what has a default, in Consul's ways", async () => {
    await using ca = await startCa();
    for (const Config of [
      {},
      undefined,
      { LeafCertTTL: 3_600_000_000_000 },
      { Bogus: 1 },
      { CSRMaxPerSecond: -1 },
      { CSRMaxConcurrent: 1.5, CSRMaxPerSecond: 0.5 },
      { CSRMaxConcurrent: true, PrivateKeyBits: "256" },
    ]) {
      expect((await ca.ask("PUT", PATH, { Provider: "consul", Config })).status).toBe(200);
      expect((await ca.ask("GET", PATH)).json().Config).toEqual(Config ?? null);
    }
  });

  it("takes shorter lives where validation is switched off, and their leaves are not over when they are made", async () => {
    await using ca = await startCa();
    const put = (Config: object) => ca.ask("PUT", PATH, { Provider: "consul", Config });
    expect((await put({ SkipValidate: true, LeafCertTTL: "60s" })).status).toBe(200);
    const { certPem } = (await ca.sign(await ca.requestFor("short"))).json();
    const { validFrom, validTo } = new X509Certificate(certPem);
    expect(Date.parse(validTo) - Date.parse(validFrom)).toBe(60_000);
    expect(Date.parse(validTo) - Date.now()).toBeGreaterThan(40_000);
    expect((await put({ SkipValidate: true, LeafCertTTL: "1s" })).text).toContain("greater or equal than 10s");
    expect((await put({ SkipValidate: true, PrivateKeyBits: 255 })).status).toBe(500);
  });

  it("refuses with Consul's words, and a refused change changes nothing", async () => {
    await using ca = await startCa();
    const before = (await ca.ask("GET", PATH)).text;
    for (const [name, body, status, text] of REFUSED) {
      const answer = await ca.ask("PUT", PATH, { Provider: "consul", ...(body as object) });
      expect([name, answer.status, answer.text]).toEqual([name, status, text]);
    }
    for (const body of ["{", "", "[]", '{"Provider":1}']) expect((await ca.ask("PUT", PATH, body)).status).toBe(400);
    expect((await ca.ask("POST", PATH, {})).headers.get("allow")).toBe("GET,OPTIONS,PUT");
    expect((await ca.ask("PUT", PATH, `"${"x".repeat(70_000)}"`)).status).toBe(413);
    expect((await ca.ask("GET", PATH)).text).toBe(before);
  });

  it("never shows a private key, not even one that it refuses", async () => {
    await using ca = await startCa();
    const PrivateKey = "-----BEGIN EC PRIVATE KEY-----\nsecret\n-----END EC PRIVATE KEY-----\n";
    const put = await ca.ask("PUT", PATH, { Provider: "consul", Config: { PrivateKey } });
    expect([put.status, put.text]).toEqual([
      500,
      expect.stringContaining("error parsing private key: it cannot be read"),
    ]);
    const everything = [
      await ca.ask("GET", PATH),
      await ca.ask("GET", "/v1/connect/ca/roots"),
      await ca.ask("GET", "/metrics"),
      await ca.ask("GET", "/readyz"),
    ];
    for (const { text } of everything) expect(text).not.toMatch(/PRIVATE KEY|secret/);
    expect(JSON.stringify(ca.logs)).not.toMatch(/PRIVATE KEY|secret/);
  });
});
