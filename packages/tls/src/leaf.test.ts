import { execFileSync } from "node:child_process";
import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pkijs from "pkijs";
import { IdentityError } from "@heddle/spiffe";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KEY_USAGE, OID } from "./extensions.ts";
import {
  certificateId,
  certificatesToDer,
  CLOCK_SKEW_MS,
  HOST_SKEW_MS,
  colonHex,
  createRootCertificate,
  createSigner,
  generateKey,
  issueLeaf,
  keyId,
  keyToPem,
  publicKeyDer,
  readCertificate,
  write0600,
  type KeyAndCertificate,
  type Signer,
} from "./index.ts";

const TD = "11111111-2222-3333-4444-555555555555.consul";
const WEB = `spiffe://${TD}/ns/default/dc/dc1/svc/web`;
const TTL_MS = 72 * 3_600_000;
const NOW = Date.now();

const dir = mkdtempSync(join(tmpdir(), "heddle-leaf-"));
afterAll(() => rmSync(dir, { recursive: true }));
const file = (name: string, text: string) => {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
};
const openssl = (...args: string[]) =>
  execFileSync("openssl", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

let root: KeyAndCertificate;
let signer: Signer;
beforeAll(async () => {
  root = await createRootCertificate({ trustDomain: TD, now: NOW });
  signer = createSigner(root);
});
const facts = (pem: string) => readCertificate(certificatesToDer(pem)[0] as Buffer);
const issue = (more: Partial<Parameters<typeof issueLeaf>[0]> = {}) =>
  issueLeaf({ publicKey: generateKey(), spiffeId: WEB, signer, ttlMs: TTL_MS, now: NOW, ...more });

describe("a root", () => {
  it("is what Consul's is: names, usages, ids, ten years", () => {
    const text = openssl("x509", "-in", file("root.pem", root.certPem), "-noout", "-text");
    expect(text).toMatch(/Subject: CN = pri-[a-z0-9]{7}\.consul\.ca\.11111111\.consul/);
    expect(text).toMatch(/Key Usage: critical\s+Digital Signature, Certificate Sign, CRL Sign\s/);
    expect(text).toMatch(/Basic Constraints: critical\s+CA:TRUE\s/);
    expect(text).toMatch(/Subject Alternative Name: \s+URI:spiffe:\/\/11111111-2222-3333-4444-555555555555\.consul\s/);
    const { notBefore, notAfter, spki, subjectKeyId } = facts(root.certPem);
    expect(notAfter - notBefore).toBe(87_600 * 3_600_000);
    expect(subjectKeyId?.equals(keyId(spki))).toBe(true);
    expect(root.keyPem).toMatch(/^-----BEGIN EC PRIVATE KEY-----\n/);
    expect(certificateId(certificatesToDer(root.certPem)[0] as Buffer)).toBe(
      new X509Certificate(root.certPem).fingerprint.toLowerCase(),
    );
  });

  it("is accepted by openssl's strict verifier", () => {
    const path = file("root.pem", root.certPem);
    expect(openssl("verify", "-x509_strict", "-check_ss_sig", "-CAfile", path, path)).toContain("OK");
  });

  it("has a serial whose low 64 bits are exact in every JSON reader", async () => {
    for (let i = 0; i < 50; i++) {
      const { serial } = facts((await createRootCertificate({ trustDomain: TD, now: NOW })).certPem);
      expect(serial.length).toBe(16);
      expect(serial.readBigUInt64BE(8)).toBeLessThanOrEqual(BigInt(Number.MAX_SAFE_INTEGER));
    }
  });
});

describe("a leaf", () => {
  it("holds what the checklist says, 1,000 times over", () => {
    const serials = new Set<string>();
    for (let i = 0; i < 1_000; i++) {
      const leaf = issue();
      const { ca, keyUsage, extKeyUsage, altNames, notBefore, notAfter, issuer, serial, spki, subjectKeyId } = facts(
        leaf.certPem,
      );
      expect(ca).toBe(false);
      expect(keyUsage).toBe(KEY_USAGE.digitalSignature | KEY_USAGE.keyEncipherment | KEY_USAGE.keyAgreement);
      expect(extKeyUsage).toEqual([OID.clientAuth, OID.serverAuth]);
      expect(altNames).toEqual({ uris: [WEB], dns: [], ips: [], others: [] });
      expect(notBefore).toBe(Math.floor((NOW - CLOCK_SKEW_MS) / 1000) * 1000);
      expect(notAfter - notBefore).toBe(TTL_MS);
      expect(notAfter).toBeLessThanOrEqual(signer.notAfter);
      expect(issuer.equals(signer.subject)).toBe(true);
      expect(serial.length).toBeGreaterThanOrEqual(8);
      expect(colonHex(serial)).toBe(leaf.serial);
      expect(subjectKeyId?.equals(keyId(spki))).toBe(true);
      serials.add(leaf.serial);
    }
    expect(serials.size).toBe(1_000);
  });

  it("passes openssl's strict verifier for both ends, and says what Consul's says", () => {
    const path = file("leaf.pem", issue().certPem);
    for (const purpose of ["sslclient", "sslserver"])
      expect(
        openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", file("root.pem", root.certPem), path),
      ).toContain("OK");
    const text = openssl("x509", "-in", path, "-noout", "-text");
    expect(text).toContain("Subject: CN = web.svc.default.11111111.consul");
    expect(text).toMatch(/Key Usage: critical\s+Digital Signature, Key Encipherment, Key Agreement\s/);
    expect(text).toMatch(/Extended Key Usage: \s+TLS Web Client Authentication, TLS Web Server Authentication\s/);
    expect(text).toMatch(/Basic Constraints: critical\s+CA:FALSE\s/);
    expect(text).toContain(`Authority Key Identifier: \n                ${colonHex(signer.keyId).toUpperCase()}`);
  });

  it("is read and verified by pkijs, an implementation of its own", async () => {
    const read = (pem: string) => pkijs.Certificate.fromBER(new Uint8Array(certificatesToDer(pem)[0] as Buffer).buffer);
    const engine = new pkijs.CertificateChainValidationEngine({
      certs: [read(issue().certPem)],
      trustedCerts: [read(root.certPem)],
    });
    expect(await engine.verify()).toMatchObject({ result: true });
  });

  it("can be signed by any key type that a root may have", async () => {
    const pairs = [
      generateKeyPairSync("ec", { namedCurve: "P-384" }),
      generateKeyPairSync("ec", { namedCurve: "P-521" }),
      generateKeyPairSync("rsa", { modulusLength: 2048 }),
    ];
    for (const { privateKey } of pairs) {
      const own = await createRootCertificate({ trustDomain: TD, now: NOW, key: privateKey });
      const leaf = issue({ signer: createSigner(own) });
      expect(
        openssl("verify", "-x509_strict", "-CAfile", file("own.pem", own.certPem), file("leaf.pem", leaf.certPem)),
      ).toContain("OK");
    }
  });

  it.each([
    ["some.odd_Name", "someoddname.svc.default.11111111.consul"],
    ["my-web_x", "mywebx.svc.default.11111111.consul"],
    [
      "averyveryveryverylongservicenameindeedlonger",
      "averyveryveryverylongservicenameinde.svc.default.11111111.consul",
    ],
    ["WEB", "web.svc.default.11111111.consul"],
  ])("for %s has the common name that Consul gives it", (service, commonName) => {
    const { certPem } = issue({ spiffeId: WEB.replace("web", service) });
    expect(new X509Certificate(certPem).subject).toBe(`CN=${commonName}`);
  });

  it("never outlives its signer", async () => {
    const brief = createSigner(await createRootCertificate({ trustDomain: TD, now: NOW, validityMs: 3_600_000 }));
    const leaf = issue({ signer: brief });
    expect(leaf.notAfter).toBe(brief.notAfter);
    expect(facts(leaf.certPem).notAfter).toBe(brief.notAfter);
  });

  it("is not signed outside its signer's life", () => {
    expect(() => issue({ now: signer.notAfter })).toThrow("expired");
    expect(() => issue({ now: signer.notBefore - 1 })).toThrow("begins at");
  });

  it.each([
    ["another trust domain", WEB.replace(TD, "other.consul"), "trust domain"],
    ["a bare trust domain", `spiffe://${TD}`, "with a path"],
    ["no SPIFFE ID", "web", "does not begin"],
  ])("is not signed for %s", (_name, spiffeId, reason) => {
    expect(() => issue({ spiffeId })).toThrow(IdentityError);
    expect(() => issue({ spiffeId })).toThrow(reason);
  });

  it("is dated past 2049 as RFC 5280 asks", async () => {
    const late = Date.UTC(2055, 5, 1);
    const lateRoot = await createRootCertificate({ trustDomain: TD, now: late });
    const leaf = issue({ signer: createSigner(lateRoot), now: late });
    expect(new X509Certificate(leaf.certPem).validTo).toContain("2055");
    expect(facts(lateRoot.certPem).notAfter).toBe(Math.floor((late - HOST_SKEW_MS) / 1000) * 1000 + 87_600 * 3_600_000);
  });
});

describe("a signer", () => {
  it.each<[string, () => { certPem: string; keyPem: string }, string]>([
    ["a leaf", () => ({ certPem: issue().certPem, keyPem: root.keyPem }), "not a CA's"],
    ["somebody else's key", () => ({ ...root, keyPem: keyToPem(generateKey()) }), "does not belong"],
    ["text that is no key", () => ({ ...root, keyPem: "not a key" }), "cannot be read"],
    ["text that is no certificate", () => ({ ...root, certPem: "x" }), "PEM blocks"],
    ["two certificates", () => ({ ...root, certPem: root.certPem + root.certPem }), "exactly one"],
  ])("cannot be made of %s", (_name, pair, reason) => {
    expect(() => createSigner(pair())).toThrow(IdentityError);
    expect(() => createSigner(pair())).toThrow(reason);
  });
});

describe("keys", () => {
  it("have the label, the id and the mode that they should", () => {
    const key = generateKey();
    expect(keyToPem(key)).toMatch(/^-----BEGIN EC PRIVATE KEY-----\n[\s\S]*\n-----END EC PRIVATE KEY-----\n$/);
    const path = file("key.pem", "old and readable");
    write0600(path, keyToPem(key));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(createPrivateKey(openssl("ec", "-in", path)).equals(key)).toBe(true);
  });

  it("are written as OpenSSL writes them, numbers with leading zeros too", () => {
    for (let i = 0; i < 600; i++) {
      const key = generateKey();
      const spki = createPublicKey(key).export({ type: "spki", format: "der" });
      expect(publicKeyDer(key).equals(spki)).toBe(true);
      expect(publicKeyDer(createPublicKey(key)).equals(spki)).toBe(true);
      expect(keyToPem(key)).toBe(key.export({ type: "sec1", format: "pem" }));
    }
  });
});
