import { execFileSync } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRootCertificate, generateKey, generateSigningKey, keyToPem } from "@heddle/tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startCa, type TestCa } from "./harness.ts";

const CONFIG = "/v1/connect/ca/configuration";
const ROOTS = "/v1/connect/ca/roots";
const HOUR_MS = 3_600_000;

interface Root {
  ID: string;
  Active: boolean;
  RootCert: string;
  IntermediateCerts: string[] | null;
  PrivateKeyType: string;
  PrivateKeyBits: number;
  SigningKeyID: string;
}

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "heddle-ca-rotation-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const file = (name: string, text: string): string => {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
};

const configure = (ca: TestCa, Config: object, more: object = {}) =>
  ca.ask("PUT", CONFIG, { Provider: "consul", Config, ...more });

async function rotate(ca: TestCa, Config: object): Promise<void> {
  const { status, text } = await configure(ca, Config);
  expect([status, text]).toEqual([200, ""]);
}

async function roots(ca: TestCa): Promise<{ active: Root; old: Root[]; all: Root[] }> {
  const { ActiveRootID, Roots } = (await ca.ask("GET", ROOTS)).json() as { ActiveRootID: string; Roots: Root[] };
  const active = Roots.filter((root) => root.Active);
  expect(active.map((root) => root.ID)).toEqual([ActiveRootID]);
  return { active: active[0] as Root, old: Roots.filter((root) => !root.Active), all: Roots };
}

/** A leaf, and openssl's word that it leads to each of these roots. */
async function expectTrustedBy(ca: TestCa, trusting: Root[]): Promise<void> {
  const { certPem, chainPem } = (await ca.sign(await ca.requestFor("web"))).json() as {
    certPem: string;
    chainPem: string[];
  };
  const chain = chainPem.length > 0 ? ["-untrusted", file("chain.pem", chainPem.join(""))] : [];
  for (const root of trusting) {
    const args = ["verify", "-x509_strict", "-CAfile", file("root.pem", root.RootCert), ...chain];
    expect(execFileSync("openssl", [...args, file("leaf.pem", certPem)], { encoding: "utf8" })).toContain(": OK");
  }
}

/** A root of its own, as an operator has made it. */
async function offeredRoot(trustDomain: string, key = generateKey()) {
  const { certPem, keyPem } = await createRootCertificate({ trustDomain, key, now: Date.now(), commonName: "our own" });
  return { RootCert: certPem, PrivateKey: keyPem };
}

describe("another type of key", () => {
  it("rotates from EC to RSA and back: whoever trusts the root before follows, by openssl too", async () => {
    await using ca = await startCa();
    const first = (await roots(ca)).active;
    await rotate(ca, { PrivateKeyType: "rsa", PrivateKeyBits: 2048 });
    const second = await roots(ca);
    expect(second.active).toMatchObject({ PrivateKeyType: "rsa", PrivateKeyBits: 2048 });
    expect(second.old.map((root) => root.ID)).toEqual([first.ID]);
    expect(second.old[0]).toMatchObject({ IntermediateCerts: null, PrivateKeyType: "ec", PrivateKeyBits: 256 });
    await expectTrustedBy(ca, [first, second.active]);

    await rotate(ca, { PrivateKeyType: "ec", PrivateKeyBits: 384 });
    const third = await roots(ca);
    expect(third.active).toMatchObject({ PrivateKeyType: "ec", PrivateKeyBits: 384 });
    expect(third.old).toHaveLength(2);
    await expectTrustedBy(ca, [second.active, third.active]);

    const [cross, ...others] = (third.active.IntermediateCerts ?? []).map((pem) => new X509Certificate(pem));
    expect(others).toEqual([]);
    expect(cross?.checkIssued(new X509Certificate(second.active.RootCert))).toBe(true);
    expect(cross?.subject).toBe(new X509Certificate(third.active.RootCert).subject);
    const lifeMs = Date.parse(cross?.validTo ?? "") - Date.parse(cross?.validFrom ?? "");
    expect(lifeMs).toBe(7 * 24 * HOUR_MS);
  });

  it("that is left out is the default, as in Consul; where it never was another, nothing changes", async () => {
    await using ca = await startCa();
    const first = (await roots(ca)).active;
    await rotate(ca, { LeafCertTTL: "5h" });
    await rotate(ca, { PrivateKeyBits: 256 });
    expect((await roots(ca)).all).toHaveLength(1);
    await rotate(ca, { PrivateKeyBits: 521 });
    await rotate(ca, { PrivateKeyBits: "521", LeafCertTTL: "2h" });
    expect((await roots(ca)).all).toHaveLength(2);
    await rotate(ca, { LeafCertTTL: "2h" });
    const { active, all } = await roots(ca);
    expect(all).toHaveLength(3);
    expect(active).toMatchObject({ PrivateKeyType: "ec", PrivateKeyBits: 256 });
    expect(active.ID).not.toBe(first.ID);
  });

  it("is refused with Consul's words, and the root stays", async () => {
    await using ca = await startCa();
    const before = (await ca.ask("GET", ROOTS)).text;
    for (const Config of [{ PrivateKeyType: "rsa" }, { PrivateKeyType: "rsa", PrivateKeyBits: 3072 }])
      expect((await configure(ca, Config)).text).toBe(
        "error configuring provider: RSA key length must be 2048 or 4096 bits",
      );
    expect((await ca.ask("GET", ROOTS)).text).toBe(before);
  });
});

