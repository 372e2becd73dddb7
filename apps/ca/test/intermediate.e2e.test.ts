import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRegistry, silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { serviceSpiffeId } from "@heddle/spiffe";
import { openStore } from "@heddle/store";
import { createCsr, generateKey } from "@heddle/tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Ca, createCa } from "../src/index.ts";
import { startCa, type TestCa } from "./harness.ts";

const CONFIG = "/v1/connect/ca/configuration";
const DAY_MS = 86_400_000;

interface Root {
  ID: string;
  Active: boolean;
  RootCert: string;
  IntermediateCerts: string[] | null;
}

interface Signed {
  certPem: string;
  chainPem: string[];
}

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "heddle-ca-intermediate-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const path = (name: string): string => join(dir, name);
const file = (name: string, text: string): string => {
  writeFileSync(path(name), text);
  return path(name);
};
const openssl = (...args: string[]) => execFileSync("openssl", args, { encoding: "utf8", stdio: "pipe" });

const configure = (ca: TestCa, Config: object, more: object = {}) =>
  ca.ask("PUT", CONFIG, { Provider: "consul", Config, ...more });

async function set(ca: TestCa, Config: object, more: object = {}): Promise<void> {
  const { status, text } = await configure(ca, Config, more);
  expect([status, text]).toEqual([200, ""]);
}

async function rootsOf(ca: TestCa) {
  const { Roots } = (await ca.ask("GET", "/v1/connect/ca/roots")).json() as { Roots: Root[] };
  return { active: Roots.find(({ Active }) => Active) as Root, old: Roots.filter(({ Active }) => !Active) };
}

async function leafOf(ca: TestCa): Promise<Signed> {
  const { status, json, text } = await ca.sign(await ca.requestFor("web"));
  expect([status, text]).toEqual([200, expect.any(String)]);
  return json() as Signed;
}

/** openssl's word that a leaf leads to a root. */
function expectVerified({ certPem, chainPem }: Signed, root: Pick<Root, "RootCert">): void {
  const chain = chainPem.length > 0 ? ["-untrusted", file("chain.pem", chainPem.join(""))] : [];
  const args = ["verify", "-x509_strict", "-CAfile", file("root.pem", root.RootCert), ...chain];
  expect(openssl(...args, file("leaf.pem", certPem))).toContain(": OK");
}

/** A root as a security department has it: made by openssl, its key in a file that the CA never sees. */
function offlineRoot(name = "offline", usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]): string {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", path(`${name}.key`)];
  openssl("req", "-x509", ...key, "-subj", `/CN=${name} root`, "-days", "3650", ...usage, "-out", path(`${name}.pem`));
  return readFileSync(path(`${name}.pem`), "utf8");
}

/** Signs a request there. */
function signOffline(csr: string, { name = "offline", days = 365, pathlen = "", ca = "TRUE", uri = "" } = {}): string {
  const csrFile = file("int.csr", csr);
  const lines = [
    `basicConstraints=critical,CA:${ca}${pathlen}`,
    "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
  ];
  const san = /URI:(\S+)/.exec(openssl("req", "-in", csrFile, "-noout", "-text"))?.[1] ?? "";
  lines.push(`subjectAltName=URI:${uri || san}`, "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid");
  const by = ["-CA", path(`${name}.pem`), "-CAkey", path(`${name}.key`), "-CAcreateserial", "-days", String(days)];
  return openssl("x509", "-req", "-in", csrFile, ...by, "-extfile", file("int.ext", lines.join("\n")));
}

const request = async (ca: TestCa): Promise<string> =>
  ((await ca.ask("PUT", "/v1/connect/ca/csr")).json() as { CSR: string }).CSR;

async function goOffline(ca: TestCa, options: Parameters<typeof signOffline>[1] = {}) {
  const RootCert = offlineRoot(options.name);
  const IntermediateCert = signOffline(await request(ca), options);
  return { RootCert, IntermediateCert };
}

