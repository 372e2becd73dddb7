/** What becomes of roots as time goes by, on a clock that is moved by hand. */
import { createLogHub, createRegistry, type LogEntry, silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { serviceSpiffeId } from "@heddle/spiffe";
import { openStore } from "@heddle/store";
import {
  certificatesToDer,
  createCsr,
  createRootCertificate,
  createTrustBundle,
  generateKey,
  keyToPem,
  verifyChain,
} from "@heddle/tls";
import { expect, test } from "vitest";
import { createCa } from "../src/index.ts";

const HOUR_MS = 3_600_000;

async function openCa(clock: ManualClock, initialConfig: Record<string, unknown> = {}) {
  const store = await openStore({ dataDir: "", name: "ca", log: silentLog });
  const registry = createRegistry("ca");
  const hub = createLogHub({ write: () => {} });
  const logs: LogEntry[] = [];
  hub.tap("info", (entry) => logs.push(entry));
  const ca = await createCa({ store, datacenter: "dc1", initialConfig, registry, clock, log: hub.log });
  const rotateTo = (config: Record<string, unknown>) => ca.authority.configure("consul", config, false);
  return {
    ca,
    store,
    rotateTo,
    logs,
    metrics: () => registry.metrics(),
    ids: () => ca.authority.roots().map((root) => root.key),
  };
}

test("an old root leaves the list with its key twice a leaf's life after it was replaced", async () => {
  const clock = new ManualClock(Date.now());
  const { ca, store, rotateTo, ids } = await openCa(clock);
  await using _ca = ca;
  const [first] = ids();
  const spiffeId = serviceSpiffeId({ trustDomain: ca.authority.trustDomain, datacenter: "dc1", service: "web" });
  const [leaf = Buffer.alloc(0)] = certificatesToDer(
    (await ca.issuer.sign(createCsr({ key: generateKey(), spiffeId }), "test")).certPem,
  );
  const signedAt = clock.now();
  // The dates of the leaf aside: whether a root that is trusted leads to it.
  const check = () =>
    verifyChain(leaf, [], createTrustBundle(ca.authority.roots().map((r) => r.value.certPem)), signedAt);
  await rotateTo({ LeafCertTTL: "10h", PrivateKeyBits: 384 });
  const before = Math.max(...ca.authority.roots().map((root) => root.modifyIndex));
  clock.advance(2 * 72 * HOUR_MS - 1);
  expect(ids()).toHaveLength(2);
  expect(check()).toEqual({ ok: true });
  clock.advance(1);
  await expect.poll(ids).toEqual([ca.authority.activeRoot.id]);
  expect(check()).toEqual({ ok: false, reason: "no root or intermediate that we know signed it" });
  expect(ids()).not.toContain(first);
  expect(store.list("ca-keys").map((record) => record.key)).toEqual(ids());
  expect(ca.authority.activeRoot.intermediates).toEqual([]);
  expect(Math.max(...ca.authority.roots().map((root) => root.modifyIndex))).toBeGreaterThan(before);
});

test("no root leaves before the last leaf that it has signed, even where lifetimes were shortened before", async () => {
  const clock = new ManualClock(Date.now());
  const { ca, rotateTo, ids } = await openCa(clock, { LeafCertTTL: "100h" });
  await using _ca = ca;
  await rotateTo({ LeafCertTTL: "1h" });
  await rotateTo({ LeafCertTTL: "1h", PrivateKeyBits: 384 });
  clock.advance(100 * HOUR_MS - 1);
  expect(ids()).toHaveLength(2);
  clock.advance(1);
  await expect.poll(ids).toHaveLength(1);
});

test("a cross-signed certificate that has expired is sent with no leaf", async () => {
  const clock = new ManualClock(Date.now());
  const { ca, rotateTo } = await openCa(clock, { LeafCertTTL: "84h" });
  await using _ca = ca;
  await rotateTo({ LeafCertTTL: "84h", PrivateKeyBits: 384 });
  const sign = () => {
    const spiffeId = serviceSpiffeId({ trustDomain: ca.authority.trustDomain, datacenter: "dc1", service: "web" });
    return ca.issuer.sign(createCsr({ key: generateKey(), spiffeId }), "test");
  };
  expect((await sign()).chainPem).toHaveLength(1);
  clock.advance(7 * 24 * HOUR_MS);
  expect((await sign()).chainPem).toHaveLength(0);
});

test("a root that has expired cannot sign its successor; a switch can be forced", async () => {
  const clock = new ManualClock(Date.now());
  const { ca, rotateTo, ids } = await openCa(clock, {
    LeafCertTTL: "1h",
    IntermediateCertTTL: "10h",
    RootCertTTL: "24h",
  });
  await using _ca = ca;
  clock.advance(25 * HOUR_MS);
  await expect(rotateTo({ PrivateKeyBits: 384 })).rejects.toThrow(/the root stays as it is: the old root expired/);
  expect(ids()).toHaveLength(1);
  await ca.authority.configure("consul", { PrivateKeyBits: 384 }, true);
  expect(ca.authority.activeRoot.intermediates).toEqual([]);
  expect(ca.authority.roots().find((root) => root.value.isActive)?.value.intermediates).toEqual([]);
});

test("a mesh may be founded with a key or a root of the operator's", async () => {
  const { ca } = await openCa(new ManualClock(Date.now()), { private_key_type: "rsa", private_key_bits: 2048 });
  await using _ca = ca;
  expect(ca.authority.activeRoot.signer?.key.asymmetricKeyType).toBe("rsa");
  await expect(openCa(new ManualClock(Date.now()), { root_cert: "x" })).rejects.toThrow("must provide a private key");
});

test("the root is replaced at two thirds of its life, by one of the same type of key", async () => {
  const clock = new ManualClock(Date.now());
  const { ca, ids } = await openCa(clock, { RootCertTTL: "300h", LeafCertTTL: "1h", PrivateKeyBits: 384 });
  await using _ca = ca;
  const [first] = ids();
  clock.advance(199 * HOUR_MS);
  expect(ids()).toEqual([first]);
  clock.advance(HOUR_MS);
  await expect.poll(() => ca.authority.activeRoot.id).not.toBe(first);
  expect(ca.authority.activeRoot.signer?.key.asymmetricKeyDetails?.namedCurve).toBe("secp384r1");
  expect(ca.authority.activeRoot.intermediates).toHaveLength(1);
  clock.advance(2 * HOUR_MS);
  await expect.poll(ids).toEqual([ca.authority.activeRoot.id]);
  const second = ca.authority.activeRoot.id;
  clock.advance(200 * HOUR_MS);
  await expect.poll(() => ca.authority.activeRoot.id).not.toBe(second);
});

test("an offered key signs the next root too; an offered root is the operator's, who is told of its end", async () => {
  const clock = new ManualClock(Date.now());
  const key = generateKey();
  const { ca, logs, ids, metrics } = await openCa(clock, {
    RootCertTTL: "300h",
    LeafCertTTL: "1h",
    PrivateKey: keyToPem(key),
  });
  await using _ca = ca;
  const [first] = ids();
  clock.advance(200 * HOUR_MS);
  await expect.poll(() => ca.authority.activeRoot.id).not.toBe(first);
  expect(ca.authority.activeRoot.signer?.key.equals(key)).toBe(true);

  const { trustDomain } = ca.authority;
  const own = await createRootCertificate({ trustDomain, now: clock.now(), validityMs: 365 * 24 * HOUR_MS });
  await ca.authority.configure("consul", { RootCert: own.certPem, PrivateKey: own.keyPem }, false);
  const { id } = ca.authority.activeRoot;
  expect(await metrics()).toContain(
    `heddle_ca_certificate_days_left{root="${id}",active="true",kind="root",daemon="ca"} 36`,
  );
  const told = () =>
    logs
      .filter(({ sentence }) => sentence.startsWith("the root certificate"))
      .map((entry) => entry.fields["days_left"]);
  const before = told().length;
  clock.advance(334 * 24 * HOUR_MS);
  expect(told()).toHaveLength(before);
  for (const [days, total] of [
    [1, 1],
    [16, 2],
    [7, 3],
    [6, 4],
    [1, 5],
  ] as const) {
    clock.advance(days * 24 * HOUR_MS);
    expect(told()).toHaveLength(before + total);
  }
  expect(ca.authority.activeRoot.id).toBe(id);
  expect(ca.health()["root"]?.ready).toBe(false);
});
