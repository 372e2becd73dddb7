/** Step 12 of the walk: the mesh's root is replaced, between types of keys, while connections are open and others are made. */
import { connect } from "node:net";
import { join } from "node:path";
import { writeFileSync } from "node:fs";
import { startVaultServer } from "@heddle/ca/testing";
import { expect, onTestFinished, test } from "vitest";
import { type Mesh, startMesh } from "../support/mesh.ts";
import { run, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

interface Roots {
  ActiveRootID: string;
  Roots: { ID: string; RootCert: string; Active: boolean }[];
}

interface Leaf {
  CertPEM: string;
  PrivateKeyPEM: string;
}

const leafOf = async ({ api }: Mesh): Promise<string> => (await api<Leaf>("/v1/agent/connect/ca/leaf/web")).CertPEM;

/** One connection through the mesh; rejects where it is refused, reset or silent. */
function echo(port: number, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port }, () => socket.write(line));
    socket.setTimeout(10_000, () => socket.destroy(new Error("no echo within 10 s")));
    socket.once("data", (data: Buffer) => {
      socket.destroy();
      resolve(data.toString());
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed without an echo")));
  });
}

/** New connections, four at a time, until it is stopped. */
function keepConnecting(port: number) {
  const failures: string[] = [];
  let made = 0;
  let isStopped = false;
  const loop = async () => {
    while (!isStopped) {
      await echo(port, "new\n").then(
        () => made++,
        (error: Error) => failures.push(error.message),
      );
    }
  };
  const loops = Promise.all([loop(), loop(), loop(), loop()]);
  return {
    failures,
    made: () => made,
    async stop() {
      isStopped = true;
      await loops;
    },
  };
}

/** openssl's word on the chain that the sidecar presents to one who trusts this root alone. */
async function sClient(mesh: Mesh, rootPem: string): Promise<string> {
  const leaf = await mesh.api<Leaf>("/v1/agent/connect/ca/leaf/web");
  const file = (name: string, text: string) => {
    writeFileSync(join(mesh.dir, name), text);
    return join(mesh.dir, name);
  };
  const args = ["s_client", "-connect", `127.0.0.1:${mesh.ports.sidecar}`, "-verify_return_error", "-x509_strict"];
  const leafFile = file("web.pem", leaf.CertPEM);
  const files = ["-cert", leafFile, "-cert_chain", leafFile, "-key", file("web.key", leaf.PrivateKeyPEM)];
  const { out, err } = await run("openssl", [...args, ...files, "-CAfile", file("root.pem", rootPem)]);
  return out + err;
}

test("the root changes from EC to RSA and back, or is aborted: no connection fails, none is cut, all leaves are new", async (ctx) => {
  needs(ctx, "socat", "nc", "curl", "openssl");
  const mesh = await startMesh();
  const { ports, api, ok } = mesh;
  const open = start("nc", ["localhost", String(ports.upstream)]);
  open.write("before\n");
  await open.printed("before\n");
  const load = keepConnecting(ports.upstream);
  const rootOf = ({ Roots }: Roots, isActive: boolean) => Roots.filter(({ Active }) => Active === isActive);

  const configuration = (Provider: string, Config: object) =>
    writeFileSync(join(mesh.dir, "ca.json"), JSON.stringify({ Provider, Config }));

  for (const [type, bits] of [
    ["rsa", 2048],
    ["ec", 384],
    ["ec", 256],
  ] as const) {
    const old = rootOf(await api<Roots>("/v1/connect/ca/roots"), true)[0];
    configuration("consul", { PrivateKeyType: type, PrivateKeyBits: bits });
    expect(await ok("connect", "ca", "set-config", "-config-file", "ca.json")).toBe("Configuration updated!\n");
    const now = await api<Roots>("/v1/connect/ca/roots");
    const next = rootOf(now, true)[0];
    expect(next?.ID).not.toBe(old?.ID);
    expect(rootOf(now, false).map(({ ID }) => ID)).toContain(old?.ID);
    // The sidecar holds a new leaf when one who trusts only the new root accepts it; one who trusts only the old one does, too.
    const accepted = expect.poll(() => sClient(mesh, next?.RootCert ?? ""), { timeout: 20_000 });
    await accepted.toContain("Verify return code: 0 (ok)");
    expect(await sClient(mesh, old?.RootCert ?? "")).toContain("Verify return code: 0 (ok)");
    const before = load.made();
    await expect.poll(load.made, { timeout: 20_000 }).toBeGreaterThan(before + 20);
  }

  // And back to the one before.
  const [last, before] = [await api<Roots>("/v1/connect/ca/roots"), await leafOf(mesh)];
  expect(await ok("connect", "ca", "rollback")).toMatch(/^Root \S+ signs again\.\n$/);
  expect((await api<Roots>("/v1/connect/ca/roots")).ActiveRootID).not.toBe(last.ActiveRootID);
  await expect.poll(() => leafOf(mesh)).not.toBe(before);
  expect(await ok("connect", "ca", "rollback")).toBe(`Root ${last.ActiveRootID} signs again.\n`);

  // Aborted by its operator: while it is being prepared, and once it is switched.
  const vault = await startVaultServer();
  onTestFinished(() => vault[Symbol.asyncDispose]());
  const isAsked = vault.hang();
  const Vault = { Address: vault.address, Token: vault.token };
  configuration("vault", { ...Vault, RootPKIPath: "root", IntermediatePKIPath: "signer" });
  const asked = mesh.heddle("connect", "ca", "set-config", "-config-file", "ca.json");
  await isAsked; // and answers nothing
  expect(await ok("connect", "ca", "status")).toMatch(/^Rotation: +being prepared since /m);
  expect(await ok("connect", "ca", "abort")).toBe(
    `The rotation was stopped while it was being prepared: root ${last.ActiveRootID} signs as before.\n`,
  );
  expect(await asked).toMatchObject({ status: 1, err: expect.stringContaining("nothing has changed") as string });
  configuration("consul", { PrivateKeyType: "ec", PrivateKeyBits: 521 });
  await ok("connect", "ca", "set-config", "-config-file", "ca.json");
  expect(await ok("connect", "ca", "abort")).toBe(
    `The rotation was taken back: root ${last.ActiveRootID} signs again.\n`,
  );

  const status = await ok("connect", "ca", "status");
  expect(status).toMatch(/^State: +rotating$/m);
  expect(status).toMatch(/^Rotation: +taken back at \S+: aborted$/m);
  expect(status.match(/ trusted /g)).toHaveLength(4);
  // The agent's leaves have all followed: of socat, of web, and of nobody else.
  const now = () => ok("connect", "ca", "status");
  await expect.poll(now).toMatch(/ active +ec 256 +\S+ +2 +-$/m);
  await expect.poll(now).toMatch(/^Proxies: +2 of 2 trust it$/m);
  await expect.poll(now).toMatch(/^Leaves in use: +2 of 2 are signed by it$/m);
  expect(await now()).toMatch(/ trusted +rsa 2048 +\S+ +0 +20\d\d-/);
  await load.stop();
  expect(load.failures).toEqual([]);
  open.write("after\n");
  await open.printed("after\n");
  expect(mesh.sidecar.text + mesh.web.text).not.toContain("decision=refused");
}, 60_000);