describe("an intermediate that signs", () => {
  it("is asked for by IntermediateSigns: same root, leaves with a chain, and off again", async () => {
    await using ca = await startCa();
    const before = (await rootsOf(ca)).active;
    await set(ca, { IntermediateSigns: true });
    const { active } = await rootsOf(ca);
    expect(active.ID).toBe(before.ID);
    expect(active.IntermediateCerts).toHaveLength(1);
    const leaf = await leafOf(ca);
    expect(leaf.chainPem).toEqual(active.IntermediateCerts);
    expectVerified(leaf, active);
    const intermediate = new X509Certificate(leaf.chainPem[0] as string);
    expect(new X509Certificate(leaf.certPem).checkIssued(intermediate)).toBe(true);
    expect(openssl("x509", "-in", file("int.pem", intermediate.toString()), "-noout", "-text")).toContain("pathlen:0");
    expect((await ca.ask("GET", "/v1/connect/ca/status")).json()).toMatchObject({
      Intermediate: { DaysLeft: expect.closeTo(365, 0) },
      Roots: [{ CrossSigned: false }],
    });
    await set(ca, { IntermediateSigns: false });
    expect((await rootsOf(ca)).active.IntermediateCerts).toBeNull();
    expectVerified(await leafOf(ca), before);
  });

  it("is replaced by hand, under the same root; one of a root that is elsewhere is not", async () => {
    await using ca = await startCa();
    await set(ca, { IntermediateSigns: true });
    const { active: root } = await rootsOf(ca);
    const rotate = () => ca.ask("PUT", "/v1/connect/ca/rotate", { Intermediate: true });
    const before = await leafOf(ca);
    expect((await rotate()).json()).toMatchObject({ ActiveRootID: root.ID, IntermediateID: expect.any(String) });
    const after = await leafOf(ca);
    expect(after.chainPem[0]).not.toBe(before.chainPem[0]);
    for (const leaf of [before, after]) expectVerified(leaf, root);
    expect((await rootsOf(ca)).old).toEqual([]);

    await set(ca, await goOffline(ca));
    expect(await rotate()).toMatchObject({ status: 409, text: expect.stringContaining("the root's key is elsewhere") });
  });

  it("may sign from the first start, survives a restart, and a rotation leads from each root to its leaves", async () => {
    const dataDir = path("data");
    const clock = new ManualClock(Date.now());
    const first = await openCa(dataDir, clock, { IntermediateSigns: true });
    const { intermediateId } = first.authority.activeRoot;
    expect(intermediateId).toBeDefined();
    await first.close();
    await using ca = await startCa({ dataDir });
    const old = (await rootsOf(ca)).active;
    expectVerified(await leafOf(ca), old);
    await set(ca, { IntermediateSigns: true, PrivateKeyType: "rsa", PrivateKeyBits: 2048 });
    const { active } = await rootsOf(ca);
    expect(active.ID).not.toBe(old.ID);
    const leaf = await leafOf(ca);
    expect(leaf.chainPem).toHaveLength(2);
    for (const root of [active, old]) expectVerified(leaf, root);
    // What signs has a year; the bridge to the root before has days, and its end is nobody's business.
    const { text } = await ca.ask("GET", "/metrics");
    const daysOf = (kind: string) =>
      Number(new RegExp(`days_left\\{root="${active.ID}",active="true",kind="${kind}".* (\\S+)`).exec(text)?.[1]);
    expect([daysOf("intermediate") > 360, daysOf("bridge") < 8]).toEqual([true, true]);
    expect((await ca.ask("PUT", "/v1/connect/ca/rollback")).status).toBe(200);
    for (const root of [active, old]) expectVerified(await leafOf(ca), root);
  });

  it.each([
    ["two thirds of its life", { RotationPeriod: "0s" }, 243],
    ["its period", { RotationPeriod: "2160h" }, 90],
  ])("is replaced after %s by itself, and leaves of the one before stay good", async (_when, config, days) => {
    const clock = new ManualClock(Date.now());
    await using ca = await openCa(path("data"), clock, { IntermediateSigns: true, ...config });
    const before = ca.authority.activeRoot;
    const leaf = await signAt(ca);
    clock.advance((days - 1) * DAY_MS);
    await new Promise(setImmediate);
    expect(ca.authority.activeRoot.intermediateId).toBe(before.intermediateId);
    clock.advance(2 * DAY_MS);
    await expect.poll(() => ca.authority.activeRoot.intermediateId).not.toBe(before.intermediateId);
    const { id, certPem, intermediates } = ca.authority.activeRoot;
    expect([id, intermediates.length]).toEqual([before.id, 1]);
    expectVerified(leaf, { RootCert: certPem }); // by the system's clock, at which the old one is valid still
    expect((await signAt(ca)).chainPem).toEqual(intermediates);
  });
});

