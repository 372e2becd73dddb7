import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  certificateKeyType,
  certificatesToDer,
  createRootCertificate,
  createSigner,
  crossSign,
  generateKey,
  generateSigningKey,
  issueLeaf,
  issuingOf,
  keyToPem,
  parseSigningKey,
  readCertificate,
  rehearseRotation,
  type Signer,
  type SigningKeyType,
} from "./index.ts";

const TD = "11111111-2222-3333-4444-555555555555.consul";
const WEB = `spiffe://${TD}/ns/default/dc/dc1/svc/web`;
const NOW = Date.now();
const DAY_MS = 86_400_000;
const TYPES: SigningKeyType[] = [
  { type: "ec", bits: 224 },
  { type: "ec", bits: 256 },
  { type: "ec", bits: 384 },
  { type: "ec", bits: 521 },
  { type: "rsa", bits: 2048 },
  { type: "rsa", bits: 4096 },
];
const PAIRS = TYPES.flatMap((from) =>
  TYPES.map((to) => [`${from.type} ${from.bits}`, `${to.type} ${to.bits}`, from, to]),
);

const dir = mkdtempSync(join(tmpdir(), "heddle-rotation-"));
afterAll(() => rmSync(dir, { recursive: true }));
const file = (name: string, text: string) => {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
};

const made = new Map<string, Promise<Signer>>();
/** One root of each type, and another of it where a type meets itself. */
function root({ type, bits }: SigningKeyType, which: "old" | "next"): Promise<Signer> {
  const name = `${type} ${bits} ${which}`;
  const make = async () => {
    const key = await generateSigningKey({ type, bits });
    return createSigner(await createRootCertificate({ trustDomain: TD, now: NOW, key }));
  };
  const known = made.get(name) ?? make();
  made.set(name, known);
  return known;
}

function opensslVerifies(root: string, leaf: string, intermediates: string): string {
  const untrusted = intermediates === "" ? [] : ["-untrusted", file("untrusted.pem", intermediates)];
  return execFileSync(
    "openssl",
    ["verify", "-x509_strict", "-CAfile", file("root.pem", root), ...untrusted, file("leaf.pem", leaf)],
    { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] },
  );
}

describe("a rotation", () => {
  it.each(PAIRS as [string, string, SigningKeyType, SigningKeyType][])(
    "from %s to %s leads whoever trusts either root to the new leaves",
    async (_from, _to, from, to) => {
      const old = await root(from, "old");
      const next = await root(to, "next");
      const crossPem = crossSign({ certPem: next.certPem, signer: old, validityMs: 7 * DAY_MS, now: NOW });
      const leaf = issueLeaf({ publicKey: generateKey(), spiffeId: WEB, signer: next, ttlMs: DAY_MS, now: NOW });
      expect(opensslVerifies(next.certPem, leaf.certPem, "")).toContain(": OK");
      expect(opensslVerifies(old.certPem, leaf.certPem, crossPem)).toContain(": OK");
      await rehearseRotation({ old: issuingOf(old), next: issuingOf(next, next.certPem, [crossPem]), now: NOW });
    },
  );

  it("has a cross-signed certificate that is the new root but for its issuer, for as long as was asked", async () => {
    const old = await root({ type: "ec", bits: 256 }, "old");
    const next = await root({ type: "rsa", bits: 2048 }, "next");
    const pem = crossSign({ certPem: next.certPem, signer: old, validityMs: 7 * DAY_MS, now: NOW });
    const [cross, self] = [pem, next.certPem].map((p) => readCertificate(certificatesToDer(p)[0] as Buffer));
    for (const key of ["subject", "spki", "subjectKeyId", "keyUsage", "ca", "altNames"] as const)
      expect(cross?.[key]).toEqual(self?.[key]);
    expect(cross?.issuer).toEqual(old.subject);
    expect((cross?.notAfter ?? 0) - (cross?.notBefore ?? 0)).toBe(7 * DAY_MS);
    expect(cross?.serial).not.toEqual(self?.serial);
  });

  it("is not begun where one of its proxies would be refused", async () => {
    const old = await root({ type: "ec", bits: 256 }, "old");
    const next = await root({ type: "ec", bits: 384 }, "next");
    const other = await root({ type: "ec", bits: 521 }, "next");
    const wrong = crossSign({ certPem: other.certPem, signer: old, validityMs: DAY_MS, now: NOW });
    await expect(
      rehearseRotation({ old: issuingOf(old), next: issuingOf(next, next.certPem, [wrong]), now: NOW }),
    ).rejects.toThrow(
      /the rehearsal failed: a proxy of the new root, called by one that knows only the old: no root or intermediate/,
    );
    const late = crossSign({ certPem: next.certPem, signer: old, validityMs: 1_000, now: NOW - DAY_MS });
    await expect(
      rehearseRotation({ old: issuingOf(old), next: issuingOf(next, next.certPem, [late]), now: NOW }),
    ).rejects.toThrow(/issuer expired/);
  });

  it("cannot be cross-signed by a root that has expired", async () => {
    const old = createSigner(
      await createRootCertificate({ trustDomain: TD, now: NOW - 9 * DAY_MS, validityMs: DAY_MS }),
    );
    const { certPem } = await root({ type: "ec", bits: 256 }, "next");
    expect(() => crossSign({ certPem, signer: old, validityMs: DAY_MS, now: NOW })).toThrow("the old root expired at");
  });
});

describe("a signing key", () => {
  it.each(TYPES)("of type $type and $bits bits is what its certificate says", async (type) => {
    expect(certificateKeyType((await root(type, "old")).certPem)).toEqual(type);
  });

  it.each([
    ["no PEM", "not a key", "no PEM-encoded data found"],
    ["a broken key", "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n", "cannot be read"],
    ["a public key", "-----BEGIN PUBLIC KEY-----\nc2VjcmV0\n-----END PUBLIC KEY-----\n", "cannot be read"],
  ])("is not %s, and the refusal does not repeat it", (_name, pem, why) => {
    expect(() => parseSigningKey(pem)).toThrow(why);
    expect(() => parseSigningKey(pem)).not.toThrow(/not a key|c2VjcmV0/);
  });

  it.each([
    { type: "ec" as const, bits: 255 },
    { type: "rsa" as const, bits: 1024 },
  ])("of type $type with $bits bits is not made", async (type) => {
    await expect(generateSigningKey(type)).rejects.toThrow("key length must be");
  });

  it("may be in any PEM form", () => {
    const key = generateKey();
    for (const pem of [keyToPem(key), key.export({ type: "pkcs8", format: "pem" })])
      expect(parseSigningKey(pem).equals(key)).toBe(true);
  });
});
