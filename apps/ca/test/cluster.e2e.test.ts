/** Two CAs on one real etcd are one CA, and etcd never sees a key of it in plain. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { freePort } from "@heddle/daemon/testing";
import { type EtcdCluster, hasEtcd, startEtcd } from "@heddle/store/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startVaultServer } from "../src/testing.ts";
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

  it("know how far a rotation is followed, whichever of them an agent tells", async () => {
    const config = { ...on("told"), encryptionKeys: [randomBytes(32)] };
    const start = async (node: string) => startCa({ ...config, node, port: await freePort() });
    await using a = await start("a");
    await using b = await start("b");
    const { ActiveRootID: root } = (await a.ask("GET", "/v1/connect/ca/roots")).json() as Roots;
    const report = { node: "n1", root, proxies: 3, trusting: 1, leaves: 3, renewed: 2 };
    interface Status {
      Following: { Agents: number; Proxies: number; TrustingProxies?: number };
    }
    const following = async () => ((await b.ask("GET", "/v1/connect/ca/status")).json() as Status).Following;
    expect(await following()).toMatchObject({ Agents: 0 });
    // Told anew each time, as agents do: the first may come before they know of each other.
    await expect
      .poll(async () => {
        expect((await a.ask("PUT", "/internal/v1/ca/progress", report)).status).toBe(200);
        return following();
      })
      .toMatchObject({ Agents: 1, Proxies: 3 });
  }, 30_000);

  it("stop a rotation that another of them prepares, and tell where it is", async () => {
    const config = { ...on("aborted"), encryptionKeys: [randomBytes(32)] };
    await using a = await startCa({ ...config, node: "a" });
    await using b = await startCa({ ...config, node: "b" });
    await using vault = await startVaultServer();
    const isAsked = vault.hang();
    const Config = { Address: vault.address, Token: vault.token, RootPKIPath: "r", IntermediatePKIPath: "i" };
    const before = (await b.ask("GET", "/v1/connect/ca/roots")).text;
    const asked = a.ask("PUT", "/v1/connect/ca/configuration", { Provider: "vault", Config });
    await isAsked;
    const phase = async () =>
      (await b.ask("GET", "/v1/connect/ca/status")).json().Rotation?.Phase as string | undefined;
    await expect.poll(phase).toBe("preparing");
    expect((await b.ask("PUT", "/v1/connect/ca/abort")).json()).toMatchObject({ Aborted: "preparing" });
    expect(await asked).toMatchObject({ status: 409, text: expect.stringContaining("was aborted") });
    for (const ca of [a, b]) expect((await ca.ask("GET", "/v1/connect/ca/roots")).text).toBe(before);

    const update = { Provider: "consul", Config: { PrivateKeyType: "rsa", PrivateKeyBits: 2048 } };
    expect((await a.ask("PUT", "/v1/connect/ca/configuration", update)).status).toBe(200);
    await expect.poll(phase).toBe("following");
    const first = (JSON.parse(before) as Roots).ActiveRootID;
    expect((await b.ask("PUT", "/v1/connect/ca/abort")).json()).toEqual({ Aborted: "switched", ActiveRootID: first });
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