describe("a root whose key is elsewhere", () => {
  it("signs a request that is made here, and its key never comes", async () => {
    const dataDir = path("data");
    const ca = await startCa({ dataDir });
    const own = (await rootsOf(ca)).active;
    const offline = await goOffline(ca);
    await set(ca, offline);
    const { active, old } = await rootsOf(ca);
    expect([active.RootCert, active.IntermediateCerts?.[0]]).toEqual([offline.RootCert, offline.IntermediateCert]);
    expect(old.map(({ ID }) => ID)).toEqual([own.ID]);
    const leaf = await leafOf(ca);
    for (const root of [active, own]) expectVerified(leaf, root);
    expect((await ca.ask("GET", CONFIG)).json().Config).toMatchObject(offline);
    // What a client read and writes back changes nothing, after a restart too.
    await ca.close();
    await using again = await startCa({ dataDir });
    await set(again, (await again.ask("GET", CONFIG)).json().Config);
    expect((await rootsOf(again)).active.ID).toBe(active.ID);
    expectVerified(await leafOf(again), active);
    expect((await again.ask("GET", "/v1/connect/ca/status")).json()).toMatchObject({
      RenewAt: null,
      Intermediate: { RenewAt: null },
    });
  });

  it("gives another intermediate without a rotation, and with a key of the operator's", async () => {
    await using ca = await startCa();
    const { RootCert, IntermediateCert } = await goOffline(ca);
    await set(ca, { RootCert, IntermediateCert });
    const before = (await rootsOf(ca)).active;
    const key = generateKey().export({ type: "pkcs8", format: "pem" }) as string;
    const subject = ["-key", file("int.key", key), "-subj", "/CN=second"];
    const san = ["-addext", `subjectAltName=URI:spiffe://${await ca.trustDomain()}`];
    const second = signOffline(openssl("req", "-new", ...subject, ...san));
    await set(ca, { RootCert, IntermediateCert: second, PrivateKey: key });
    const { active } = await rootsOf(ca);
    expect([active.ID, active.IntermediateCerts?.[0]]).toEqual([before.ID, second]);
    expectVerified(await leafOf(ca), active);
  });

  it("is followed by a root of our own where its intermediate may sign for one", async () => {
    await using ca = await startCa();
    await set(ca, await goOffline(ca));
    const offline = (await rootsOf(ca)).active;
    await set(ca, { PrivateKeyType: "ec", PrivateKeyBits: 256 });
    const { active } = await rootsOf(ca);
    expect(active.ID).not.toBe(offline.ID);
    const leaf = await leafOf(ca);
    for (const root of [active, offline]) expectVerified(leaf, root);
    // And back to it.
    expect((await ca.ask("PUT", "/v1/connect/ca/rollback")).status).toBe(200);
    expect((await rootsOf(ca)).active.ID).toBe(offline.ID);
    for (const root of [active, offline]) expectVerified(await leafOf(ca), root);
  });

  it("is left by force alone where its intermediate may sign for no other", async () => {
    await using ca = await startCa();
    await set(ca, await goOffline(ca, { pathlen: ",pathlen:0" }));
    const own = { PrivateKeyType: "ec", PrivateKeyBits: 256 };
    const { status, text } = await configure(ca, own);
    expect([status, text]).toEqual([500, expect.stringContaining("longer than its issuer allows; ForceWithout")]);
    await set(ca, own, { ForceWithoutCrossSigning: true });
    expect((await leafOf(ca)).chainPem).toEqual([]);
  });

  it.each<[string, Parameters<typeof signOffline>[1], string]>([
    ["that is no CA's", { ca: "FALSE" }, "it is not a CA's"],
    [
      "of another trust domain",
      { uri: "spiffe://other.consul" },
      "the offered intermediate is of trust domain 'other.consul'",
    ],
    ["that ends before leaves do", { days: 8 }, "want at least three lives of a leaf"],
  ])("is not taken with an intermediate %s", async (_what, options, why) => {
    await using ca = await startCa();
    const { active } = await rootsOf(ca);
    const { status, text } = await configure(ca, await goOffline(ca, options));
    expect([status, text]).toEqual([500, expect.stringContaining(why)]);
    expect(await rootsOf(ca)).toEqual({ active, old: [] });
  });

  it("is not taken with an intermediate of another root, without its root, or without its key", async () => {
    await using ca = await startCa();
    const { IntermediateCert, RootCert } = await goOffline(ca);
    const other = offlineRoot("other");
    const refused = async (config: object) => (await configure(ca, config)).text;
    expect(await refused({ RootCert: other, IntermediateCert })).toContain("does not lead to the offered root");
    expect(await refused({ IntermediateCert })).toContain("must provide a root cert");
    const vague = offlineRoot("vague", []);
    expect(await refused({ RootCert: vague, IntermediateCert })).toContain("no key usage for signing certificates");
    await request(ca); // a new key takes the place of the one before
    expect(await refused({ RootCert, IntermediateCert })).toContain("signed for the last request");
    const PrivateKey = generateKey().export({ type: "pkcs8", format: "pem" });
    expect(await refused({ RootCert, IntermediateCert, PrivateKey })).toContain("does not belong to the intermediate");
  });
});

async function openCa(dataDir: string, clock: ManualClock, initialConfig: Record<string, unknown>): Promise<Ca> {
  const store = await openStore({ dataDir, name: "ca", log: silentLog });
  return createCa({ store, datacenter: "dc1", initialConfig, registry: createRegistry("ca"), clock, log: silentLog });
}

function signAt({ issuer, authority }: Ca) {
  const spiffeId = serviceSpiffeId({ trustDomain: authority.trustDomain, datacenter: "dc1", service: "web" });
  return issuer.sign(createCsr({ key: generateKey(), spiffeId }), "test");
}
