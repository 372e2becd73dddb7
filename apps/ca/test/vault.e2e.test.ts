/** Vault signs: a small server that follows its documented paths stands in for it (src/vault/testing-vault.ts). */
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogHub, createRegistry, type LogEntry } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { openStore } from "@heddle/store";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { createCa } from "../src/index.ts";
import { startVaultServer, type VaultServer } from "../src/testing.ts";
import { startCa, type TestCa } from "./harness.ts";

const CONFIG = "/v1/connect/ca/configuration";
const STATUS = "/v1/connect/ca/status";

interface Root {
  ID: string;
  Active: boolean;
  RootCert: string;
  IntermediateCerts: string[] | null;
}

let dir: string;
let vault: VaultServer;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "heddle-ca-vault-"));
  vault = await startVaultServer();
});
afterEach(async () => {
  await vault[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

const configOf = (more: object = {}) => ({
  Address: vault.address,
  Token: vault.token,
  RootPKIPath: "connect-root",
  IntermediatePKIPath: "connect-intermediate",
  ...more,
});
const put = (ca: TestCa, Config: object, Provider = "vault", more: object = {}) =>
  ca.ask("PUT", CONFIG, { Provider, Config, ...more });

async function useVault(ca: TestCa, more: object = {}): Promise<void> {
  const { status, text } = await put(ca, configOf(more));
  expect([status, text]).toEqual([200, ""]);
}

async function rootsOf(ca: TestCa) {
  const { Roots } = (await ca.ask("GET", "/v1/connect/ca/roots")).json() as { Roots: Root[] };
  return { active: Roots.find(({ Active }) => Active) as Root, old: Roots.filter(({ Active }) => !Active) };
}

async function leafOf(ca: TestCa) {
  const { status, text, json } = await ca.sign(await ca.requestFor("web"));
  expect([status, text]).toEqual([200, expect.any(String)]);
  return json() as { certPem: string; chainPem: string[]; serial: string; notAfter: string };
}

function expectVerified(leaf: { certPem: string; chainPem: string[] }, root: Root): void {
  const file = (name: string, text: string) => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const chain = ["-untrusted", file("chain.pem", leaf.chainPem.join(""))];
  const args = ["verify", "-x509_strict", "-CAfile", file("root.pem", root.RootCert), ...chain];
  const options = { encoding: "utf8", stdio: "pipe" } as const;
  expect(execFileSync("openssl", [...args, file("leaf.pem", leaf.certPem)], options)).toContain(": OK");
}

describe("Vault as the provider", () => {
  it("has its root and intermediate made there, and leaves lead to its root and to the one before", async () => {
    await using ca = await startCa();
    const own = (await rootsOf(ca)).active;
    await useVault(ca);
    const { active, old } = await rootsOf(ca);
    expect(active.ID).not.toBe(own.ID);
    expect(old.map(({ ID }) => ID)).toEqual([own.ID]);
    const leaf = await leafOf(ca);
    for (const root of [active, own]) expectVerified(leaf, root);
    expect(leaf.chainPem).toEqual(active.IntermediateCerts);
    const { subjectAltName, serialNumber } = new X509Certificate(leaf.certPem);
    expect(subjectAltName).toBe(`URI:spiffe://${await ca.trustDomain()}/ns/default/dc/dc1/svc/web`);
    expect(leaf.serial.replaceAll(":", "").toUpperCase()).toBe(serialNumber);
    expect(vault.calls).toContain("POST /v1/connect-root/root/sign-intermediate");
    expect((await ca.ask("GET", STATUS)).json()).toMatchObject({
      RenewAt: null,
      Intermediate: { ID: expect.any(String) },
    });
    expect((await ca.ask("GET", CONFIG)).json()).toMatchObject({
      Provider: "vault",
      Config: { Address: vault.address },
    });
    expect((await ca.ask("GET", "/v1/connect/ca/crl")).status).toBe(409);
  });

  it("changes nothing where the same is written back, and asks Vault for no other root", async () => {
    await using ca = await startCa();
    await useVault(ca);
    const before = await rootsOf(ca);
    const { Config } = (await ca.ask("GET", CONFIG)).json() as { Config: object };
    const { status, text } = await put(ca, { ...Config, LeafCertTTL: "24h" });
    expect([status, text]).toEqual([200, ""]);
    expect(await rootsOf(ca)).toEqual(before);
    const { notAfter } = await leafOf(ca);
    expect(Date.parse(notAfter) - Date.now()).toBeLessThan(25 * 3_600_000);
  });

  it("is left for a root of our own, which Vault signs, and gone back to", async () => {
    await using ca = await startCa();
    await useVault(ca);
    const vaults = (await rootsOf(ca)).active;
    const { status, text } = await put(ca, {}, "consul");
    expect([status, text]).toEqual([200, ""]);
    const { active } = await rootsOf(ca);
    expect(active.ID).not.toBe(vaults.ID);
    for (const root of [active, vaults]) expectVerified(await leafOf(ca), root);
    expect(vault.calls).toContain("POST /v1/connect-root/root/sign-self-issued");
    expect((await ca.ask("PUT", "/v1/connect/ca/rollback")).json()).toEqual({ ActiveRootID: vaults.ID });
    expect((await ca.ask("GET", CONFIG)).json()).toMatchObject({ Provider: "vault" });
    for (const root of [active, vaults]) expectVerified(await leafOf(ca), root);
  });

  it("may be there from the first start, and after a restart without Vault roots are known and signing says why not", async () => {
    const dataDir = join(dir, "data");
    const hub = createLogHub({ write: () => {} });
    const store = await openStore({ dataDir, name: "ca", log: hub.log });
    const options = { store, datacenter: "dc1", registry: createRegistry("ca"), log: hub.log };
    const first = await createCa({ ...options, initialProvider: "vault", initialConfig: configOf() });
    const { id } = first.authority.activeRoot;
    await first.close();
    await vault.stop();
    await using ca = await startCa({ dataDir });
    expect((await rootsOf(ca)).active.ID).toBe(id);
    const { status, text } = await ca.sign(await ca.requestFor("web"));
    expect([status, text]).toEqual([
      503,
      expect.stringMatching(/cannot reach Vault at http:\/\/127.0.0.1:\d+: .*ECONNREFUSED/),
    ]);
    await vault.restart();
    expectVerified(await leafOf(ca), (await rootsOf(ca)).active);
  });

  it("is told in Vault's words where it refuses, and nothing has changed then", async () => {
    await using ca = await startCa();
    const before = await rootsOf(ca);
    const said = async (config: object) => (await put(ca, config)).text;
    expect(await said(configOf({ Token: "s.wrong" }))).toMatch(/^Vault says to \w+ \S+: permission denied$/);
    vault.fail(/sign-intermediate/, 400, ["common name not allowed by this role"]);
    expect(await said(configOf())).toContain("sign-intermediate: common name not allowed by this role");
    vault.fail(/generate/, 503, ["Vault is sealed"]);
    expect(await said(configOf({ RootPKIPath: "other" }))).toContain("Vault is sealed");
    vault.fail();
    expect(await rootsOf(ca)).toEqual(before);
    await useVault(ca);
    vault.fail(/sign\/leaf-cert/, 429, ["request rate limit exceeded"]);
    const { status, text } = await ca.sign(await ca.requestFor("web"));
    expect([status, text]).toEqual([503, expect.stringContaining("sign/leaf-cert: request rate limit exceeded")]);
  });

  it.each<[object, string]>([
    [{ Token: undefined }, "must provide a Vault token"],
    [{ RootPKIPath: "" }, "must provide a valid path to a root PKI backend"],
    [{ IntermediatePKIPath: "../sys" }, "must provide a valid path for the intermediate PKI backend"],
    [{ Address: "ftp://x" }, "Address: want the URL of a Vault"],
    [{ TLSSkipVerify: true }, "TLSSkipVerify is not allowed"],
    [{ AuthMethod: { Type: "approle" } }, "AuthMethod is not supported"],
    [{ CAFile: "/nonexistent" }, "cannot read /nonexistent (CAFile)"],
  ])("is not configured with %j", async (wrong, why) => {
    await using ca = await startCa();
    const { status, text } = await put(ca, configOf(wrong));
    expect([status, text]).toEqual([500, expect.stringContaining(why)]);
  });

  it.each<[string, (uri: string) => string[], string]>([
    ["another service", (uri) => [`subjectAltName=URI:${uri}x`], "URI names spiffe://"],
    ["a host name", (uri) => [`subjectAltName=URI:${uri},DNS:web.example`], "names beside the URI"],
    ["a CA", (uri) => ["basicConstraints=critical,CA:TRUE", `subjectAltName=URI:${uri}`], "a CA's certificate"],
    ["no key usage", (uri) => [`subjectAltName=URI:${uri}`], "a key usage without digital signatures"],
  ])("is not believed where it signs %s", async (_what, extensions, why) => {
    await using ca = await startCa();
    await useVault(ca);
    vault.leafExtensions = extensions;
    const { status, text } = await ca.sign(await ca.requestFor("web"));
    expect([status, text]).toEqual([
      503,
      expect.stringContaining(`Vault has signed what it was not asked for: ${why}`),
    ]);
  });

  it("shows its token nowhere: not in answers, not in logs, and on disk only as the keys are", async () => {
    const dataDir = join(dir, "data");
    const ca = await startCa({ dataDir, encryptionKeys: [Buffer.alloc(32, 7)] });
    await useVault(ca);
    await leafOf(ca);
    vault.fail(/./, 500, [`bad token ${vault.token}`]);
    const refused = await ca.sign(await ca.requestFor("web"));
    vault.fail();
    const answers = await Promise.all([CONFIG, STATUS, "/metrics"].map((path) => ca.ask("GET", path)));
    const logs = JSON.stringify(ca.logs);
    await ca.close();
    for (const text of [refused.text, logs, ...answers.map((answer) => answer.text)])
      expect(text).not.toContain(vault.token);
    expect(readFileSync(join(dataDir, "ca.db")).includes(vault.token)).toBe(false);
  });
});

describe("while Vault signs", () => {
  async function openCa(clock: ManualClock, more: object = {}) {
    const hub = createLogHub({ write: () => {} });
    const logs: LogEntry[] = [];
    hub.tap("info", (entry) => logs.push(entry));
    const store = await openStore({ dataDir: "", name: "ca", log: hub.log });
    const options = { store, datacenter: "dc1", registry: createRegistry("ca"), log: hub.log, clock };
    const ca = await createCa({ ...options, initialProvider: "vault", initialConfig: configOf(more) });
    onTestFinished(() => ca.close());
    return { ca, logs };
  }

  it("its intermediate is replaced in time, under the same root", async () => {
    const clock = new ManualClock(Date.now());
    const { ca } = await openCa(clock, { RotationPeriod: "30m" });
    const before = ca.authority.activeRoot;
    clock.advance(31 * 60_000); // Vault's clock is the system's, so not far
    await expect.poll(() => ca.authority.activeRoot.intermediateId).not.toBe(before.intermediateId);
    expect(ca.authority.activeRoot.id).toBe(before.id);
  });

  it("the token is renewed at two thirds of its life, and again after Vault was away", async () => {
    vault.tokenTtl = 3_600;
    const clock = new ManualClock(Date.now());
    const { logs } = await openCa(clock);
    const renewed = (count: number) => expect.poll(() => vault.renewals).toBe(count);
    await expect.poll(() => vault.calls.filter((call) => call.endsWith("lookup-self")).length).toBeGreaterThan(1);
    clock.advance(3_600_000 * 0.67);
    await renewed(1);
    await expect.poll(() => vault.calls.filter((call) => call.endsWith("lookup-self")).length).toBeGreaterThan(2);
    vault.fail(/renew-self/, 503, ["Vault is sealed"]);
    clock.advance(3_600_000 * 0.67);
    const warned = () => logs.some(({ sentence }) => sentence.startsWith("cannot renew the token for Vault"));
    await expect.poll(warned).toBe(true);
    vault.fail();
    clock.advance(31_000);
    await renewed(2);
  });
});