describe("an offered key", () => {
  it("signs a root made here; offered again it changes nothing, and no answer shows it", async () => {
    await using ca = await startCa();
    const key = await generateSigningKey({ type: "ec", bits: 384 });
    const PrivateKey = keyToPem(key);
    await rotate(ca, { LeafCertTTL: "72h", PrivateKey });
    const { active, old } = await roots(ca);
    expect(active).toMatchObject({ PrivateKeyType: "ec", PrivateKeyBits: 384 });
    await expectTrustedBy(ca, [...old, active]);
    await rotate(ca, { LeafCertTTL: "71h", PrivateKey: key.export({ type: "pkcs8", format: "pem" }) });
    expect((await roots(ca)).all).toHaveLength(2);
    // What a client has read, it may write back.
    const read = (await ca.ask("GET", CONFIG)).json() as { Config: object };
    expect(read.Config).toEqual({ LeafCertTTL: "71h" });
    await rotate(ca, { ...read.Config, LeafCertTTL: "70h" });
    expect((await roots(ca)).active.ID).toBe(active.ID);
    const everything = [CONFIG, ROOTS, "/metrics", "/readyz"].map(async (path) => (await ca.ask("GET", path)).text);
    const secret = PrivateKey.split("\n")[1] as string;
    for (const text of [...(await Promise.all(everything)), JSON.stringify(ca.logs)]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain("PRIVATE KEY");
    }
  });

  it("may come in either of the API's spellings", async () => {
    await using ca = await startCa();
    await rotate(ca, { private_key: keyToPem(generateKey()) });
    expect((await roots(ca)).all).toHaveLength(2);
    expect((await ca.ask("GET", CONFIG)).json().Config).toEqual({});
  });
});

