import { execFileSync } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { IdentityError } from "@heddle/spiffe";
import { afterAll, describe, expect, it } from "vitest";
import { dnsName, extKeyUsage, ipName, uriName } from "./extensions.ts";
import { createCsr, generateKey, parseCsr, publicKeyDer } from "./index.ts";
import { readPem, toPem } from "./pem.ts";
import { badRequests, forgeCsr } from "./testing.ts";

const WEB = "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web";
const dir = mkdtempSync(join(tmpdir(), "heddle-csr-"));
afterAll(() => rmSync(dir, { recursive: true }));

describe("a certificate request", () => {
  it.each([
    ["P-256", generateKey()],
    ["P-384", generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey],
    ["P-521", generateKeyPairSync("ec", { namedCurve: "P-521" }).privateKey],
    ["RSA 2048", generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey],
    ["Ed25519", generateKeyPairSync("ed25519").privateKey],
  ])("reads back as what was asked for, with a %s key", (_name, key) => {
    const facts = parseCsr(createCsr({ key, spiffeId: WEB }));
    expect(facts.spiffeId).toBe(WEB);
    expect(facts.id).toMatchObject({ kind: "service", service: "web" });
    expect(facts.spki.equals(publicKeyDer(key))).toBe(true);
  });

  it("is one that openssl verifies and reads", () => {
    const file = join(dir, "ours.csr");
    writeFileSync(file, createCsr({ key: generateKey(), spiffeId: WEB }));
    const text = execFileSync("openssl", ["req", "-in", file, "-verify", "-noout", "-text"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    expect(text).toContain(`URI:${WEB}`);
  });

  it.each([
    ["an EC key", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]],
    ["an RSA key", ["-newkey", "rsa:2048"]],
  ])("may come from openssl, with %s, a subject and other extensions", (_name, newKey) => {
    const file = join(dir, "theirs.csr");
    execFileSync(
      "openssl",
      [
        "req",
        "-new",
        ...newKey,
        "-nodes",
        "-keyout",
        join(dir, "key"),
        "-out",
        file,
        "-subj",
        "/O=x/CN=anything",
        "-addext",
        `subjectAltName=URI:${WEB},DNS:web,IP:10.0.0.1`,
        "-addext",
        "extendedKeyUsage=codeSigning",
      ],
      { stdio: "pipe" },
    );
    expect(parseCsr(execFileSync("cat", [file], { encoding: "utf8" })).spiffeId).toBe(WEB);
  });

  it("drops DNS names, IP addresses and wishes about usage", () => {
    const pem = forgeCsr(WEB, {
      names: [dnsName("*.consul"), uriName(WEB), ipName("10.0.0.1")],
      extensions: [extKeyUsage(["1.3.6.1.5.5.7.3.3"])],
    });
    expect(Object.keys(parseCsr(pem)).toSorted()).toEqual(["id", "publicKey", "spiffeId", "spki"]);
  });

  it.each(badRequests(WEB).map((r) => [r.name, r] as const))("is refused, saying so: %s", (_name, { pem, rule }) => {
    expect(() => parseCsr(pem)).toThrow(IdentityError);
    expect(() => parseCsr(pem)).toThrow(/^certificate request refused: /);
    expect(() => parseCsr(pem)).toThrow(rule);
  });

  it("survives any change of its bytes: refused with a reason, or the same identity", () => {
    const good = readPem(createCsr({ key: generateKey(), spiffeId: WEB }), "CERTIFICATE REQUEST", "x")[0] as Buffer;
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(4), (at, byte, cut) => {
        const bytes = Buffer.from(good);
        bytes[at] = byte;
        try {
          expect(parseCsr(toPem("CERTIFICATE REQUEST", bytes.subarray(0, bytes.length - cut))).spiffeId).toBe(WEB);
        } catch (error) {
          expect(error).toBeInstanceOf(IdentityError);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("survives random bytes", () => {
    for (let i = 0; i < 2_000; i++)
      expect(() => parseCsr(toPem("CERTIFICATE REQUEST", randomBytes(i % 300)))).toThrow(IdentityError);
  });
});
