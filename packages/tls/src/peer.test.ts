import { X509Certificate } from "node:crypto";
import * as fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import {
  certificatesToDer,
  checkPeerCertificate,
  createInternalCa,
  createInternalCertificate,
  createSigner,
  createTrustBundle,
  generateKey,
  issueLeaf,
  readCertificate,
  verifyChain,
  type PeerExpectation,
} from "./index.ts";
import { badClientCertificates, createTestMesh, forgeLeaf, forgeSigner, type TestMesh } from "./testing.ts";

let mesh: TestMesh;
beforeAll(async () => {
  mesh = await createTestMesh();
});
/** Every bad client certificate that the checklist names, in its order. */
const CHECKLIST = [
  "expired one second ago",
  "not yet valid",
  "of another root",
  "of another root with the same name",
  "without its intermediate",
  "at the end of a chain of seven",
  "with CA:TRUE",
  "that may sign certificates",
  "without key usage",
  "for servers only",
  "without a name",
  "with two URIs",
  "with five URIs",
  "with a DNS name beside its URI",
  "with a DNS name alone",
  "with an e-mail name",
  "with an otherName",
  "with an http: URI",
  "with an upper-case scheme",
  "with an upper-case trust domain",
  "of another trust domain",
  "of a sub-domain",
  "of a domain that begins with ours",
  "with userinfo",
  "with a port",
  "with a query",
  "with a fragment",
  "percent-encoded",
  "with an empty segment",
  "with a dot segment",
  "with a dot-dot segment",
  "with a trailing slash",
  "with an empty path",
  "of an agent",
  "of a server",
  "of a gateway",
  "with a NUL",
  "with a URI of 3 KiB",
  "self-signed",
];

const ders = (pem: string) => certificatesToDer(pem);
const leafOf = (pem: string) => ders(pem)[0] as Buffer;
const caller = (): PeerExpectation => ({ kind: "caller", trustDomain: mesh.trustDomain });

describe("a peer's certificate", () => {
  it("tells who calls", () => {
    const result = checkPeerCertificate(leafOf(mesh.identity("web").certPem), caller());
    expect(result).toMatchObject({ ok: true, spiffeId: mesh.spiffeId("web"), id: { kind: "service", service: "web" } });
  });

  it("tells that the server is the one dialled, and names both when it is not", () => {
    const certificate = leafOf(mesh.identity("web").certPem);
    expect(checkPeerCertificate(certificate, { kind: "server", spiffeId: mesh.spiffeId("web") }).ok).toBe(true);
    for (const other of ["db", "WEB", "web2", "we"]) {
      const spiffeId = mesh.spiffeId(other);
      expect(checkPeerCertificate(certificate, { kind: "server", spiffeId })).toEqual({
        ok: false,
        reason: `expected '${spiffeId}', but '${mesh.spiffeId("web")}' was presented`,
      });
    }
  });

  it("is refused for every row of the checklist that is not the chain's", async () => {
    const all = await badClientCertificates(mesh);
    expect(CHECKLIST.filter((name) => !all.some((one) => one.name === name))).toEqual([]);
    for (const { name, identity, refusedBy } of all) {
      const [leaf, ...intermediates] = ders(identity.certPem) as [Buffer];
      if (refusedBy === "rules" && !name.includes("chain of"))
        expect([name, checkPeerCertificate(leaf, caller())]).toMatchObject([name, { ok: false }]);
      const withChain = { ...caller(), roots: createTrustBundle([mesh.root.certPem]), intermediates };
      expect([name, checkPeerCertificate(leaf, withChain)]).toMatchObject([name, { ok: false }]);
    }
  });

  it("gives a reason that is one printable, bounded line", async () => {
    for (const { identity } of await badClientCertificates(mesh)) {
      const result = checkPeerCertificate(leafOf(identity.certPem), {
        ...caller(),
        roots: createTrustBundle([mesh.root.certPem]),
      });
      expect(result.ok ? "" : result.reason).toMatch(/^[\x20-\x7e…]{20,900}$/);
    }
  });

  it("is refused or unchanged, whatever byte of it changes, and nothing is thrown", () => {
    const good = leafOf(mesh.identity("web").certPem);
    const roots = createTrustBundle([mesh.root.certPem]);
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const bytes = Buffer.from(good);
        bytes[at] = (bytes[at] as number) ^ change;
        expect(checkPeerCertificate(bytes, { ...caller(), roots }).ok).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });

  it("is refused when it is noise or far too long", () => {
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(20_000, 0x30), Buffer.from("hello")])
      expect(checkPeerCertificate(bytes, caller()).ok).toBe(false);
  });
});

