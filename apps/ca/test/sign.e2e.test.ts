import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRegistry, RateLimitedError, silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { formatSpiffeId, serviceSpiffeId } from "@heddle/spiffe";
import { openStore } from "@heddle/store";
import { createCsr, generateKey } from "@heddle/tls";
import { badRequests, forgeCsr } from "@heddle/tls/testing";
import { afterAll, describe, expect, it } from "vitest";
import { createCa } from "../src/index.ts";
import { startCa, type TestCa } from "./harness.ts";

const dir = mkdtempSync(join(tmpdir(), "heddle-sign-"));
afterAll(() => rmSync(dir, { recursive: true }));

describe("a request for a service", () => {
  it("becomes a leaf that openssl's strict verifier accepts", async () => {
    await using ca = await startCa();
    const answer = await ca.sign(await ca.requestFor("web"));
    expect(answer.status).toBe(200);
    const leaf = answer.json();
    const { Roots, TrustDomain } = (await ca.ask("GET", "/v1/connect/ca/roots")).json();
    expect(leaf).toEqual({
      certPem: expect.stringMatching(/^-----BEGIN CERTIFICATE-----\n/),
      chainPem: [],
      rootId: Roots[0].ID,
      serial: expect.stringMatching(/^[0-9a-f]{2}(?::[0-9a-f]{2}){15}$/),
      notBefore: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      notAfter: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
    });
    expect(Date.parse(leaf.notAfter) - Date.parse(leaf.notBefore)).toBe(72 * 3_600_000);
    expect(new X509Certificate(leaf.certPem).subjectAltName).toBe(
      `URI:spiffe://${TrustDomain}/ns/default/dc/dc1/svc/web`,
    );
    writeFileSync(join(dir, "root.pem"), Roots[0].RootCert);
    writeFileSync(join(dir, "leaf.pem"), leaf.certPem);
    expect(
      execFileSync("openssl", ["verify", "-x509_strict", "-CAfile", join(dir, "root.pem"), join(dir, "leaf.pem")], {
        encoding: "utf8",
      }),
    ).toContain("OK");
  });

  it("is logged in one line: who was signed, for whom, until when", async () => {
    await using ca = await startCa();
    const csr = await ca.requestFor("web");
    ca.logs.length = 0;
    const leaf = (await ca.sign(csr)).json();
    expect(ca.logs).toHaveLength(1);
    expect(ca.logs[0]).toMatchObject({
      sentence: "signed a certificate",
      fields: {
        spiffe_id: expect.stringContaining("/svc/web") as string,
        caller: "127.0.0.1",
        serial: leaf.serial,
        not_after: leaf.notAfter,
      },
    });
  });
});

describe("a bad request", () => {
  it("is refused with its rule, whatever is wrong, and nothing is signed", async () => {
    await using ca = await startCa();
    const rows = badRequests(`spiffe://${await ca.trustDomain()}/ns/default/dc/dc1/svc/web`);
    expect(rows.length).toBeGreaterThanOrEqual(40);
    for (const { name, pem, rule } of rows) {
      ca.logs.length = 0;
      const answer = await ca.sign(pem);
      expect([name, answer.status]).toEqual([name, 400]);
      expect([name, answer.json()]).toEqual([
        name,
        { error: { code: "invalid_argument", message: expect.stringContaining(rule) } },
      ]);
      expect([name, ca.logs.length]).toEqual([name, 1]);
      expect(ca.logs[0]?.sentence).toBe("refused to sign a certificate");
    }
    expect((await ca.ask("GET", "/metrics")).text).toMatch(/^heddle_ca_certificates_signed_total\{daemon="ca"\} 0$/m);
    expect((await ca.sign(await ca.requestFor("web"))).status).toBe(200);
  });

  it.each<[string, (td: string) => string, string]>([
    ["another datacenter", (td) => `spiffe://${td}/ns/default/dc/dc2/svc/web`, "the datacenter is 'dc1', not 'dc2'"],
    ["another trust domain", () => "spiffe://other.consul/ns/default/dc/dc1/svc/web", "not 'other.consul'"],
    ["a sub-domain", (td) => `spiffe://x.${td}/ns/default/dc/dc1/svc/web`, "the trust domain is"],
    ["another namespace", (td) => `spiffe://${td}/ns/other/dc/dc1/svc/web`, "namespace 'default'"],
    ["a partition", (td) => `spiffe://${td}/ap/p1/ns/default/dc/dc1/svc/web`, "in no partition"],
    [
      "an agent",
      (td) => formatSpiffeId({ kind: "agent", trustDomain: td, datacenter: "dc1", node: "n1" }),
      "of kind agent",
    ],
    ["a server", (td) => formatSpiffeId({ kind: "server", trustDomain: td, datacenter: "dc1" }), "of kind server"],
    ["a gateway", (td) => formatSpiffeId({ kind: "gateway", trustDomain: td, datacenter: "dc1" }), "of kind gateway"],
    [
      "a daemon",
      (td) => formatSpiffeId({ kind: "daemon", trustDomain: td, datacenter: "dc1", role: "ca" }),
      "of kind daemon",
    ],
    ["the trust domain itself", (td) => `spiffe://${td}`, "of kind signing"],
  ])("for %s is not ours to sign: 403", async (_name, uri, reason) => {
    await using ca = await startCa();
    const answer = await ca.sign(forgeCsr(uri(await ca.trustDomain())));
    expect(answer.status).toBe(403);
    expect(answer.json()).toEqual({ error: { code: "permission_denied", message: expect.stringContaining(reason) } });
  });

  it.each<[string, (ca: TestCa) => Promise<{ status: number; text: string }>, number, string]>([
    ["no JSON", (ca) => ca.ask("POST", "/internal/v1/ca/sign", "{"), 400, "not valid JSON"],
    ["no request in it", (ca) => ca.ask("POST", "/internal/v1/ca/sign", {}), 400, "want a JSON object with 'csr'"],
    ["null", (ca) => ca.ask("POST", "/internal/v1/ca/sign", "null"), 400, "want a JSON object with 'csr'"],
    [
      "a number for a request",
      (ca) => ca.ask("POST", "/internal/v1/ca/sign", { csr: 1 }),
      400,
      "want a JSON object with 'csr'",
    ],
    ["GET", (ca) => ca.ask("GET", "/internal/v1/ca/sign"), 405, "want POST"],
    ["64 KiB", (ca) => ca.sign("x".repeat(65_536)), 413, "too large"],
  ])("with %s is answered in the internal API's form", async (_name, send, status, message) => {
    await using ca = await startCa();
    const answer = await send(ca);
    expect([answer.status, JSON.parse(answer.text)]).toEqual([
      status,
      { error: { code: expect.any(String), message: expect.stringContaining(message) } },
    ]);
  });
});

