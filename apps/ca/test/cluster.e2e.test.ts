/** Two CAs on one real etcd are one CA, and etcd never sees a key of it in plain. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { type EtcdCluster, hasEtcd, startEtcd } from "@heddle/store/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startCa } from "./harness.ts";

interface Roots {
  ActiveRootID: string;
  TrustDomain: string;
  Roots: { ID: string }[];
}

describe.runIf(hasEtcd)("CAs on one etcd", () => {
  let etcd: EtcdCluster;
  beforeAll(async () => void (etcd = await startEtcd()), 30_000);
  afterAll(() => etcd[Symbol.asyncDispose]());
  const on = (root: string) => ({
    etcd: { endpoints: etcd.endpoints, root, tls: undefined, user: undefined },
    store: `etcd://${root}`,
  });

  it("found one cluster when they start together, and sign for the same root after a rotation by either", async () => {
    const config = { ...on("two"), encryptionKeys: [randomBytes(32)] };
    const [a, b] = await Promise.all([startCa({ ...config, node: "a" }), startCa({ ...config, node: "b" })]);
    await using _a = a;
    await using _b = b;
    const roots = async (ca: typeof a) => (await ca.ask("GET", "/v1/connect/ca/roots")).json() as Roots;
    const first = await roots(a);
    expect(await roots(b)).toEqual(first);
    expect(first.Roots).toHaveLength(1);
    const update = { Provider: "consul", Config: { PrivateKeyType: "rsa", PrivateKeyBits: 2048 } };
    expect((await b.ask("PUT", "/v1/connect/ca/configuration", update)).status).toBe(200);
    const second = await roots(b);
    expect(second.ActiveRootID).not.toBe(first.ActiveRootID);
    await expect.poll(() => roots(a)).toEqual(second);
    for (const ca of [a, b]) expect((await ca.sign(await ca.requestFor("web"))).status).toBe(200);
  }, 30_000);

  it("keep their keys sealed, and refuse to start where they could not", async () => {
    await using _ca = await startCa({ ...on("sealed"), encryptionKeys: [randomBytes(32)] });
    const all = execFileSync("etcdctl", ["--endpoints", etcd.endpoints.join(","), "get", "--prefix", "sealed/"], {
      env: { PATH: process.env.PATH, ETCDCTL_API: "3" },
    }).toString();
    expect(all).toContain("BEGIN CERTIFICATE");
    expect(all).not.toContain("PRIVATE KEY");
    await expect(startCa({ ...on("plain"), encryptionKeys: [] })).rejects.toThrow(
      /refusing to keep the CA's keys in etcd in plain/,
    );
  });
});