describe("a daemon's certificate", () => {
  it("is accepted by role, trust domain and datacenter", async () => {
    const ca = await createInternalCa({ trustDomain: "mine.heddle" });
    const certificate = leafOf(createInternalCertificate({ ca, role: "catalog", dc: "dc1" }).certPem);
    const check = (more: object) => checkPeerCertificate(certificate, { kind: "daemon", roles: ["catalog"], ...more });
    expect(check({})).toMatchObject({ ok: true, id: { role: "catalog", datacenter: "dc1" } });
    expect(check({ roles: ["ca", "catalog"] }).ok).toBe(true);
    expect(check({ trustDomain: "mine.heddle", datacenter: "dc1" }).ok).toBe(true);
    expect(check({ roles: ["agent", "ca"] })).toEqual({
      ok: false,
      reason:
        "expected a daemon with role agent or ca, but 'spiffe://mine.heddle/heddle/dc/dc1/role/catalog' was presented",
    });
    expect(check({ trustDomain: "other.heddle" })).toMatchObject({
      reason: expect.stringContaining("another trust domain") as string,
    });
    expect(check({ datacenter: "dc2" })).toMatchObject({
      reason: expect.stringContaining("another datacenter") as string,
    });
    expect(checkPeerCertificate(certificate, caller()).ok).toBe(false);
  });

  it("is not a service's", () => {
    const expectation: PeerExpectation = { kind: "daemon", roles: ["catalog"] };
    expect(checkPeerCertificate(leafOf(mesh.identity("catalog").certPem), expectation).ok).toBe(false);
  });
});

describe("a chain", () => {
  const at = Date.now();
  const roots = () => createTrustBundle([mesh.root.certPem]);

  it("leads over intermediates to a root, whatever their order", () => {
    const first = forgeSigner(mesh.signer);
    const second = forgeSigner(first);
    const [leaf] = ders(forgeLeaf(mesh, { signer: second }).certPem) as [Buffer];
    const intermediates = [first, second].map((s) => leafOf(s.certPem));
    expect(verifyChain(leaf, intermediates, roots(), at)).toEqual({ ok: true });
    expect(verifyChain(leaf, intermediates.toReversed(), roots(), at)).toEqual({ ok: true });
    expect(verifyChain(leaf, [intermediates[1] as Buffer], roots(), at).ok).toBe(false);
  });

  it("may cross from a new root to the old one", async () => {
    const next = await createTestMesh();
    const newSigner = createSigner(next.root);
    const leaf = issueLeaf({
      publicKey: new X509Certificate(mesh.root.certPem).publicKey,
      spiffeId: next.spiffeId("web"),
      signer: newSigner,
      ttlMs: 3_600_000,
      now: at,
    });
    expect(verifyChain(leafOf(leaf.certPem), [], roots(), at).ok).toBe(false);
    expect(
      verifyChain(leafOf(leaf.certPem), [], createTrustBundle([mesh.root.certPem, next.root.certPem]), at),
    ).toEqual({ ok: true });
  });

  it.each<[string, () => [string, string[], number], string]>([
    ["the leaf has expired", () => [mesh.identity("web").certPem, [], at + 2 * 3_600_000], "the certificate expired"],
    ["the leaf is not valid yet", () => [mesh.identity("web").certPem, [], at - 3_600_000], "not valid before"],
    ["the issuer is no CA", signedByLeaf, "not a CA"],
    [
      "there are 9 intermediates",
      () => [mesh.identity("web").certPem, Array<string>(9).fill(mesh.root.certPem), at],
      "at most 8",
    ],
  ])("is refused when %s", (_name, make, reason) => {
    const [leaf, intermediates, time] = make();
    expect(verifyChain(leafOf(leaf), intermediates.map(leafOf), roots(), time)).toMatchObject({
      ok: false,
      reason: expect.stringContaining(reason) as string,
    });
  });

  it("ends nowhere when there are no roots", () => {
    expect(verifyChain(leafOf(mesh.identity("web").certPem), [], createTrustBundle([]), at).ok).toBe(false);
  });

  it("is not searched for ever among certificates that signed each other", () => {
    const loop = forgeSigner(mesh.signer, { commonName: "loop" });
    const again = forgeSigner({ ...loop }, { commonName: "loop" });
    const leaf = forgeLeaf(mesh, { signer: again });
    const started = performance.now();
    expect(verifyChain(leafOf(leaf.certPem), Array<Buffer>(8).fill(leafOf(again.certPem)), roots(), at).ok).toBe(false);
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});

/** A service that holds a plain leaf signs another with it. */
function signedByLeaf(): [string, string[], number] {
  const key = generateKey();
  const holder = forgeLeaf(mesh, { key });
  const { subject, subjectKeyId } = readCertificate(leafOf(holder.certPem));
  const signer = { ...mesh.signer, key, subject, keyId: subjectKeyId as Buffer };
  return [forgeLeaf(mesh, { signer }).certPem, [holder.certPem], Date.now()];
}