describe("the rate", () => {
  it("CA-04: of 1,000 requests of 20 agents at once, few are signed in the first second, and all within half a minute", async () => {
    const clock = new ManualClock(Date.now());
    const store = await openStore({ dataDir: "", name: "ca", log: silentLog });
    await using ca = await createCa({
      store,
      datacenter: "dc1",
      registry: createRegistry("ca"),
      clock,
      log: silentLog,
    });
    const { trustDomain } = ca.authority;
    const key = generateKey();
    const requestFor = (service: string) =>
      createCsr({ key, spiffeId: serviceSpiffeId({ trustDomain, datacenter: "dc1", service }) });
    let waiting = Array.from({ length: 1_000 }, (_, i) => ({ csr: requestFor(`s${i}`), agent: `agent ${i % 20}` }));
    const signedIn: number[] = []; // each half second
    while (waiting.length > 0) {
      // All at once, and then a few again and again: more than that would only be refused more often.
      const asking = signedIn.length === 0 ? waiting : waiting.slice(0, 50);
      const asked = asking.map(({ csr, agent }) => ca.issuer.sign(csr, agent).catch((error: unknown) => error));
      await new Promise(setImmediate); // whoever may wait for his turn does
      clock.advance(500);
      const answers = await Promise.all(asked);
      const refused = answers.filter((answer) => answer instanceof RateLimitedError);
      expect(answers.filter((answer) => answer instanceof Error)).toEqual(refused);
      signedIn.push(answers.length - refused.length);
      waiting = waiting.filter((_, i) => i >= asking.length || answers[i] instanceof Error);
    }
    expect((signedIn[0] ?? 0) + (signedIn[1] ?? 0)).toBeLessThanOrEqual(75);
    expect(signedIn.length).toBeLessThanOrEqual(2 * 30);
  }, 60_000);

  it("is told over HTTP, too, and who asks again is served", async () => {
    await using ca = await startCa({ csrMaxPerSecond: 1 });
    const csr = await ca.requestFor("web");
    await expect
      .poll(async () =>
        (await Promise.all(Array.from({ length: 5 }, () => ca.sign(csr)))).find(({ status }) => status === 429)?.json(),
      )
      .toEqual({
        error: { code: "rate_limited", message: expect.stringContaining("rate limited") },
      });
    await expect.poll(async () => (await ca.sign(csr)).status).toBe(200);
    // Refused for the rate before anybody looks whether it is a request at all.
    const withJunk = async () => (await Promise.all([csr, csr, csr, csr, "junk"].map((each) => ca.sign(each)))).at(-1);
    await expect.poll(async () => (await withJunk())?.status).toBe(429);
  });

  it("is none where it is 0", async () => {
    await using ca = await startCa();
    const csr = await ca.requestFor("web");
    const answers = await Promise.all(Array.from({ length: 150 }, () => ca.sign(csr)));
    expect(answers.every((a) => a.status === 200)).toBe(true);
    expect(new Set(answers.map((a) => a.json().serial)).size).toBe(150);
  });
});
