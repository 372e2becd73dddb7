/** Beyond the walk: a whole mesh whose certificates Vault signs (a small server that follows its documented paths stands in for it). */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startVaultServer } from "@heddle/ca/testing";
import { expect, onTestFinished, test } from "vitest";
import { comesTo, type Mesh, startMesh } from "../support/mesh.ts";
import { run, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

interface Roots {
  ActiveRootID: string;
  Roots: { ID: string; Active: boolean; RootCert: string }[];
}

async function activeRoot({ api }: Mesh) {
  const { ActiveRootID, Roots } = await api<Roots>("/v1/agent/connect/ca/roots");
  return Roots.find(({ ID }) => ID === ActiveRootID) as Roots["Roots"][number];
}

/** Whether openssl's strict verifier leads the chain that the sidecar presents to this root. */
async function isVerified({ dir, ports }: Mesh, rootPem: string): Promise<boolean> {
  writeFileSync(join(dir, "trusted.pem"), rootPem);
  const args = ["s_client", "-connect", `127.0.0.1:${ports.sidecar}`, "-x509_strict", "-CAfile", "trusted.pem"];
  // We show no certificate: what comes after the verdict is the sidecar's refusal.
  const { err } = await run("openssl", args, { cwd: dir });
  return /^depth=0 .*\nverify return:1$/m.test(err) && !err.includes("verify error");
}

test("ca_provider vault: leaves, another root there, one of our own and back, and Vault away, without a refused connection", async (ctx) => {
  needs(ctx, "socat", "nc", "curl", "openssl");
  const vault = await startVaultServer();
  onTestFinished(() => vault[Symbol.asyncDispose]());
  const mesh = await startMesh({
    files: {
      "ca.hcl": `connect {
  ca_provider = "vault"
  ca_config {
    address = "${vault.address}"
    token = "${vault.token}"
    root_pki_path = "connect-root"
    intermediate_pki_path = "connect-intermediate"
    leaf_cert_ttl = "24h"
  }
}
`,
    },
  });
  const { ok, ports } = mesh;
  await comesTo(ports.upstream, "echo");
  expect(vault.calls).toContain("POST /v1/connect-root/root/generate/internal");
  const first = await activeRoot(mesh);
  expect(await isVerified(mesh, first.RootCert)).toBe(true);
  expect(await ok("connect", "ca", "get-config")).toMatch(/"Provider": "vault"/);
  expect(await ok("connect", "ca", "get-config")).not.toContain(vault.token);

  const open = start("nc", ["localhost", String(ports.upstream)]);
  open.write("before\n");
  await open.printed("before\n");
  const setConfig = async (Provider: string, Config: object) => {
    writeFileSync(join(mesh.dir, "ca.json"), JSON.stringify({ Provider, Config }));
    await ok("connect", "ca", "set-config", "-config-file=ca.json");
  };
  const pki = { Address: vault.address, IntermediatePKIPath: "other-intermediate", LeafCertTTL: "24h" };
  /** The mesh has followed: the sidecar presents a leaf that leads to the new root, and to the one before by the bridge. */
  const hasFollowed = async (before: string) => {
    const { RootCert, ID } = await activeRoot(mesh);
    expect(ID).not.toBe(before);
    const status = () => ok("connect", "ca", "status");
    await expect.poll(status).toMatch(new RegExp(`^${ID} +active +\\S+ \\d+ +\\S+ +2 `, "m")); // socat's and web's
    await expect.poll(() => isVerified(mesh, RootCert)).toBe(true);
    await comesTo(ports.upstream, "echo");
    return ID;
  };
  await setConfig("vault", { ...pki, RootPKIPath: "other-root" });
  expect(vault.calls).toContain("POST /v1/other-root/root/generate/internal");
  const second = await hasFollowed(first.ID);
  await setConfig("consul", { LeafCertTTL: "24h" });
  const own = await hasFollowed(second);
  expect(await ok("connect", "ca", "rollback")).toContain(second);
  expect(await hasFollowed(own)).toBe(second);

  // While Vault is away what has a certificate goes on, and who wants one is told why there is none.
  await vault.stop();
  await comesTo(ports.upstream, "echo");
  const refused = await fetch(`http://127.0.0.1:${ports.http}/v1/agent/connect/ca/leaf/late`);
  expect([refused.status, await refused.text()]).toEqual([503, expect.stringContaining("cannot reach Vault at")]);
  await vault.restart();
  expect((await fetch(`http://127.0.0.1:${ports.http}/v1/agent/connect/ca/leaf/late`)).status).toBe(200);
  open.write("after\n");
  await open.printed("after\n");
}, 60_000);