describe("an offered root", () => {
  it("replaces ours, as it is; and may be replaced and come back", async () => {
    await using ca = await startCa();
    const own = await offeredRoot(await ca.trustDomain());
    await rotate(ca, own);
    const { active, old } = await roots(ca);
    expect(active.RootCert).toBe(own.RootCert);
    await expectTrustedBy(ca, [...old, active]);
    expect((await ca.ask("GET", CONFIG)).json().Config).toEqual({ RootCert: own.RootCert });
    await rotate(ca, { RootCert: own.RootCert, LeafCertTTL: "2h" });
    expect((await roots(ca)).all).toHaveLength(2);
    await rotate(ca, { PrivateKeyType: "rsa", PrivateKeyBits: 2048 });
    await rotate(ca, own);
    const back = await roots(ca);
    expect(back.active.ID).toBe(active.ID);
    expect(back.all).toHaveLength(3);
    await expectTrustedBy(ca, [back.active, ...back.old.filter((root) => root.PrivateKeyType === "rsa")]);
  });

  it("has its serial number told exactly, whatever its size", async () => {
    await using ca = await startCa();
    const own = await offeredRoot(await ca.trustDomain());
    await rotate(ca, own);
    const serial = BigInt(`0x${new X509Certificate(own.RootCert).serialNumber}`) & 0xffff_ffff_ffff_ffffn;
    expect((await ca.ask("GET", ROOTS)).text).toContain(`"SerialNumber":${serial},`);
  });

  it.each<[string, (trustDomain: string) => Promise<object>, RegExp]>([
    ["of another mesh", () => offeredRoot("11111111-2222-3333-4444-555555555555.consul"), /of trust domain '1111/],
    [
      "whose key is another",
      async (td) => ({ ...(await offeredRoot(td)), PrivateKey: keyToPem(generateKey()) }),
      /does not belong to the certificate/,
    ],
    ["without its key", async (td) => ({ RootCert: (await offeredRoot(td)).RootCert }), /must provide a private key/],
    [
      "that has expired",
      async (trustDomain) => {
        const past = Date.now() - 100 * HOUR_MS;
        const root = await createRootCertificate({ trustDomain, now: past, validityMs: HOUR_MS });
        return { RootCert: root.certPem, PrivateKey: root.keyPem };
      },
      /which is not now/,
    ],
    [
      "that is no certificate",
      async (td) => ({ ...(await offeredRoot(td)), RootCert: "x" }),
      /^error parsing root fingerprint: no PEM-encoded data found$/,
    ],
    [
      "with a weak key",
      async () => ({
        PrivateKey: generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey.export({
          type: "pkcs1",
          format: "pem",
        }),
      }),
      /an RSA key of 1024 bits, want 2048 to 4096/,
    ],
  ])("%s is refused, and nothing changes", async (_name, offer, why) => {
    await using ca = await startCa();
    const before = [(await ca.ask("GET", ROOTS)).text, (await ca.ask("GET", CONFIG)).text];
    const { status, text } = await configure(ca, await offer(await ca.trustDomain()));
    expect([status, text]).toEqual([500, expect.stringMatching(why)]);
    expect([(await ca.ask("GET", ROOTS)).text, (await ca.ask("GET", CONFIG)).text]).toEqual(before);
  });

  it.each<[string, string[], RegExp]>([
    ["that is no CA's", ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,keyCertSign"], /CA:TRUE is missing/],
    ["that may not sign", ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,digitalSignature"], /key usage/],
  ])("%s is refused, made by openssl as it is", async (_name, extensions, why) => {
    await using ca = await startCa();
    const key = file("own.key", keyToPem(generateKey()));
    const more = [...extensions, `subjectAltName=URI:spiffe://${await ca.trustDomain()}`];
    const args = ["req", "-x509", "-new", "-key", key, "-subj", "/CN=own", "-days", "30", "-config", "/dev/null"];
    const RootCert = execFileSync("openssl", [...args, ...more.flatMap((e) => ["-addext", e])], { encoding: "utf8" });
    const PrivateKey = execFileSync("cat", [key], { encoding: "utf8" });
    expect((await configure(ca, { RootCert, PrivateKey })).text).toMatch(why);
  });
});

describe("a rotation", () => {
  it("wakes who waits for the roots, and sticks across a restart", async () => {
    const first = await startCa({ dataDir: dir });
    const index = (await first.ask("GET", ROOTS)).headers.get("x-consul-index");
    const waiting = first.ask("GET", `${ROOTS}?index=${index}&wait=60s`);
    await rotate(first, { PrivateKeyType: "rsa", PrivateKeyBits: 2048 });
    expect(((await waiting).json() as { Roots: Root[] }).Roots).toHaveLength(2);
    const before = (await first.ask("GET", ROOTS)).text;
    await first.close();
    await using ca = await startCa({ dataDir: dir });
    expect((await ca.ask("GET", ROOTS)).text).toBe(before);
    await expectTrustedBy(ca, (await roots(ca)).all);
  });

  it("comes one after another, however many ask at once", async () => {
    await using ca = await startCa();
    const keys = Array.from({ length: 5 }, () => ({ PrivateKey: keyToPem(generateKey()) }));
    await Promise.all(keys.map((key) => rotate(ca, key)));
    const { all, active } = await roots(ca);
    expect(all).toHaveLength(6);
    const cross = new X509Certificate(active.IntermediateCerts?.[0] as string);
    expect(all.some((root) => cross.checkIssued(new X509Certificate(root.RootCert)))).toBe(true);
  });

  it("with Consul's ForceWithoutCrossSigning is cross-signed all the same, where it can be", async () => {
    await using ca = await startCa();
    const Config = { PrivateKey: keyToPem(generateKey()) };
    expect((await configure(ca, Config, { ForceWithoutCrossSigning: true })).status).toBe(200);
    expect((await roots(ca)).active.IntermediateCerts).toHaveLength(1);
    expect((await ca.ask("GET", CONFIG)).json().ForceWithoutCrossSigning).toBe(true);
  });
});

describe("by hand", () => {
  const asked = (ca: TestCa) => ca.ask("PUT", "/v1/connect/ca/rotate");

  it("a root is replaced by another of its type of key, or of its offered key, and the configuration stays", async () => {
    await using ca = await startCa();
    const key = await generateSigningKey({ type: "ec", bits: 384 });
    for (const Config of [
      { LeafCertTTL: "5h", PrivateKeyType: "rsa", PrivateKeyBits: 2048 },
      { PrivateKey: keyToPem(key) },
    ]) {
      await rotate(ca, Config);
      const before = (await roots(ca)).active;
      const config = (await ca.ask("GET", CONFIG)).json() as { Config: object };
      const { status, json } = await asked(ca);
      const { active, old } = await roots(ca);
      expect([status, json()]).toEqual([200, { ActiveRootID: active.ID, IntermediateID: null }]);
      expect(active.ID).not.toBe(before.ID);
      expect(old.map(({ ID }) => ID)).toContain(before.ID);
      expect(active.PrivateKeyBits).toBe(before.PrivateKeyBits);
      expect((await ca.ask("GET", CONFIG)).json().Config).toEqual(config.Config);
      await expectTrustedBy(ca, [before, active]);
    }
    expect(new X509Certificate((await roots(ca)).active.RootCert).checkPrivateKey(key)).toBe(true);
  });

  it("an offered root is not replaced, nor an intermediate where none signs", async () => {
    await using ca = await startCa();
    const none = await ca.ask("PUT", "/v1/connect/ca/rotate", { Intermediate: true });
    expect(none).toMatchObject({ status: 409, text: expect.stringContaining("no intermediate signs") });
    await rotate(ca, await offeredRoot(await ca.trustDomain()));
    const before = (await ca.ask("GET", ROOTS)).text;
    expect(await asked(ca)).toMatchObject({ status: 409, text: expect.stringContaining("offered by its operator") });
    expect((await ca.ask("GET", ROOTS)).text).toBe(before);
  });
});

describe("rolled back", () => {
  const rollBack = (ca: TestCa) => ca.ask("PUT", "/v1/connect/ca/rollback");

  it("the root before signs again with its configuration, and who trusts either follows", async () => {
    await using ca = await startCa({ dataDir: dir });
    await rotate(ca, { LeafCertTTL: "5h" });
    const first = (await roots(ca)).active;
    await rotate(ca, { LeafCertTTL: "2h", PrivateKeyType: "rsa", PrivateKeyBits: 2048 });
    const second = (await roots(ca)).active;
    const { status, text } = await rollBack(ca);
    expect([status, JSON.parse(text)]).toEqual([200, { ActiveRootID: first.ID }]);
    const now = await roots(ca);
    expect(now.active.ID).toBe(first.ID);
    expect(now.old.map((root) => root.ID)).toEqual([second.ID]);
    await expectTrustedBy(ca, [first, second]);
    expect((await ca.ask("GET", CONFIG)).json().Config).toEqual({ LeafCertTTL: "5h" });
    // The configuration of its time asks for it: nothing rotates when it is written back.
    await rotate(ca, { LeafCertTTL: "4h" });
    expect((await roots(ca)).active.ID).toBe(first.ID);
    expect((await rollBack(ca)).json().ActiveRootID).toBe(second.ID);
  });

  it("it stays where there is nothing to go back to", async () => {
    await using ca = await startCa();
    const before = (await ca.ask("GET", ROOTS)).text;
    expect(await rollBack(ca)).toMatchObject({ status: 409, text: expect.stringContaining("no root to go back to") });
    expect((await ca.ask("GET", ROOTS)).text).toBe(before);
  });
});
